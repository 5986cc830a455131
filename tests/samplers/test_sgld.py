from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import langevin
from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from bayes_splat.samplers.sampling import sample
from bayes_splat.samplers.schedules import Constant, Cyclical, Polynomial, may_keep
from bayes_splat.samplers.sgld import SGLD
from tests import helpers_targets as targets

CURVATURE, GRADIENT_NOISE, STEP_SIZE = 4.0, 3.0, 0.1


@dataclass(frozen=True)
class NoisyNormal:
    """U = 2 (x - 1)^2, with noise of known standard deviation on the gradient."""

    noise: float = 0.0

    def potential_energy(self, position: Position) -> Tensor:
        return 0.5 * CURVATURE * (position["x"] - 1.0) ** 2

    def draw_batch(self, generators: Generators) -> Batch:
        noise = [torch.randn(1, generator=g, dtype=torch.float64) for g in generators]
        return {"noise": self.noise * torch.cat(noise)}

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Tensor, Position]:
        gradient = CURVATURE * (position["x"] - 1.0)
        if batch is not None:
            gradient = gradient + batch["noise"]
        return self.potential_energy(position), {"x": gradient}


def stationary_variance(noise: float, scale: float = 1.0) -> float:
    """Of x' = x - e (c x + n) + sqrt(2 e) xi, with e = step size times preconditioner."""
    e = STEP_SIZE * scale
    return (2 * e + (e * noise) ** 2) / (1 - (1 - e * CURVATURE) ** 2)


def check_variance(noise: float, truth: float, **settings: Any) -> None:
    kernel = SGLD(NoisyNormal(noise), Constant(STEP_SIZE), **settings)
    start = {"x": torch.zeros(64).double()}
    draws = sample(
        kernel,
        start,
        make_generators(0, 64),
        num_warmup=100,
        num_draws=1000,
        constrain=lambda position: position,
    )
    targets.check_mean(draws.sites["x"], 1.0)
    targets.check_mean(100 * (draws.sites["x"] - 1.0) ** 2, 100 * truth)
    assert (draws.stats["acceptance_rate"] == 1).all()


def test_bias_is_the_one_that_is_documented() -> None:
    exact = 1.0 / CURVATURE
    assert stationary_variance(0.0) == pytest.approx(exact / (1 - STEP_SIZE * CURVATURE / 2))
    check_variance(0.0, stationary_variance(0.0))
    check_variance(GRADIENT_NOISE, stationary_variance(GRADIENT_NOISE))


def test_the_bias_itself_is_seen() -> None:
    with pytest.raises(AssertionError, match="standard errors"):
        check_variance(0.0, 1.0 / CURVATURE)


def test_fixed_preconditioner_scales_the_step() -> None:
    check_variance(
        0.0,
        stationary_variance(0.0, scale=0.5),
        preconditioner="fixed",
        diagonal={"x": torch.tensor(0.5).double()},
    )


def test_broken_noise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = langevin.step

    def quieter(generators: Generators, position: Position, *rest: Any) -> Position:
        moved = right(generators, position, *rest)
        still = {s: v - rest[1] * rest[0][s] for s, v in position.items()}
        return {s: still[s] + 0.5**0.5 * (moved[s] - still[s]) for s in position}

    monkeypatch.setattr(langevin, "step", quieter)
    with pytest.raises(AssertionError, match="standard errors"):
        check_variance(0.0, stationary_variance(0.0))


def test_rmsprop_moves_in_warmup_only() -> None:
    kernel = SGLD(NoisyNormal(GRADIENT_NOISE), Constant(0.1), preconditioner="rmsprop")
    generators, state = make_generators(0, 4), kernel.init({"x": torch.zeros(4).double()})
    for _ in range(300):
        state, _ = kernel.step(generators, state, is_warmup=True)
    tuned = state.adaptation.square_gradient
    assert tuned is not None
    # Noise of the gradient and c^2 times the variance of x, which is a bit above 1/c.
    assert ((tuned["x"] > 9.0) & (tuned["x"] < 20.0)).all()
    for _ in range(3):
        state, _ = kernel.step(generators, state)
    assert state.adaptation.square_gradient is tuned
    assert state.adaptation.num_steps == 303


def test_step_sizes_follow_the_schedule_also_across_restarts() -> None:
    kernel = SGLD(NoisyNormal(), Polynomial(0.1, delay=2.0, power=1.0))
    generators, state = make_generators(0, 2), kernel.init({"x": torch.zeros(2).double()})
    sizes = []
    for _ in range(3):
        state, info = kernel.step(generators, state)
        sizes.append(info.step_size[0].item())
        state = kernel.init(state.position, state.adaptation)
    assert sizes == pytest.approx([0.1, 0.1 / 1.5, 0.05])


def test_temperature_scales_the_noise() -> None:
    # With an exact gradient the whole variance comes from the noise.
    check_variance(0.0, 0.25 * stationary_variance(0.0), temperature=0.25)
    kernel = SGLD(NoisyNormal(), Constant(STEP_SIZE), temperature=0.0)
    state = kernel.init({"x": torch.tensor([3.0]).double()})
    for _ in range(3):
        state, _ = kernel.step(make_generators(0, 1), state)
    assert state.position["x"].item() == pytest.approx(1.0 + 2.0 * (1 - STEP_SIZE * CURVATURE) ** 3)


def test_temperature_also_scales_preconditioned_noise() -> None:
    check_variance(
        0.0,
        0.25 * stationary_variance(0.0, scale=0.5),
        temperature=0.25,
        preconditioner="fixed",
        diagonal={"x": torch.tensor(0.5).double()},
    )


def test_control_variate_removes_the_noise_of_the_gradient() -> None:
    # The noise is the same everywhere, so what is left is the discretisation.
    check_variance(GRADIENT_NOISE, stationary_variance(0.0), anchor_every=10)


def test_exploration_is_descent_and_the_window_is_told() -> None:
    schedule = Cyclical(0.1, period=4, exploration=0.5, exploration_temperature=0.0)
    kernel = SGLD(NoisyNormal(), schedule)
    generators, state = make_generators(0, 1), kernel.init({"x": torch.tensor([3.0]).double()})
    kept = []
    for step in range(8):
        x = state.position["x"]
        state, _ = kernel.step(generators, state)
        kept.append(may_keep(kernel, state))
        drift = x - schedule(step) * CURVATURE * (x - 1.0)
        assert torch.allclose(state.position["x"], drift) == (not kept[-1])
    assert kept == [False, False, True, True] * 2


def test_without_a_gradient_the_chain_stays_and_is_flagged() -> None:
    @dataclass(frozen=True)
    class Edge(NoisyNormal):
        def potential_and_gradient(
            self, position: Position, batch: Batch | None = None
        ) -> tuple[Tensor, Position]:
            x = position["x"]
            return x**2, {"x": torch.where(x > 0, 2.0 * x, torch.nan)}

    kernel = SGLD(Edge(), Constant(0.1))
    generators, state = make_generators(0, 50), kernel.init({"x": torch.full((50,), 0.3).double()})
    flagged = 0
    for _ in range(20):
        moved, info = kernel.step(generators, state)
        assert (moved.position["x"] > 0).all()
        stayed = moved.position["x"] == state.position["x"]
        assert torch.equal(stayed, info.diverging)
        assert torch.equal(info.acceptance_rate, (~info.diverging).double())
        flagged += int(info.diverging.sum())
        state = moved
    assert 50 < flagged < 800


def test_minibatches_of_a_pyro_model() -> None:
    _, data = targets.location_scale_joint(1, 3)

    def draw(generators: Generators) -> Batch:
        return {"index": torch.randint(3, (2,), generator=generators[0])}

    def model(index: Tensor | None = None) -> None:
        targets.location_scale(data[0], index)

    target = Minibatches(PyroTarget(model), draw)
    start = target.target.initial_position(make_generators(0, 4))
    draws = sample(
        SGLD(target, Constant(1e-3)),
        start,
        make_generators(0, 4),
        num_warmup=0,
        num_draws=5,
        constrain=target.target.constrain,
    )
    assert draws.sites["scale"].shape == (4, 5)
    assert (draws.sites["scale"] > 0).all()
    assert draws.stats["energy"].isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"preconditioner": "adam"},
        {"preconditioner": "fixed"},
        {"diagonal": {"x": torch.ones(1)}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="preconditioner"):
        SGLD(NoisyNormal(), **settings)


@pytest.mark.parametrize("settings", [{"temperature": -1.0}, {"anchor_every": 0}])
def test_numbers_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SGLD(NoisyNormal(), **settings)
