import math
from typing import Any

import pytest
import torch

from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.ula import ULA, normal_covariance
from tests import helpers_targets as targets
from tests.helpers_transitions import Start, check_transition, starting

SCALES = torch.tensor([1.0, 0.5, 2.0]).double()
CORRELATION = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 1.0]]).double()
COVARIANCE = CORRELATION * SCALES[:, None] * SCALES
MEAN = torch.tensor([1.0, -2.0, 0.5]).double()
DIAGONAL = {"level": torch.tensor(1.0).double(), "slope": torch.tensor([0.25, 4.0]).double()}
TARGET = targets.normal(COVARIANCE, MEAN).target


def biased(step_size: float, **settings: Any) -> Any:
    """Exact draws of what ULA samples in place of the Normal."""
    diagonal = torch.tensor([1.0, 0.25, 4.0]).double() if settings else None
    wider = targets.normal(normal_covariance(COVARIANCE, step_size, diagonal), MEAN)

    def begin(chains: int, seed: int) -> Start:
        return starting(ULA(TARGET, step_size, **settings), wider.draw(chains, seed))

    return begin


@pytest.mark.parametrize("num_steps", [1, 3])
def test_it_samples_the_normal_that_is_documented(num_steps: int) -> None:
    check_transition(biased(0.1), num_steps=num_steps)
    check_transition(biased(0.2, preconditioner=DIAGONAL), num_steps=num_steps)


def test_it_does_not_sample_the_target() -> None:
    known = targets.correlated()
    with pytest.raises(AssertionError, match="a step changes the target"):
        check_transition(lambda n, seed: starting(ULA(TARGET, 0.1), known.draw(n, seed)))


def test_the_closed_form_solves_its_equation() -> None:
    for diagonal in (None, torch.tensor([0.5, 0.2, 3.0]).double()):
        scale = torch.ones(3).double() if diagonal is None else diagonal
        wider = normal_covariance(COVARIANCE, 0.1, diagonal)
        drift = torch.eye(3).double() - 0.1 * scale[:, None] * torch.linalg.inv(COVARIANCE)
        torch.testing.assert_close(wider, drift @ wider @ drift.T + 0.2 * torch.diag(scale))
    torch.testing.assert_close(normal_covariance(COVARIANCE, 1e-9), COVARIANCE)
    one = normal_covariance(torch.tensor([[0.25]]).double(), 0.1)
    assert one.item() == pytest.approx(0.25 / (1 - 0.1 / (2 * 0.25)))


def test_steps_at_which_the_chain_runs_away_are_refused() -> None:
    with pytest.raises(ValueError, match=r"step_size 0\.6 .* below 0\.5"):
        normal_covariance(torch.diag(torch.tensor([0.25, 1.0])).double(), 0.6)


def test_it_reports_what_mala_would_have_accepted() -> None:
    start = targets.correlated().draw(500, 0)
    ula, mala = ULA(TARGET, 0.3), MALA(TARGET, 0.3)
    _, one = ula.step(make_generators(0, 500), ula.init(start))
    _, other = mala.step(make_generators(0, 500), mala.init(start))
    assert torch.equal(one.blocks["metropolis"], other.acceptance_rate)
    assert (one.acceptance_rate == 1).all()


def test_the_step_size_reaches_its_aim_and_then_stays() -> None:
    kernel = ULA(TARGET, step_size=0.01, target_acceptance_rate=0.8, adapt_preconditioner=True)
    generators, state = make_generators(0, 16), kernel.init(targets.correlated().draw(16, 0))
    for _ in range(400):
        state, _ = kernel.step(generators, state, is_warmup=True)
    tuned, rates = state.adaptation, []
    for _ in range(300):
        state, info = kernel.step(generators, state)
        rates.append(info.blocks["metropolis"])
    assert state.adaptation is tuned
    # Chains of the biased target see other rates than those in warmup did, by a little.
    assert torch.stack(rates).mean().item() == pytest.approx(0.8, abs=0.06)
    assert len(set(info.step_size.tolist())) == 16


def test_shared_step_sizes_are_shared() -> None:
    kernel = ULA(TARGET, shared_step_size=True)
    generators, state = make_generators(0, 4), kernel.init(targets.correlated().draw(4, 0))
    for _ in range(20):
        state, info = kernel.step(generators, state, is_warmup=True)
    assert len(set(info.step_size.tolist())) == 1


def test_chains_do_not_know_each_other() -> None:
    kernel = ULA(TARGET, adapt_preconditioner=True)
    ends = []
    for chains in (4, 1):
        start = {site: v[:chains] for site, v in targets.correlated().draw(4, 0).items()}
        generators, state = make_generators(0, chains), kernel.init(start)
        for step in range(40):
            state, _ = kernel.step(generators, state, is_warmup=step < 30)
        ends.append(targets.coordinates(state.position)[0])
    assert torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_steps_out_of_the_support_are_not_taken_and_flagged(bad: float) -> None:
    target = targets.FunctionTarget(lambda p: torch.where(p["x"] > 0, p["x"], bad))
    kernel = ULA(target, step_size=1.0)
    state = kernel.init({"x": torch.full((50,), 0.1).double()})
    moved, info = kernel.step(make_generators(0, 50), state)
    assert 5 < info.diverging.sum() < 50
    assert (moved.position["x"] > 0).all()
    assert torch.equal(moved.position["x"] == state.position["x"], info.diverging)
    assert torch.equal(info.acceptance_rate, (~info.diverging).double())
