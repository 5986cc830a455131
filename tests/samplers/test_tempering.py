import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy import stats

from bayes_splat.samplers.base import Position
from bayes_splat.samplers.failures import FailurePolicy, Supervisor
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sampling import Draws, sample
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering, geometric_powers, swap_rates
from tests import helpers_targets as targets


def peaks_and_prior() -> targets.Powers:
    """Prior Normal(0, 10^2), likelihood the two peaks: their weights stay 0.3 and 0.7."""
    return targets.Powers(
        prior=lambda p: 0.5 * (p["x"] / 10.0) ** 2, likelihood=targets.two_peaks().energy
    )


def normal_at_powers(size: int) -> targets.Powers:
    """No prior, log likelihood -|x|^2/2: Normal(0, 1/power) at every power."""
    return targets.Powers(
        prior=lambda p: 0.0 * p["x"].sum(1), likelihood=lambda p: 0.5 * p["x"].square().sum(1)
    )


def draws_of(kernel: Any, start: Position, num_warmup: int, num_draws: int) -> Draws:
    chains = len(next(iter(start.values())))
    return sample(
        kernel,
        start,
        make_generators(0, chains),
        num_warmup=num_warmup,
        num_draws=num_draws,
        constrain=lambda position: position,
        dtype=torch.float64,
    )


# ----- two peaks -----


@pytest.mark.parametrize("adapt_ladder", [True, False])
def test_it_finds_the_weights_of_two_peaks(adapt_ladder: bool) -> None:
    kernel = ParallelTempering(
        peaks_and_prior(), MALA, geometric_powers(5, 0.01), 3, adapt_ladder=adapt_ladder
    )
    draws = draws_of(kernel, {"x": torch.full((32,), -6.0).double()}, 150, 250)
    right = draws.sites["x"] > 0
    targets.check_mean(right.double(), 0.7)
    # Each peak times the prior is Normal(+-6/1.01, 1/1.01).
    targets.check_mean((draws.sites["x"].abs() - 6.0 / 1.01) ** 2, 1.0 / 1.01)


def test_mala_alone_is_seen_not_to() -> None:
    posterior = peaks_and_prior().at_power(torch.ones(()).double())
    kernel = MALA(posterior, step_size=0.5, adapt_step_size=False)
    draws = draws_of(kernel, {"x": torch.full((32,), -6.0).double()}, 100, 200)
    assert (draws.sites["x"] < 0).all()


# ----- swap rates -----


@pytest.mark.parametrize("size", [2, 5])
def test_swap_rates_are_the_exact_ones(size: int) -> None:
    """Two Gamma variables: twice the probability that the colder energy is the larger."""
    powers = (1.0, 0.6, 0.2)
    kernel = ParallelTempering(
        normal_at_powers(size), partial(MALA, step_size=0.5), powers, adapt_ladder=False
    )
    draws = draws_of(kernel, {"x": torch.zeros(32, size).double()}, 50, 150)
    for pair, (cold, hot) in enumerate(pairwise(powers)):
        exact = 2.0 * stats.beta.sf(cold / (cold + hot), size / 2, size / 2)
        targets.check_mean(draws.stats[f"acceptance_rate_swap_{pair}"], float(exact))
    # In two dimensions that is 2 hot/(cold + hot).
    assert 2.0 * stats.beta.sf(1.0 / 1.6, 1.0, 1.0) == pytest.approx(2.0 * 0.6 / 1.6)


def test_the_swap_rate_is_the_formula() -> None:
    powers = torch.tensor([[1.0, 0.5, 0.0]]).double()
    rates = swap_rates(powers, torch.tensor([[-3.0, -4.0, -2.0]]).double())
    assert rates[0].tolist() == pytest.approx([math.exp(-0.5), 1.0])
    impossible = torch.tensor([[-3.0, -torch.inf, -torch.inf]]).double()
    assert swap_rates(powers, impossible)[0].tolist() == [0.0, 0.0]
    found = torch.tensor([[-torch.inf, -3.0, -3.0]]).double()
    assert swap_rates(powers, found)[0].tolist() == [1.0, 1.0]


def test_the_ladder_comes_to_swap_equally_often_and_then_stays() -> None:
    powers = (1.0, 0.9, 0.8, 0.01)
    kernel = ParallelTempering(normal_at_powers(2), partial(MALA, step_size=0.5), powers, 2)
    generators, state = make_generators(0, 4), kernel.init({"x": torch.zeros(4, 2).double()})
    for _ in range(600):
        state, _ = kernel.step(generators, state, is_warmup=True)
    found = state.adaptation.ladder.powers
    expected = torch.tensor(geometric_powers(4, 0.01)).double()
    torch.testing.assert_close(found.log(), expected.log().repeat(4, 1), rtol=0.2, atol=1e-12)
    tuned = state.adaptation
    for _ in range(25):
        state, _ = kernel.step(generators, state)
    assert state.adaptation.ladder is tuned.ladder
    assert torch.equal(state.adaptation.kernel.step_size.log_average, tuned.kernel.step_size[1])
    fixed = ParallelTempering(normal_at_powers(2), MALA, powers, 1, adapt_ladder=False)
    state = fixed.init({"x": torch.zeros(4, 2).double()})
    for _ in range(25):
        state, _ = fixed.step(generators, state, is_warmup=True)
    assert state.adaptation.ladder.powers[0].tolist() == list(powers)


# ----- the state -----


def test_energies_are_those_of_the_posterior() -> None:
    target = peaks_and_prior()
    kernel = ParallelTempering(target, MALA, (1.0, 0.3, 0.0), 2)
    generators, state = make_generators(0, 8), kernel.init({"x": torch.zeros(8).double()})
    posterior = target.at_power(torch.ones(()).double())
    visited = 0
    for _ in range(20):
        before = state.rows["x"]
        state, info = kernel.step(generators, state, is_warmup=True)
        assert torch.equal(state.position["x"], state.rows["x"][:, 0])
        energy = posterior.potential_energy(state.position)
        torch.testing.assert_close(state.potential_energy, energy)
        assert torch.equal(info.potential_energy, state.potential_energy)
        visited += int((before[:, 0] - state.position["x"]).abs().gt(4.0).sum())
    assert visited > 0


def test_pairs_take_turns() -> None:
    """With a likelihood that says nothing every swap is accepted: even pairs, then odd ones."""
    nothing = targets.Powers(prior=lambda p: 0.5 * p["x"] ** 2, likelihood=lambda p: 0.0 * p["x"])
    kernel = ParallelTempering(
        nothing, partial(MALA, step_size=1e-20), (1.0, 0.7, 0.3, 0.1, 0.0), 1
    )
    state = kernel.init({"x": torch.zeros(1).double()})
    state = state._replace(rows={"x": torch.arange(5.0).double()[None]})
    seen = []
    for _ in range(3):
        state, info = kernel.step(make_generators(0, 1), state)
        seen.append(state.rows["x"][0].round().int().tolist())
        assert [info.blocks[f"swap_{pair}"].item() for pair in range(4)] == [1.0] * 4
    assert seen == [[1, 0, 3, 2, 4], [1, 3, 0, 4, 2], [3, 1, 4, 0, 2]]


def test_every_pair_has_a_coin_of_its_own() -> None:
    """Two pairs that swap with probability 1/2 both do in a quarter of the chains."""
    chains, far = 1000, 4.0 * math.log(2.0)
    slope = targets.Powers(prior=lambda p: 0.0 * p["x"], likelihood=lambda p: p["x"])
    kernel = ParallelTempering(slope, partial(MALA, step_size=1e-20), (1.0, 0.75, 0.5, 0.25), 1)
    rows = torch.tensor([0.0, far, 0.0, far]).double().repeat(chains, 1)
    state = kernel.init({"x": torch.zeros(chains).double()})._replace(rows={"x": rows})
    state, info = kernel.step(make_generators(0, chains), state)
    assert info.blocks["swap_0"][0].item() == pytest.approx(0.5)
    swapped = state.rows["x"][:, ::2] > 1.0
    error = math.sqrt(0.25 * 0.75 / chains)
    assert abs(swapped.all(1).double().mean().item() - 0.25) < targets.LIMIT * error


def test_chains_do_not_know_each_other() -> None:
    kernel = ParallelTempering(peaks_and_prior(), MALA, (1.0, 0.3, 0.05), 2)
    start = {"x": torch.linspace(-6, 6, 4).double()}
    many = draws_of(kernel, start, 45, 10)
    one = draws_of(kernel, {"x": start["x"][:1]}, 45, 10)
    assert torch.equal(many.sites["x"][:1], one.sites["x"])


@pytest.mark.parametrize("inner", ["mala", "walk", "gibbs"])
def test_any_kernel_goes_inside(inner: str) -> None:
    """Posterior of the mean of Normals: Normal(sum y/(n + 1), 1/(n + 1)) at scale 1."""
    _, data = targets.location_scale_joint(1, 0)
    posterior = PyroTarget(targets.location_scale, (data[0],), vectorized=True)

    def gibbs(target: Any) -> Gibbs:
        names = ("location", "scale")
        blocks = [KernelBlock(n, MALA(target, 0.2), target.conditional([n])) for n in names]
        return Gibbs(target, blocks)

    kernels = {"mala": MALA, "walk": RandomWalkMetropolis, "gibbs": gibbs}
    kernel = ParallelTempering(TemperedTarget(posterior), kernels[inner], (1.0, 0.4, 0.0), 1)
    start = posterior.initial_position(make_generators(1, 6))
    draws = draws_of(kernel, start, 10, 10)
    assert draws.sites["location"].shape == (6, 10)
    assert draws.stats["energy"].isfinite().all()
    assert ("acceptance_rate_scale" in draws.stats) == (inner == "gibbs")
    energy = posterior.potential_energy({s: v[:, -1] for s, v in draws.sites.items()})
    torch.testing.assert_close(draws.stats["energy"][:, -1], energy)


@pytest.mark.parametrize(
    "settings",
    [
        {"powers": (1.0,)},
        {"powers": (0.9, 0.5)},
        {"powers": (1.0, 0.5, 0.5)},
        {"powers": (1.0, -0.1)},
        {"num_steps": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ParallelTempering(peaks_and_prior(), MALA, **settings)


@pytest.mark.parametrize(("count", "least"), [(1, 0.1), (4, 0.0), (4, 1.0)])
def test_ladders_that_make_no_sense_are_refused(count: int, least: float) -> None:
    with pytest.raises(ValueError, match="least"):
        geometric_powers(count, least)


def test_a_chain_that_is_restarted_goes_on_from_there() -> None:
    """All its powers do: rows that stay behind would put it back at the next step."""
    place = {"x": torch.full((1,), 7.0).double()}
    policy = FailurePolicy("restart_chain", start=lambda chain, generator: place)
    kernel = ParallelTempering(peaks_and_prior(), partial(MALA, step_size=1e-9), (1.0, 0.3), 1)
    supervisor = Supervisor(kernel, make_generators(0, 2), policy)
    state = kernel.init({"x": torch.zeros(2).double()})
    broken = {"x": state.rows["x"].clone()}
    broken["x"][1] = torch.nan
    state, _, restarted = supervisor.step(state._replace(rows=broken), "sampling", 1)
    assert restarted.tolist() == [False, True]
    for step in (2, 3):
        state, _, _ = supervisor.step(state, "sampling", step)
        torch.testing.assert_close(
            state.rows["x"], torch.tensor([[0.0, 0.0], [7.0, 7.0]]).double(), atol=0.01, rtol=0
        )
        assert torch.equal(state.position["x"], state.rows["x"][:, 0])
