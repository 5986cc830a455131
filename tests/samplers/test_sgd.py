import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.schedules import Constant, Polynomial
from bayes_splat.samplers.sgd import SGD
from tests import helpers_targets as targets

CURVATURE, STEP_SIZE = 4.0, 0.1


class Parabola:
    """U = 2 (x - 1)^2, the gradient of a minibatch shifted by plus or minus ``noise``."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def potential_energy(self, position: Position) -> Tensor:
        return 0.5 * CURVATURE * (position["x"] - 1.0) ** 2

    def draw_batch(self, generators: Generators) -> Batch:
        coins = [torch.rand(1, generator=g, dtype=torch.float64) for g in generators]
        return {"shift": self.noise * (2.0 * (torch.cat(coins) < 0.5) - 1.0)}

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Tensor, Position]:
        gradient = CURVATURE * (position["x"] - 1.0)
        if batch is not None:
            gradient = gradient + batch["shift"]
        return self.potential_energy(position), {"x": gradient}


def spread(noise_scale: float, **settings: Any) -> Tensor:
    """Squared distances to the mode [chain, step], once the start is forgotten."""
    kernel = SGD(Parabola(), Constant(STEP_SIZE), noise_scale, **settings)
    generators, state = make_generators(0, 64), kernel.init({"x": torch.zeros(64).double()})
    values = []
    for _ in range(600):
        state, _ = kernel.step(generators, state)
        values.append(state.position["x"])
    return (torch.stack(values[100:], 1) - 1.0) ** 2


def test_without_noise_it_falls_to_the_mode() -> None:
    assert spread(0.0).max() < 1e-20
    kernel = SGD(Parabola(), Constant(STEP_SIZE))
    state, info = kernel.step(make_generators(0, 1), kernel.init({"x": torch.zeros(1).double()}))
    assert state.position["x"].item() == pytest.approx(STEP_SIZE * CURVATURE)
    assert info.step_size.item() == STEP_SIZE


@pytest.mark.parametrize("noise_scale", [0.3, math.sqrt(2.0 * STEP_SIZE)])
def test_its_spread_is_that_of_the_settings(noise_scale: float) -> None:
    """At sqrt(2 eps) the formula is that of SGLD."""
    variance = noise_scale**2 / (1.0 - (1.0 - STEP_SIZE * CURVATURE) ** 2)
    targets.check_mean(10 * spread(noise_scale), 10 * variance)


def test_its_spread_is_not_that_of_the_posterior() -> None:
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_mean(10 * spread(0.3), 10 / CURVATURE)


def test_the_control_variate_stills_the_trembling() -> None:
    start = {"x": torch.zeros(8).double()}
    for anchor_every, moves in ((None, True), (5, False)):
        kernel = SGD(Parabola(3.0), Constant(STEP_SIZE), anchor_every=anchor_every)
        generators, state = make_generators(0, 8), kernel.init(start)
        for _ in range(100):
            state, _ = kernel.step(generators, state)
        assert ((state.position["x"] - 1.0).abs() > 1e-6).all().item() == moves


def test_steps_follow_the_schedule_also_across_restarts() -> None:
    kernel = SGD(Parabola(), Polynomial(0.1, delay=2.0, power=1.0))
    generators, state = make_generators(0, 2), kernel.init({"x": torch.zeros(2).double()})
    sizes = []
    for _ in range(3):
        state, info = kernel.step(generators, state)
        sizes.append(info.step_size[0].item())
        state = kernel.init(state.position, state.adaptation)
    assert sizes == pytest.approx([0.1, 0.1 / 1.5, 0.05])


def test_chains_do_not_know_each_other() -> None:
    kernel = SGD(Parabola(1.0), Constant(0.1), noise_scale=0.2)
    ends = []
    for chains in (4, 1):
        generators, state = (
            make_generators(0, chains),
            kernel.init({"x": torch.zeros(chains).double()}),
        )
        for _ in range(5):
            state, _ = kernel.step(generators, state)
        ends.append(state.position["x"][0].item())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("settings", [{"noise_scale": -1.0}, {"anchor_every": 0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SGD(Parabola(), **settings)
