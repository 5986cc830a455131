"""Every exact kernel of the room, one step at a time, on targets with exact draws."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import metropolis, positions
from bayes_splat.samplers.base import Generators, Info
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA, MALAState
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering
from bayes_splat.samplers.ula import ULA
from tests import helpers_targets as targets
from tests.helpers_jumps import NormalJump
from tests.helpers_transitions import Start, check_transition, p_values, starting

NORMAL, BANANA, FUNNEL, LABELLED = (
    targets.correlated(),
    targets.rosenbrock(),
    targets.funnel(),
    targets.labelled(),
)
DIAGONAL = {"level": torch.tensor(1.0).double(), "slope": torch.tensor([0.25, 4.0]).double()}


def two_blocks(target: targets.FunctionTarget) -> Gibbs:
    level, slope = targets.BlockOf(target, ("level",)), targets.BlockOf(target, ("slope",))
    walk = RandomWalkMetropolis(target, step_size=0.7)
    return Gibbs(
        target,
        [KernelBlock("level", MALA(target, 0.3), level, 2), KernelBlock("slope", walk, slope)],
    )


def enumerated(target: targets.FunctionTarget) -> Gibbs:
    x = KernelBlock("x", MALA(target, 0.5), targets.BlockOf(target, ("x",)))
    return Gibbs(target, [targets.Enumerated(target, "z", 3), x])


def on(known: targets.Known, kernel: Any) -> Callable[[int, int], Start]:
    return lambda chains, seed: starting(kernel, known.draw(chains, seed))


EXACT: dict[str, Callable[[int, int], Start]] = {
    "mala": on(NORMAL, MALA(NORMAL.target, 0.3)),
    "mala, diagonal": on(NORMAL, MALA(NORMAL.target, 0.4, preconditioner=DIAGONAL)),
    "mala, banana": on(BANANA, MALA(BANANA.target, 0.08)),
    "walk": on(NORMAL, RandomWalkMetropolis(NORMAL.target, 0.8)),
    "walk, diagonal": on(NORMAL, RandomWalkMetropolis(NORMAL.target, 0.8, preconditioner=DIAGONAL)),
    "jumps": on(
        NORMAL,
        RandomWalkMetropolis(
            NORMAL.target, 0.5, jump=NormalJump("level", 2.0, 1.0), jump_probability=0.7
        ),
    ),
    "gibbs": on(NORMAL, two_blocks(NORMAL.target)),
    "gibbs, discrete": on(LABELLED, enumerated(LABELLED.target)),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_exact_draws_stay_exact(name: str, num_steps: int) -> None:
    check_transition(EXACT[name], num_steps=num_steps)


@pytest.mark.parametrize("kernel", [MALA(FUNNEL.target, 0.3), RandomWalkMetropolis(FUNNEL.target)])
def test_a_funnel_stays_a_funnel(kernel: Any) -> None:
    def normal(state: Any) -> Tensor:
        v, x = state.position["v"], state.position["x"]
        return torch.cat([v[:, None] / 1.5, x * (-0.5 * v).exp()[:, None]], dim=1)

    check_transition(on(FUNNEL, kernel), whiten=normal)


# ----- models of Pyro, data included -----


@pytest.mark.parametrize("kernel", [partial(MALA, step_size=0.2), RandomWalkMetropolis])
def test_a_pyro_model_with_its_data(kernel: Callable[[Any], Any]) -> None:
    def begin(chains: int, seed: int) -> Start:
        position, data = targets.location_scale_joint(chains, seed)
        target = PyroTarget(targets.location_scale, (data,), vectorized=True)
        return starting(kernel(target), position, data)

    check_transition(begin)


# ----- tempering: exact draws at every power -----

POWERS = (1.0, 0.5, 0.1, 0.0)


def tempered_normal(chains: int, seed: int, **settings: Any) -> Start:
    """Prior Normal(0, 2^2), likelihood Normal(1.5; x, 1): Normal at every power."""
    target = targets.Powers(
        prior=lambda p: 0.125 * p["x"].square().sum(1),
        likelihood=lambda p: 0.5 * (p["x"] - 1.5).square().sum(1),
    )
    precision = 0.25 + torch.tensor(POWERS).double()
    mean = 1.5 * torch.tensor(POWERS).double() / precision
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(chains, len(POWERS), 2, generator=generator, dtype=torch.float64)
    x = mean[:, None] + noise / precision.sqrt()[:, None]
    kernel = ParallelTempering(
        target, partial(MALA, step_size=0.5), POWERS, num_steps=1, adapt_ladder=False
    )
    state = kernel.init({"x": x[:, 0]})
    rows = {"x": x}
    parity = state.adaptation._replace(num_steps=seed % 2, **settings)
    return Start(kernel, state._replace(rows=rows, adaptation=parity))


def all_rows(state: Any) -> Tensor:
    return state.rows["x"].reshape(-1, 2 * len(POWERS))


@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_swaps_leave_every_power_as_it_is(num_steps: int, seed: int) -> None:
    check_transition(tempered_normal, seed=seed, num_steps=num_steps, whiten=all_rows)


def test_a_pyro_model_at_several_powers() -> None:
    """Prior draws at power 0 and the joint at power 1: data and parameters stay as they are."""

    def begin(chains: int, seed: int) -> Start:
        position, data = targets.location_scale_joint(chains, seed)
        prior, _ = targets.location_scale_joint(chains, seed + 5)
        target = PyroTarget(
            targets.location_scale, (data.repeat_interleave(2, 0),), vectorized=True
        )
        kernel = ParallelTempering(
            TemperedTarget(target), partial(MALA, step_size=0.2), (1.0, 0.0), 1
        )
        rows = {s: torch.stack([v, prior[s]], 1) for s, v in position.items()}
        return Start(kernel, kernel.init(position)._replace(rows=rows), data)

    check_transition(begin)


# ----- broken kernels are seen -----


class StaleGradient(MALA):
    """Forgets to renew the gradient when a move is accepted."""

    def step(
        self, generators: Generators, state: MALAState, is_warmup: bool = False
    ) -> tuple[MALAState, Info]:
        moved, info = super().step(generators, state, is_warmup)
        return moved._replace(gradient=state.gradient), info


class OneGenerator(RandomWalkMetropolis):
    """Takes the coin from the same random numbers as the first step of the walk."""

    def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
        before = [generator.get_state() for generator in generators]
        noise = positions.randn_like(generators, state.position)
        for generator, old in zip(generators, before, strict=True):
            generator.set_state(old)
        candidate = {site: v + self.step_size * noise[site] for site, v in state.position.items()}
        energy = self.target.potential_energy(candidate)
        rate = metropolis.acceptance_rate(state.potential_energy, energy)
        accepted = positions.rand(generators) < rate
        moved = positions.select(accepted, candidate, state.position)
        return state._replace(position=moved), None


@pytest.mark.parametrize(
    ("kernel", "num_steps"),
    [
        (ULA(NORMAL.target, 0.1), 1),
        (StaleGradient(NORMAL.target, 0.1), 30),
        (OneGenerator(NORMAL.target, 0.8), 1),
        (RandomWalkMetropolis(targets.ill_conditioned().target, 0.8), 1),
    ],
    ids=["no test", "stale gradient", "reused numbers", "another target"],
)
def test_broken_kernels_are_seen(kernel: Any, num_steps: int) -> None:
    with pytest.raises(AssertionError, match="a step changes the target"):
        check_transition(on(NORMAL, kernel), num_steps=num_steps)


def test_a_kernel_that_stays_is_seen() -> None:
    with pytest.raises(AssertionError, match="nothing moved"):
        check_transition(on(NORMAL, MALA(NORMAL.target, 1e9)))


def test_p_values_of_a_right_kernel_are_uniform() -> None:
    values = torch.cat([p_values(EXACT["walk"], 400, 100 * seed) for seed in range(30)])
    # 30 x 21 correlated values; a share has a standard error of at most 0.09 (30 runs).
    for level in (0.1, 0.5, 0.9):
        assert abs((values < level).double().mean().item() - level) < 0.2
