"""Every exact kernel of the room, run from bad starts, on targets with known answers.

The answers are exact draws, or long runs of Pyro's NUTS on ordinary models. Means, second moments
and quantiles must agree within the spread of the chains.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Kernel, Position
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sampling import sample
from bayes_splat.samplers.schedules import Constant
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering
from tests import helpers_pyro_models as pyro_models
from tests import helpers_targets as targets
from tests.helpers_jumps import NormalJump

CHAINS = 48
Make = Callable[[targets.FunctionTarget], Kernel]


def by_site(target: targets.FunctionTarget, sites: tuple[str, ...]) -> Gibbs:
    """MALA on one site after the other."""
    blocks = [KernelBlock(s, MALA(target), targets.BlockOf(target, (s,)), 2) for s in sites]
    return Gibbs(target, blocks)


def tempered(target: targets.FunctionTarget) -> ParallelTempering:
    """The whole density as likelihood: proper at these powers, as Normals and their kind are."""
    powers = targets.Powers(prior=lambda p: 0.0 * target.energy(p), likelihood=target.energy)
    return ParallelTempering(powers, MALA, (1.0, 0.6), 2)


def enumerated(target: targets.FunctionTarget) -> Gibbs:
    x = KernelBlock("x", MALA(target), targets.BlockOf(target, ("x",)), 2)
    return Gibbs(target, [targets.Enumerated(target, "z", 3), x])


def start_at(**values: list[float] | float) -> Position:
    """The same position in every chain."""
    site = {name: torch.tensor(value).double() for name, value in values.items()}
    return {name: value.expand(CHAINS, *value.shape).clone() for name, value in site.items()}


def draws_of(kernel: Kernel, start: Position, warmup: int, steps: int) -> Tensor:
    """Coordinates [chain, draw, coordinate]."""
    draws = sample(
        kernel,
        start,
        make_generators(0, positions.num_chains(start)),
        num_warmup=warmup,
        num_draws=steps,
        constrain=lambda p: {"x": targets.coordinates(p)},
        dtype=torch.float64,
    )
    return draws.sites["x"]


def check_against(draws: Tensor, exact: Tensor) -> None:
    """Means, variances and quantiles of [chain, draw, coordinate] and of exact [draw, coordinate].

    Raises AssertionError where any is off by more than the limit, or too uncertain to tell.
    """
    levels = torch.tensor([0.1, 0.5, 0.9]).double()
    limits = exact.quantile(levels, dim=0)
    mean, spread = exact.mean(0), exact.std(0)

    def functions(x: Tensor) -> Tensor:
        z = (x - mean) / spread
        # Clamped: the banana's tail would need many more draws.
        return torch.cat(
            [z, z.square().clamp(max=6.0), *((x < limit).double() for limit in limits)], dim=-1
        )

    truth = functions(exact)
    per_chain = functions(draws).mean(1)
    error = per_chain.std(0) / math.sqrt(len(per_chain))
    both = torch.hypot(error, truth.std(0) / math.sqrt(len(truth)))
    scores = (per_chain.mean(0) - truth.mean(0)).abs() / both.clamp(min=1e-9)
    assert error.max() < 0.15, f"an error of {error.max():.2f} spreads: too few draws to tell"
    assert scores.max() < targets.LIMIT, f"off by {scores.max():.1f} standard errors"


NORMAL, BANANA, FUNNEL, LABELLED = (
    targets.correlated(),
    targets.rosenbrock(),
    targets.funnel(),
    targets.labelled(),
)
NORMAL_START = start_at(level=6.0, slope=[0.0, 0.0])
# The arms of the banana are so stiff that a short run from outside does not reach their ends, and
# that means of few chains are skewed: many chains, from exact draws, without warmup.
BANANA_START = BANANA.draw(500, 9)
CASES: dict[str, tuple[Any, targets.Known, Position, int, int]] = {
    # kernel, target, start, warmup, draws
    "normal, mala": (MALA(NORMAL.target), NORMAL, NORMAL_START, 150, 400),
    "normal, walk": (RandomWalkMetropolis(NORMAL.target), NORMAL, NORMAL_START, 200, 1200),
    "normal, gibbs": (
        by_site(NORMAL.target, ("level", "slope")), NORMAL, NORMAL_START, 60, 150
    ),
    "normal, tempering": (tempered(NORMAL.target), NORMAL, NORMAL_START, 60, 120),
    "banana, mala": (MALA(BANANA.target, 0.03), BANANA, BANANA_START, 0, 300),
    "banana, walk": (RandomWalkMetropolis(BANANA.target, 0.4), BANANA, BANANA_START, 0, 300),
    "funnel, jumps": (
        RandomWalkMetropolis(
            FUNNEL.target, 0.5, jump=NormalJump("v", 0.0, 2.0), jump_probability=0.3
        ),
        FUNNEL, start_at(v=0.0, x=[1.0, -1.0]), 100, 1200,
    ),
    "discrete, gibbs": (enumerated(LABELLED.target), LABELLED, start_at(z=0.0, x=0.0), 40, 500),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_moments_and_quantiles(name: str) -> None:
    kernel, known, start, warmup, steps = CASES[name]
    exact = targets.coordinates(known.draw(100_000, 3))
    check_against(draws_of(kernel, start, warmup, steps), exact)


def test_a_biased_kernel_is_seen() -> None:
    class Whole(targets.FunctionTarget):
        def draw_batch(self, generators: Any) -> dict[str, Any]:
            return {}

        def potential_and_gradient(
            self, position: Position, batch: Any = None
        ) -> tuple[Tensor, Position]:
            return super().potential_and_gradient(position)

    kernel = SGLD(Whole(NORMAL.target.energy), Constant(0.08))
    exact = targets.coordinates(NORMAL.draw(100_000, 3))
    with pytest.raises(AssertionError, match="standard errors"):
        check_against(draws_of(kernel, NORMAL_START, 150, 700), exact)


# ----- ordinary Pyro models, against NUTS -----

SCHOOLS = PyroTarget(pyro_models.eight_schools, vectorized=True)
REGRESSION = PyroTarget(pyro_models.logistic_regression, vectorized=True)


def by_conditional(target: PyroTarget, sites: tuple[str, ...]) -> Gibbs:
    blocks = [KernelBlock(s, MALA(target, 0.2), target.conditional([s]), 2) for s in sites]
    return Gibbs(target, blocks)


MODELS: dict[str, tuple[PyroTarget, Any, int]] = {
    "schools, mala": (SCHOOLS, MALA(SCHOOLS, adapt_preconditioner=True), 400),
    "schools, tempering": (
        SCHOOLS,
        ParallelTempering(
            TemperedTarget(SCHOOLS), partial(MALA, adapt_preconditioner=True), (1.0, 0.2), 4
        ),
        70,
    ),
    "regression, mala": (REGRESSION, MALA(REGRESSION, adapt_preconditioner=True), 300),
    "regression, walk": (REGRESSION, RandomWalkMetropolis(REGRESSION, 0.3), 700),
    "regression, gibbs": (REGRESSION, by_conditional(REGRESSION, ("intercept", "slope")), 70),
}


@pytest.mark.parametrize("name", MODELS)
def test_ordinary_models_agree_with_nuts(name: str) -> None:
    target, kernel, steps = MODELS[name]
    is_schools = target is SCHOOLS
    functions = pyro_models.schools_functions if is_schools else pyro_models.regression_functions
    reference = pyro_models.SCHOOLS_REFERENCE if is_schools else pyro_models.REGRESSION_REFERENCE
    draws = sample(
        kernel,
        target.initial_position(make_generators(1, CHAINS)),
        make_generators(0, CHAINS),
        num_warmup=150 if steps > 100 else 40,
        num_draws=steps,
        constrain=target.constrain,
        dtype=torch.float64,
    )
    per_chain = functions(draws.sites).mean(1)
    error = per_chain.std(0) / math.sqrt(CHAINS)
    truth, limit = torch.tensor(reference).double().unbind(1)
    scores = (per_chain.mean(0) - truth).abs() / torch.hypot(error, limit)
    assert scores.max() < targets.LIMIT, f"off by {scores.max():.1f} standard errors"
    # The test can tell: its errors are not much larger than those of NUTS's 10,000 draws.
    assert (error < 8.0 * limit).all()
