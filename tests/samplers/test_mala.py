from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import langevin, metropolis, positions
from bayes_splat.samplers.base import Generators, Info, Position
from bayes_splat.samplers.mala import MALA, MALAState
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.sampling import Draws, sample
from tests import helpers_targets as targets

CHAINS = 2000


def draws_of(
    kernel: MALA, start: Position, num_warmup: int, num_draws: int, seed: int = 0
) -> Draws:
    generators = make_generators(seed, positions.num_chains(start))
    return sample(
        kernel,
        start,
        generators,
        num_warmup=num_warmup,
        num_draws=num_draws,
        constrain=lambda position: position,
        dtype=torch.float64,
    )


# ----- exactness -----


def exact_kernel() -> MALA:
    return MALA(targets.correlated().target, step_size=0.25)


def test_exact_draws_stay_exact() -> None:
    targets.check_invariance(exact_kernel(), targets.correlated().draw(CHAINS, 0), num_steps=20)


def test_exact_draws_stay_exact_with_a_preconditioner() -> None:
    known = targets.ill_conditioned()
    diagonal = {"level": torch.tensor(1e-4).double(), "slope": torch.tensor([1.0, 1e4]).double()}
    kernel = MALA(known.target, step_size=0.8, preconditioner=diagonal)
    targets.check_invariance(kernel, known.draw(CHAINS, 0), num_steps=20)


def test_exact_draws_stay_exact_on_a_banana() -> None:
    known = targets.rosenbrock()
    targets.check_invariance(
        MALA(known.target, step_size=0.05), known.draw(CHAINS, 0), num_steps=30
    )


def test_joint_distribution_of_a_pyro_model() -> None:
    position, data = targets.location_scale_joint(CHAINS, 0)
    target = PyroTarget(targets.location_scale, (data,), vectorized=True)
    targets.check_invariance(MALA(target, step_size=0.15), position, 20, data)


def no_proposal_density(candidate: Position, position: Position, *rest: Any) -> Tensor:
    return torch.zeros(positions.num_chains(position)).double()


right_step = langevin.step
right_log_ratio = langevin.log_ratio


def noise_too_large(generators: Generators, position: Position, *rest: Any) -> Position:
    quiet = right_step(generators, position, rest[0], 0.0 * rest[1], *rest[2:])
    moved = right_step(generators, position, *rest)
    drift = {s: rest[1].reshape(-1, *(1,) * (v.ndim - 1)) * v for s, v in rest[0].items()}
    return {s: quiet[s] - drift[s] + 2**0.5 * (moved[s] - quiet[s] + drift[s]) for s in position}


def no_drift_backwards(candidate: Position, position: Position, *rest: Any) -> Tensor:
    still = {site: 0.0 * value for site, value in rest[1].items()}
    return right_log_ratio(candidate, position, rest[0], still, *rest[2:])


def always(energy: Tensor, candidate_energy: Tensor, *rest: Any) -> Tensor:
    return torch.ones_like(energy)


def energy_only(energy: Tensor, candidate_energy: Tensor, *rest: Any) -> Tensor:
    return (energy - candidate_energy).clamp(max=0.0).exp()


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (langevin, "log_ratio", no_proposal_density),
        (langevin, "log_ratio", no_drift_backwards),
        (langevin, "step", noise_too_large),
        (metropolis, "acceptance_rate", always),
        (metropolis, "acceptance_rate", energy_only),
    ],
)
def test_broken_kernels_are_seen(
    module: Any, name: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_invariance(exact_kernel(), targets.correlated().draw(CHAINS, 0), 20)


class StaleGradient(MALA):
    """Forgets to renew the gradient when a move is accepted."""

    def step(
        self, generators: Generators, state: MALAState, is_warmup: bool = False
    ) -> tuple[MALAState, Info]:
        moved, info = super().step(generators, state, is_warmup)
        return moved._replace(gradient=state.gradient), info


class StaleEnergy(MALA):
    """Forgets to renew the energy when a move is accepted."""

    def step(
        self, generators: Generators, state: MALAState, is_warmup: bool = False
    ) -> tuple[MALAState, Info]:
        moved, info = super().step(generators, state, is_warmup)
        return moved._replace(potential_energy=state.potential_energy), info


@pytest.mark.parametrize("broken", [StaleGradient, StaleEnergy])
def test_stale_states_are_seen(broken: type[MALA]) -> None:
    known = targets.correlated()
    targets.check_invariance(MALA(known.target, step_size=0.1), known.draw(CHAINS, 0), 60)
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_invariance(broken(known.target, step_size=0.1), known.draw(CHAINS, 0), 60)


# ----- from a bad start, with warmup -----


def test_moments_of_a_correlated_normal() -> None:
    start = {"level": torch.full((64,), 8.0).double(), "slope": torch.zeros(64, 2).double()}
    draws = draws_of(MALA(targets.correlated().target), start, 200, 500)
    level, slope = draws.sites["level"], draws.sites["slope"]
    for values, mean, variance in [
        (level, 1.0, 1.0),
        (slope[..., 0], -2.0, 0.25),
        (slope[..., 1], 0.5, 4.0),
    ]:
        targets.check_mean(values, mean)
        targets.check_mean((values - mean) ** 2, variance)
    targets.check_mean((level - 1.0) * (slope[..., 0] + 2.0), 0.8 * 0.5)


def test_moments_of_a_banana() -> None:
    # From exact draws: the far ends of the banana are reached too rarely to wait for them.
    start = targets.rosenbrock().draw(600, 5)
    draws = draws_of(MALA(targets.rosenbrock().target), start, 50, 250)
    x, y = draws.sites["x"], draws.sites["y"]
    targets.check_mean(x, 1.0)
    targets.check_mean((x - 1.0) ** 2, 0.5)
    targets.check_mean(y, 1.5)
    targets.check_mean((y - 1.5) ** 2, 0.1 + 4.0 * 0.5 + 2.0 * 0.25)


def wide_variance(adapt_preconditioner: bool) -> Tensor:
    """Squared deviations of the widest coordinate in the unit of its variance, from its mean on."""
    kernel = MALA(targets.ill_conditioned().target, 1e-4, adapt_preconditioner=adapt_preconditioner)
    slope = torch.tensor([0.0, 30.0]).double().expand(32, 2)
    draws = draws_of(kernel, {"level": torch.ones(32).double(), "slope": slope}, 700, 500)
    return (draws.sites["slope"][..., 1] / 100.0 - 0.3) ** 2


def test_adapted_preconditioner_reaches_every_scale() -> None:
    targets.check_mean(wide_variance(adapt_preconditioner=True), 1.0)


def test_without_preconditioner_it_is_seen_not_to() -> None:
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_mean(wide_variance(adapt_preconditioner=False), 1.0)


def test_step_size_reaches_the_target_acceptance_rate_and_then_stays() -> None:
    known = targets.correlated()
    draws = draws_of(MALA(known.target, step_size=5.0), known.draw(16, 0), 300, 500)
    assert abs(draws.stats["acceptance_rate"].mean().item() - 0.574) < 0.05
    assert (draws.stats["step_size"] == draws.stats["step_size"][:, :1]).all()
    assert (draws.warmup_stats["step_size"].std(1) > 0).all()


def test_shared_step_size_is_shared() -> None:
    known = targets.correlated()
    draws = draws_of(MALA(known.target, shared_step_size=True), known.draw(4, 0), 50, 2)
    assert (draws.stats["step_size"] == draws.stats["step_size"][0, 0]).all()


def test_tuning_is_frozen_after_warmup() -> None:
    known = targets.correlated()
    kernel = MALA(known.target, adapt_preconditioner=True)
    generators, state = make_generators(0, 4), kernel.init(known.draw(4, 0))
    for _ in range(40):
        state, _ = kernel.step(generators, state, is_warmup=True)
    tuned = state.adaptation
    for _ in range(5):
        state, _ = kernel.step(generators, state)
    assert state.adaptation is tuned


# ----- the state -----


def test_cached_energy_and_gradient_are_those_of_the_position() -> None:
    known = targets.correlated()
    kernel = MALA(known.target, step_size=0.3)
    generators, state = make_generators(0, 8), kernel.init(known.draw(8, 0))
    for _ in range(20):
        state, info = kernel.step(generators, state, is_warmup=True)
        energy, gradient = known.target.potential_and_gradient(state.position)
        assert torch.equal(state.potential_energy, energy)
        assert torch.equal(info.potential_energy, energy)
        assert all(torch.equal(state.gradient[site], gradient[site]) for site in gradient)
        assert ((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1)).all()


def test_same_seed_same_draws_and_chains_do_not_know_each_other() -> None:
    known = targets.correlated()
    kernel = MALA(known.target, adapt_preconditioner=True)
    start = known.draw(4, 0)
    once, again = (draws_of(kernel, start, 60, 20) for _ in range(2))
    alone = draws_of(kernel, {site: value[:1] for site, value in start.items()}, 60, 20)
    other = draws_of(kernel, start, 60, 20, seed=1)
    for site in start:
        assert torch.equal(once.sites[site], again.sites[site])
        assert torch.equal(once.sites[site][:1], alone.sites[site])
        assert not torch.equal(once.sites[site], other.sites[site])


def test_huge_steps_are_rejected_and_tiny_ones_accepted() -> None:
    known = targets.correlated()
    for step_size, low, high in [(1e6, 0.0, 1e-3), (1e-9, 0.999, 1.0)]:
        kernel = MALA(known.target, step_size=step_size)
        _, info = kernel.step(make_generators(0, 16), kernel.init(known.draw(16, 0)))
        assert ((info.acceptance_rate >= low) & (info.acceptance_rate <= high)).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_candidates_without_an_energy_are_rejected_and_flagged(bad: float) -> None:
    def energy(position: Position) -> Tensor:
        x = position["x"]
        return torch.where(x > 0, 0.5 * x**2, torch.full_like(x, bad))

    start = {"x": torch.full((50,), 0.1).double()}
    kernel = MALA(targets.FunctionTarget(energy), step_size=1.0)
    generators, state = make_generators(0, 50), kernel.init(start)
    flagged = 0
    for _ in range(20):
        state, info = kernel.step(generators, state)
        assert (state.position["x"] > 0).all()
        assert (info.acceptance_rate[info.diverging] == 0).all()
        flagged += int(info.diverging.sum())
    assert flagged > 50


def test_a_gradient_that_is_no_number_costs_the_drift_only() -> None:
    """sqrt has an infinite slope at 0, where half of the chains start."""

    def energy(position: Position) -> Tensor:
        return position["x"].abs().sqrt() + 0.5 * position["x"] ** 2

    start = {"x": torch.tensor([0.0, 1.0]).double()}
    kernel = MALA(targets.FunctionTarget(energy), step_size=0.1)
    state = kernel.init(start)
    assert state.gradient["x"].isfinite().all()
    moved, _ = kernel.step(make_generators(0, 2), state)
    assert moved.position["x"].isfinite().all()
