"""BlockMALA on little splat scenes with the real renderer: the joint distribution stays.

As in ``test_joint_distribution.py``: sites from the prior, photographs from the likelihood; a right
kernel keeps the sites an exact draw of the posterior, and each broken one must be caught.
"""

from typing import Any

import pytest
import torch

from bayes_splat import inference
from bayes_splat.models import smoothness, tile_blocks
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks, TilePartition
from bayes_splat.sampler_config import BlockMALAConfig
from bayes_splat.samplers import block_mala
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

FAR_OFF = 1.4 * scenes.LIMIT

LINE: dict[str, Any] = {"image_shape": (1, 24), "baseline": 0.06}
WIDE = {**LINE, "baseline": 0.25}
SMOOTH = {"prior": "smooth", "smoothness": 30.0, "contrast": 1.0}


def kernel(
    model: SplatModel,
    target: PyroTarget,
    sites: tuple[str, ...],
    step_size: float,
    num_cells: int | None = None,
) -> Kernel:
    parts = TileBlocks(model, sites, block_size=12, tile=1, num_cells=num_cells)
    moves = BlockMALA(parts.given({}), step_size, num_moves=8)
    return Gibbs(target, [KernelBlock("blocks", moves, parts)], energy="never")


def offsets(model: SplatModel, target: PyroTarget) -> Kernel:
    return kernel(model, target, ("offset", "opacity"), 0.3)


def leaving(model: SplatModel, target: PyroTarget) -> Kernel:
    """Depths may leave their cell, and with it their block."""
    return kernel(model, target, ("depth", "opacity"), 0.1, num_cells=64)


def opacities(model: SplatModel, target: PyroTarget) -> Kernel:
    return kernel(model, target, ("opacity",), 0.3)


def whole(model: SplatModel, target: PyroTarget) -> Kernel:
    settings = BlockMALAConfig(block_size=12, step_size=0.3)
    return inference.make_kernel(model, target, settings)


RIGHT = {
    "offsets and opacities": (offsets, LINE, 4),
    "depths that leave": (leaving, WIDE, 6),
    "opacities": (opacities, {**LINE, "noise": "per_view"}, 2),
    "offsets, compiled pictures": (offsets, {**LINE, "renderer": "cpu"}, 2),
    "order of centres": (leaving, {**LINE, "order": "center", "prior": "proposal"}, 2),
    "smooth prior": (offsets, {**LINE, **SMOOTH}, 4),
    "depths that leave, smooth prior": (leaving, {**WIDE, **SMOOTH}, 4),
    "the sampler of the command line": (whole, LINE, 3),
}


def score(name: str, chains: int = 300) -> float:
    make, scene, steps = RIGHT[name]
    model = scenes.tiny_model(**scene)
    scores = scenes.joint_scores(model, make, steps=steps, chains=chains)
    return max(map(abs, scores.values()))


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    assert score(name) < scenes.LIMIT


Walk = block_mala._Walk
right_move, right_density = Walk.move, Walk._density
right_evaluate = TilePartition.evaluate


def activity_of_the_old_state(self, offered):
    return torch.ones(len(self.energies.blocks), self.partition.num_blocks, dtype=torch.bool)


def no_reverse_density(self, to, start, gradient, step_size):
    return torch.zeros_like(right_density(self, to, start, gradient, step_size))


def gradient_of_the_past(self, generators, step_size):
    walk, *rest = right_move(self, generators, step_size)
    energies = walk.energies._replace(gradient=self.energies.gradient)
    return walk._replace(energies=energies), *rest


def pixels_of_the_neighbour(self, block):
    """A block counts the pixels one place beside its own."""
    moved = TilePartition(self.target, self.labels.roll(2, dims=-1))
    with pytest.MonkeyPatch.context() as patch:
        owner = self.owners(block)
        patch.setattr(TilePartition, "_activity", _Fixed(next(iter(owner.values()))))
        return right_evaluate(moved, block)


class _Fixed:
    def __init__(self, owner):
        self.owner = owner

    def owners(self, cells):
        return self.owner


def owners_of_left_ends(field, owners):
    return torch.stack([owners, owners], dim=-2)


def no_jacobian(self, block, position, depth, opacity):
    """Offsets and opacities are taken for even in their own coordinates."""
    return torch.zeros_like(depth)


BROKEN: dict[str, tuple[str, Any, str, Any]] = {
    "activity at the old state": ("depths that leave", Walk, "_keeps_owners", None),
    "no reverse density": ("offsets and opacities", Walk, "_density", no_reverse_density),
    "gradient of the past": ("offsets and opacities", Walk, "move", gradient_of_the_past),
    "pixels of the neighbour": (
        "offsets and opacities",
        TilePartition,
        "evaluate",
        pixels_of_the_neighbour,
    ),
    "edges of the left end only": ("smooth prior", smoothness, "edge_owners", owners_of_left_ends),
    "no Jacobian": (
        "offsets and opacities",
        tile_blocks.TileTarget,
        "_gaussian_energies",
        no_jacobian,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    case, owner, attribute, value = BROKEN[name]
    monkeypatch.setattr(owner, attribute, value or activity_of_the_old_state)
    found = score(case, chains=600 if case == "smooth prior" else 300)
    assert found > FAR_OFF, found
