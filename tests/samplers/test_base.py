"""What every kernel has in common."""

import dataclasses
import inspect
from typing import Any

import pytest
import torch

from bayes_splat.samplers.base import Info, Kernel
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sgd import SGD
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering
from bayes_splat.samplers.ula import ULA
from tests import helpers_targets as targets

TARGET = PyroTarget(targets.location_scale, (targets.location_scale_joint(1, 0)[1][0],))


def kernels() -> list[Any]:
    target = TARGET
    block = KernelBlock("scale", MALA(target), target.conditional(["scale"]))
    return [
        MALA(target),
        RandomWalkMetropolis(target),
        ULA(target),
        SGLD(Minibatches(target, lambda generators: {})),
        SGLD(Minibatches(target, lambda generators: {}), anchor_every=2),
        SGD(Minibatches(target, lambda generators: {}), noise_scale=0.1),
        ParallelTempering(TemperedTarget(target), MALA, (1.0, 0.5, 0.0), 1),
        Gibbs(target, [block]),
    ]


@pytest.mark.parametrize("kernel", kernels(), ids=lambda kernel: type(kernel).__name__)
class TestEveryKernel:
    def test_speaks_the_protocol(self, kernel: Any) -> None:
        assert dataclasses.replace(kernel, target=kernel.target) == kernel
        assert list(inspect.signature(kernel.init).parameters) == ["position", "adaptation"]
        assert list(inspect.signature(kernel.step).parameters) == [
            "generators",
            "state",
            "is_warmup",
        ]
        with pytest.raises(dataclasses.FrozenInstanceError):
            kernel.target = None
        assert isinstance(kernel, Kernel)

    def test_step_keeps_the_form_and_changes_nothing_in_place(self, kernel: Any) -> None:
        position = {"location": torch.zeros(3).double(), "scale": torch.zeros(3).double()}
        state = kernel.init(position)
        moved, info = kernel.step(make_generators(0, 3), state, is_warmup=True)
        assert type(moved) is type(state)
        assert isinstance(info, Info)
        for site, value in moved.position.items():
            assert value.shape == (3,)
            assert value.dtype == torch.float64
            assert not value.requires_grad
            assert (state.position[site] == 0).all()
        assert torch.equal(info.potential_energy, moved.potential_energy)
        for values in info[:4]:
            assert values.shape == (3,)
        assert ((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1)).all()

    def test_same_streams_same_result(self, kernel: Any) -> None:
        position = {"location": torch.zeros(3).double(), "scale": torch.zeros(3).double()}
        state = kernel.init(position)
        once, again = (kernel.step(make_generators(4, 3), state)[0] for _ in range(2))
        assert all(torch.equal(once.position[s], again.position[s]) for s in position)

    def test_tuning_survives_a_restart(self, kernel: Any) -> None:
        position = {"location": torch.zeros(3).double(), "scale": torch.zeros(3).double()}
        state = kernel.init(position)
        for _ in range(3):
            state, _ = kernel.step(make_generators(0, 3), state, is_warmup=True)
        assert kernel.init(state.position, state.adaptation).adaptation is state.adaptation

    def test_energies_are_those_of_the_position(self, kernel: Any) -> None:
        """Minibatches are whole here, so those of stochastic gradients are exact as well."""
        start = {"location": torch.zeros(20).double(), "scale": torch.zeros(20).double()}
        state, generators = kernel.init(start), make_generators(0, 20)
        for _ in range(3):
            state, _ = kernel.step(generators, state)
        assert any((value != 0).any() for value in state.position.values())
        torch.testing.assert_close(state.potential_energy, TARGET.potential_energy(state.position))

    def test_step_sizes_are_frozen_after_warmup(self, kernel: Any) -> None:
        position = {"location": torch.zeros(3).double(), "scale": torch.zeros(3).double()}
        state, generators = kernel.init(position), make_generators(0, 3)
        for _ in range(3):
            state, _ = kernel.step(generators, state, is_warmup=True)
        sizes = []
        for _ in range(3):
            state, info = kernel.step(generators, state)
            sizes.append(info.step_size)
        assert torch.equal(sizes[0], sizes[1])
        assert torch.equal(sizes[0], sizes[2])


def test_targets_without_blocks_are_refused() -> None:
    kernel = BlockMALA(targets.two_peaks())
    with pytest.raises(ValueError, match="FunctionTarget cannot; take MALA"):
        targets.run(kernel, {"x": torch.zeros(1).double()}, make_generators(0, 1), 1)
