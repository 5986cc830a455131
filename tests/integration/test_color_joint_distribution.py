"""Sampled colours on little splat scenes with the real renderer: the joint distribution stays.

As in ``test_joint_distribution.py``: sites from the prior, photographs from the likelihood; a right
kernel keeps the sites an exact draw of the posterior, and each broken one must be caught.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bayes_splat import inference
from bayes_splat.models.harmonics_gibbs import HarmonicsGibbs
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks
from bayes_splat.rendering import cpu_color_sweep
from bayes_splat.sampler_config import GibbsConfig, MALAConfig
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

FAR_OFF = 2.0 * scenes.LIMIT

SAMPLED: dict[str, Any] = {"colors": "sampled", "color_scale": 0.3}
SHARP: dict[str, Any] = {**SAMPLED, "noise_prior": [4.0, 0.01], "noise": "per_view"}
LINE: dict[str, Any] = {**SAMPLED, "renderer": "cpu", "image_shape": (1, 16), "baseline": 0.8}
SMOOTH = {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0}
BEHIND: dict[str, Any] = {**LINE, **SMOOTH, "background": "mean"}


class Case(NamedTuple):
    """A kernel on a scene."""

    make: Callable[[SplatModel, PyroTarget], Kernel]
    scene: dict[str, Any]
    steps: int
    degree: int = 0
    chains: int = 400

    def scores(self) -> dict[str, float]:
        model = scenes.with_degree(scenes.tiny_model(**self.scene), self.degree)
        return scenes.joint_scores(model, self.make, steps=self.steps, chains=self.chains)


def alone(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [HarmonicsGibbs(model)])


def default(model: SplatModel, target: PyroTarget) -> Kernel:
    return inference.make_kernel(model, target, GibbsConfig(patch_sizes=[1, 2, 3]))


def composed(model: SplatModel, target: PyroTarget) -> Kernel:
    settings = GibbsConfig(
        sites=False, patch_sizes=[], mala_steps=2, jump_fraction=0.25, opacity_fraction=0.5
    )
    return inference.make_kernel(model, target, settings)


def mala(model: SplatModel, target: PyroTarget) -> Kernel:
    return inference.make_kernel(model, target, MALAConfig(step_size=0.01))


def tiles(model: SplatModel, target: PyroTarget) -> Kernel:
    parts = TileBlocks(model, ("opacity", "harmonics"), block_size=12, tile=1)
    moves = BlockMALA(parts.given({}), 0.1, num_moves=8)
    return Gibbs(target, [KernelBlock("blocks", moves, parts)])


RIGHT = {
    "alone": Case(alone, SHARP, 2),
    "alone, degree 1": Case(alone, SHARP, 2, degree=1),
    "the default": Case(default, LINE, 4),
    "the default, a background": Case(default, BEHIND, 4),
    "the default, degree 1, order of centres": Case(default, {**LINE, "order": "center"}, 4, 1),
    "one after another": Case(composed, {**SAMPLED, "image_shape": (2, 3)}, 4),
    "everything by MALA": Case(mala, SHARP, 10),
    "blocks of tiles": Case(tiles, {**SAMPLED, "image_shape": (1, 24), "baseline": 0.06}, 2),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    scores = RIGHT[name].scores()
    assert max(map(abs, scores.values())) < scenes.LIMIT, scores
    assert {"harmonics", "harmonics^2", "harmonics opacity"} <= set(scores)


# ----- kernels broken in one place each -----

right_sweep = cpu_color_sweep.sweep_colors


def without_prior_mean(*args: Any, **given: Any) -> Tensor:
    return right_sweep(*args, **{**given, "prior_mean": torch.zeros_like(given["prior_mean"])})


def wide_prior(*args: Any, **given: Any) -> Tensor:
    return right_sweep(*args, **{**given, "prior_scales": 2.0 * given["prior_scales"]})


def one_view(*args: Any, **given: Any) -> Tensor:
    precisions = given["precisions"].clone()
    precisions[:, 1] = 0.0
    return right_sweep(*args, **{**given, "precisions": precisions})


def all_at_once(*args: Any, **given: Any) -> Tensor:
    """Everybody's draw given where the others were: nothing is taken from the residual."""
    drawn, start = given["harmonics"].clone(), given["harmonics"]
    for g in range(drawn.shape[1]):
        # Whoever comes first in the sweep sees the others as they were.
        first = torch.tensor([g, *(i for i in range(drawn.shape[1]) if i != g)])
        drawn[:, g] = _in_order(first, *args, **{**given, "harmonics": start})[:, 0]
    return drawn


def _in_order(order: Tensor, gaussians: Any, *args: Any, **given: Any) -> Tensor:
    scene = type(gaussians)(**{name: value[:, order] for name, value in vars(gaussians).items()})
    for name in ("harmonics", "normals"):
        given[name] = given[name][:, order]
    given["sort_depths"] = given["sort_depths"][..., order]
    given["prior_mean"] = given["prior_mean"][order]
    return right_sweep(scene, *args, **given)


BROKEN = {
    "no prior mean": ("alone", without_prior_mean),
    "wide prior": ("alone", wide_prior),
    "one view": ("alone", one_view),
    "all at once": ("alone", all_at_once),
    "default: no prior mean": ("the default", without_prior_mean),
    "default: one view": ("the default", one_view),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    of, broken = BROKEN[name]
    monkeypatch.setattr(cpu_color_sweep, "sweep_colors", broken)
    scores = RIGHT[of].scores()
    assert max(map(abs, scores.values())) > FAR_OFF, scores
