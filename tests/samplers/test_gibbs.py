from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers.base import Block, BlockInfo, Generators, Position
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from tests import helpers_targets as targets

CHAINS = 2000


@dataclass(frozen=True)
class ExactLocation:
    """The Normal conditional of ``location`` in the little model, drawn exactly.

    ``prior_precision`` other than 1 gives a wrong conditional.
    """

    data: Tensor
    prior_precision: float = 1.0
    name: str = "location"

    def init(self, position: Position) -> None:
        return None

    def step(
        self, generators: Generators, position: Position, tuning: Any, is_warmup: bool
    ) -> tuple[Position, Any, BlockInfo]:
        weight = (-2.0 * position["scale"]).exp()
        precision = self.prior_precision + self.data.shape[1] * weight
        mean = weight * self.data.sum(1) / precision
        noise = torch.cat([torch.randn(1, generator=g, dtype=torch.float64) for g in generators])
        info = BlockInfo(
            torch.ones_like(mean), torch.full_like(mean, torch.nan), torch.zeros_like(mean).bool()
        )
        return {**position, "location": mean + precision.rsqrt() * noise}, tuning, info


def little_model(chains: int = CHAINS) -> tuple[Position, Tensor, PyroTarget]:
    position, data = targets.location_scale_joint(chains, 0)
    return position, data, PyroTarget(targets.location_scale, (data,), vectorized=True)


# ----- exactness -----


def test_joint_distribution_of_exact_and_kernel_blocks() -> None:
    position, data, target = little_model()
    scale = KernelBlock("scale", MALA(target, step_size=0.1), target.conditional(["scale"]), 2)
    targets.check_invariance(Gibbs(target, [ExactLocation(data), scale]), position, 10, data)


def test_joint_distribution_of_two_kernel_blocks() -> None:
    known = targets.correlated()
    blocks = [
        KernelBlock(
            "level",
            RandomWalkMetropolis(known.target, 0.8),
            targets.BlockOf(known.target, ("level",)),
        ),
        KernelBlock(
            "slope", MALA(known.target, 0.15), targets.BlockOf(known.target, ("slope",)), 3
        ),
    ]
    targets.check_invariance(Gibbs(known.target, blocks), known.draw(CHAINS, 0), 15)


def test_a_wrong_conditional_is_seen() -> None:
    position, data, target = little_model()
    kernel = Gibbs(target, [ExactLocation(data, prior_precision=0.2)])
    targets.check_invariance(Gibbs(target, [ExactLocation(data)]), position, 10, data)
    with pytest.raises(AssertionError, match="standard errors"):
        targets.check_invariance(kernel, position, 10, data)


class StaleBlock(KernelBlock):
    """Carries energy and gradient from one sweep to the next, though the rest has moved."""

    def step(
        self, generators: Generators, position: Position, tuning: Any, is_warmup: bool
    ) -> tuple[Position, Any, BlockInfo]:
        kernel = replace(self.kernel, target=self.conditional.given(position))
        state = kernel.init(self.conditional.extract(position)) if tuning is None else tuning
        state, info = kernel.step(generators, state, is_warmup)
        report = BlockInfo(info.acceptance_rate, info.step_size, info.diverging)
        return self.conditional.insert(state.position, position), state, report


@pytest.mark.parametrize("kind", [KernelBlock, StaleBlock])
def test_stale_energies_after_another_block_moved_are_seen(kind: type[KernelBlock]) -> None:
    covariance = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    known = targets.normal(covariance, torch.zeros(3).double())
    blocks = [
        kind(site, MALA(known.target, 0.15), targets.BlockOf(known.target, (site,)))
        for site in ("level", "slope")
    ]
    kernel, exact = Gibbs(known.target, blocks), known.draw(CHAINS, 0)
    if kind is StaleBlock:
        with pytest.raises(AssertionError, match="standard errors"):
            targets.check_invariance(kernel, exact, 30)
    else:
        targets.check_invariance(kernel, exact, 30)


# ----- what is reported -----


@dataclass(frozen=True)
class Counting:
    """A target that counts its evaluations."""

    inner: PyroTarget
    calls: list[str]

    def potential_energy(self, position: Position) -> Tensor:
        self.calls.append("energy")
        return self.inner.potential_energy(position)

    def potential_and_gradient(self, position: Position) -> tuple[Tensor, Position]:
        self.calls.append("gradient")
        return self.inner.potential_and_gradient(position)


def test_reported_energy_is_that_of_the_joint_and_evaluated_only_when_unknown() -> None:
    position, data, target = little_model(5)
    counting = Counting(target, [])
    location = ExactLocation(data)
    scale = KernelBlock("scale", MALA(target, step_size=0.1), target.conditional(["scale"]))
    orders: list[tuple[list[Block], int]] = [([location, scale], 0), ([scale, location], 1)]
    for blocks, evaluations in orders:
        kernel = Gibbs(counting, blocks)
        state = kernel.init(position)
        counting.calls.clear()
        state, info = kernel.step(make_generators(0, 5), state)
        assert len(counting.calls) == evaluations
        expected = target.potential_energy(state.position)
        torch.testing.assert_close(info.potential_energy, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state.potential_energy, expected, rtol=1e-12, atol=1e-12)


def test_a_conditional_that_leaves_terms_out_is_not_taken_for_the_joint() -> None:
    known = targets.correlated()
    calls = []

    def part(position: Position) -> Tensor:
        calls.append(1)
        return known.target.energy(position) - 100.0

    block = KernelBlock(
        "slope", MALA(known.target), targets.BlockOf(targets.FunctionTarget(part), ("slope",))
    )
    kernel = Gibbs(known.target, [block])
    state, info = kernel.step(make_generators(0, 3), kernel.init(known.draw(3, 0)))
    assert torch.equal(info.potential_energy, known.target.potential_energy(state.position))


def test_no_energy_is_evaluated_when_none_is_asked_for() -> None:
    position, data, target = little_model(5)
    counting = Counting(target, [])
    kernel = Gibbs(counting, [ExactLocation(data)], energy="never")
    _, info = kernel.step(make_generators(0, 5), kernel.init(position))
    assert not counting.calls
    assert info.potential_energy.isnan().all()


def test_info_of_the_blocks() -> None:
    position, data, target = little_model(5)
    scale = KernelBlock("scale", MALA(target, step_size=0.1), target.conditional(["scale"]), 4)
    kernel = Gibbs(target, [ExactLocation(data), scale])
    _, info = kernel.step(make_generators(0, 5), kernel.init(position))
    assert list(info.blocks) == ["location", "scale"]
    assert (info.blocks["location"] == 1).all()
    assert (info.blocks["scale"] < 1).any()
    torch.testing.assert_close(info.acceptance_rate, (1 + info.blocks["scale"]) / 2)
    assert info.step_size.tolist() == pytest.approx([0.1] * 5)


def test_tuning_is_carried_between_sweeps_and_frozen_after_warmup() -> None:
    position, _, target = little_model(5)
    kernel = Gibbs(target, [KernelBlock("scale", MALA(target), target.conditional(["scale"]), 2)])
    generators, state = make_generators(0, 5), kernel.init(position)
    for _ in range(10):
        state, _ = kernel.step(generators, state, is_warmup=True)
    assert state.adaptation["scale"].step_size.num_updates.tolist() == [20.0] * 5
    tuned = state.adaptation["scale"]
    state, info = kernel.step(generators, state)
    assert state.adaptation["scale"] is tuned
    assert torch.equal(info.step_size, tuned.step_size.step_size(is_warmup=False))
    again = kernel.init(state.position, state.adaptation)
    assert again.adaptation["scale"] is tuned


def test_settings_that_make_no_sense_are_refused() -> None:
    _, data, target = little_model(2)
    block = ExactLocation(data)
    with pytest.raises(ValueError, match="different names"):
        Gibbs(target, [block, block])
    with pytest.raises(ValueError, match="at least one block"):
        Gibbs(target, [])
    with pytest.raises(ValueError, match="sometimes"):
        Gibbs(target, [block], energy="sometimes")
    with pytest.raises(ValueError, match="num_steps"):
        KernelBlock("x", MALA(target), target.conditional(["scale"]), 0)
