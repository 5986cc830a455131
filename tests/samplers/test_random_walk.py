import math

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sampling import Draws, sample
from tests import helpers_targets as targets
from tests.helpers_jumps import NormalJump


def draws_of(kernel: RandomWalkMetropolis, start: Position, num_draws: int) -> Draws:
    generators = make_generators(0, positions.num_chains(start))
    return sample(
        kernel, start, generators, num_warmup=200, num_draws=num_draws, constrain=lambda p: p
    )


# ----- exactness -----


def test_exact_draws_stay_exact() -> None:
    known = targets.correlated()
    diagonal = {"level": torch.tensor(1.0).double(), "slope": torch.tensor([0.25, 4.0]).double()}
    kernel = RandomWalkMetropolis(known.target, step_size=0.8, preconditioner=diagonal)
    targets.check_invariance(kernel, known.draw(2000, 0), num_steps=20)


def test_exact_draws_stay_exact_with_jumps_of_one_site() -> None:
    known = targets.correlated()
    kernel = RandomWalkMetropolis(
        known.target, step_size=0.5, jump=NormalJump("level", 2.0, 1.0), jump_probability=0.5
    )
    targets.check_invariance(kernel, known.draw(2000, 0), num_steps=20)


@pytest.mark.parametrize("sign", [0.0, -1.0, 2.0])
def test_jumps_with_a_wrong_density_are_seen(sign: float) -> None:
    known = targets.correlated()
    kernel = RandomWalkMetropolis(
        known.target, step_size=0.5, jump=NormalJump("level", 2.0, 1.0, sign), jump_probability=0.5
    )
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_invariance(kernel, known.draw(2000, 0), num_steps=20)


def test_moments_of_a_correlated_normal() -> None:
    start = {"level": torch.full((64,), 5.0).double(), "slope": torch.zeros(64, 2).double()}
    draws = draws_of(RandomWalkMetropolis(targets.correlated().target), start, 1000)
    targets.check_mean(draws.sites["level"], 1.0)
    targets.check_mean((draws.sites["level"] - 1.0) ** 2, 1.0)
    targets.check_mean(draws.sites["slope"][..., 1], 0.5)
    assert abs(draws.stats["acceptance_rate"].mean().item() - 0.234) < 0.05


# ----- two peaks -----


def weight_of_the_right_peak(jump_probability: float) -> Tensor:
    jump = NormalJump("x", 0.0, 8.0) if jump_probability else None
    kernel = RandomWalkMetropolis(
        targets.two_peaks(),
        1.0,
        adapt_step_size=False,
        jump=jump,
        jump_probability=jump_probability,
    )
    draws = draws_of(kernel, {"x": torch.full((64,), -6.0).double()}, 300)
    return (draws.sites["x"] > 0).double()


def test_jumps_find_the_weights_of_two_peaks() -> None:
    targets.check_mean(weight_of_the_right_peak(0.5), 0.7)
    targets.check_mean(weight_of_the_right_peak(1.0), 0.7)


def test_a_walk_alone_is_seen_not_to() -> None:
    with pytest.raises(AssertionError):
        targets.check_mean(weight_of_the_right_peak(0.0), 0.7)


# ----- the rest -----


def test_jumps_do_not_tune_the_step_size() -> None:
    known = targets.correlated()
    kernel = RandomWalkMetropolis(
        known.target, jump=NormalJump("level", 2.0, 1.0), jump_probability=1.0
    )
    state = kernel.init(known.draw(8, 0))
    for _ in range(10):
        state, info = kernel.step(make_generators(0, 8), state, is_warmup=True)
    assert info.step_size.tolist() == pytest.approx([0.1] * 8)


def test_chains_do_not_know_each_other() -> None:
    known = targets.correlated()
    kernel = RandomWalkMetropolis(
        known.target, jump=NormalJump("level", 2.0, 1.0), jump_probability=0.3
    )
    start = known.draw(4, 0)
    many = draws_of(kernel, start, 20)
    one = draws_of(kernel, {site: value[:1] for site, value in start.items()}, 20)
    assert all(torch.equal(many.sites[site][:1], one.sites[site]) for site in start)


def test_candidates_outside_the_support_are_rejected_and_flagged() -> None:
    target = targets.FunctionTarget(lambda p: torch.where(p["x"] > 0, p["x"], torch.nan))
    kernel = RandomWalkMetropolis(target, step_size=3.0)
    state, info = kernel.step(
        make_generators(0, 50), kernel.init({"x": torch.full((50,), 0.1).double()})
    )
    assert (state.position["x"] > 0).all()
    assert 5 < info.diverging.sum() < 45
    assert (info.acceptance_rate[info.diverging] == 0).all()


@pytest.mark.parametrize(
    ("jump", "probability"), [(None, 0.5), (NormalJump("x", 0.0, 1.0), 1.5), (None, math.nan)]
)
def test_settings_that_make_no_sense_are_refused(
    jump: NormalJump | None, probability: float
) -> None:
    with pytest.raises(ValueError, match="jump"):
        RandomWalkMetropolis(targets.two_peaks(), jump=jump, jump_probability=probability)
