"""One step of every exact kernel and block on a splat scene, data and all (Gandy & Scott 2020).

Scene and photographs are an exact draw of their joint distribution; after one step they must be
one still: moments of all coordinates and colours, products of every two among them, and the
distribution of each, with a sequential correction. ``test_joint_distribution.py`` makes many steps
and looks at means of whole scenes; here single sites are looked at, and no fault can average out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat import inference
from bayes_splat.models import noise_gibbs
from bayes_splat.models.bucket_offsets import BucketOffsets
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.noise_gibbs import NoiseGibbs
from bayes_splat.models.opacity_gibbs import OpacityGibbs
from bayes_splat.models.patch_moves import PatchMoves
from bayes_splat.models.scanline_moves import ScanlineMoves
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks
from bayes_splat.models.transition_gibbs import TransitionGibbs
from bayes_splat.rendering import cpu_live_lists
from bayes_splat.sampler_config import (
    GibbsConfig,
    MALAConfig,
    RandomWalkConfig,
    Sampler,
    TemperingConfig,
)
from bayes_splat.samplers import langevin
from bayes_splat.samplers.base import Block, Kernel
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes
from tests.helpers_transitions import Start, check_transition

CHAINS = 2500

Make = Callable[[SplatModel, PyroTarget], Kernel]

SCENE: dict[str, Any] = {"image_shape": (1, 2), "num_buckets": 3}
COMPILED = {**SCENE, "renderer": "cpu"}
SMOOTH = {**COMPILED, "prior": "smooth", "smoothness": 4.0, "contrast": 1.0}
LINES = {**SCENE, "image_shape": (1, 3), "prior": "scanline_hmm", "transition_stickiness": 1.0}
LAYERS = {**LINES, "image_shape": (1, 2), "prior": "ihmm", "layer_concentration": 2.0}


def by(make: Callable[[SplatModel], Block]) -> Make:
    """One block alone."""
    return lambda model, target: Gibbs(target, [make(model)])


def sampler(settings: Sampler) -> Make:
    """A sampler of the command line."""
    return lambda model, target: inference.make_kernel(model, target, settings)


def offsets(model: SplatModel, target: PyroTarget) -> Kernel:
    block = BucketOffsets(target, model.proposal.num_buckets)
    return Gibbs(target, [KernelBlock("depth", MALA(target, step_size=0.5), block)])


def tiles(model: SplatModel, target: PyroTarget) -> Kernel:
    parts = TileBlocks(model, ("offset", "opacity"), block_size=8, tile=1)
    moves = BlockMALA(parts.given({}), 0.4, num_moves=1)
    return Gibbs(target, [KernelBlock("blocks", moves, parts)], energy="never")


EXACT: dict[str, tuple[Make, dict[str, Any]]] = {
    "noise": (by(NoiseGibbs), SCENE),
    "opacities": (by(OpacityGibbs), SCENE),
    "depth jumps": (by(lambda model: DepthMoves(model, "proposal", 0.7)), SCENE),
    "depth walks": (by(lambda model: DepthMoves(model, "walk", 0.7)), SCENE),
    "offsets by MALA": (offsets, SCENE),
    "sites": (by(SiteSweep), COMPILED),
    "sites, smooth prior": (by(SiteSweep), SMOOTH),
    "patches": (by(lambda model: PatchMoves(model, (1, 2), scale=1.0)), COMPILED),
    "patches, smooth prior": (by(lambda model: PatchMoves(model, (2,), scale=0.5)), SMOOTH),
    "blocks of MALA": (tiles, {**SCENE, "image_shape": (1, 3)}),
    "stretches": (by(lambda model: ScanlineMoves(model, 2)), LINES),
    "transitions": (by(TransitionGibbs), LINES),
    "layers": (by(TransitionGibbs), LAYERS),
    "MALA": (sampler(MALAConfig(step_size=0.05)), SCENE),
    "random walk and jumps": (sampler(RandomWalkConfig(step_size=0.2)), SCENE),
    "random walk": (sampler(RandomWalkConfig(step_size=0.2, jump_fraction=0.0)), SCENE),
    "the default": (sampler(GibbsConfig(patch_sizes=[1, 2])), COMPILED),
}


def beginning(make: Make, scene: dict[str, Any]) -> Callable[[int, int], Start]:
    """Scenes from the prior, photographs from the scenes."""

    def begin(chains: int, seed: int) -> Start:
        plain = scenes.tiny_model(noise_prior=[6.0, 0.3], **scene)
        sites = scenes.prior_draws(plain, chains, seed)
        model = scenes.with_data(plain, sites, seed + 1)
        target = PyroTarget(model, vectorized=True)
        kernel = make(model, target)
        state = kernel.init(target.unconstrain(sites))
        return Start(kernel, state, model.observed()[0].flatten(1))

    return begin


@pytest.mark.parametrize("name", EXACT)
def test_one_step_keeps_scenes_and_photographs(name):
    check_transition(beginning(*EXACT[name]), chains=CHAINS)


def test_one_step_at_several_powers_keeps_scenes_and_photographs():
    """Exact draws of the posterior at power 1; at the least power, nearly 0, of the prior."""
    settings = TemperingConfig(powers=2, least_power=1e-9, inner_steps=1, step_size=0.05)

    def begin(chains: int, seed: int) -> Start:
        plain = scenes.tiny_model(noise_prior=[6.0, 0.3], **SCENE)
        sites, prior = (scenes.prior_draws(plain, chains, seed + more) for more in (0, 5))
        model = scenes.with_data(plain, sites, seed + 1)
        assert isinstance(model, scenes.ManyDataModel)
        colors = model.observed()[0]
        twice = replace(model, data=colors.repeat_interleave(2, 0))
        target = PyroTarget(twice, vectorized=True)
        kernel = inference.make_kernel(twice, target, settings)
        position, other = target.unconstrain(sites), target.unconstrain(prior)
        rows = {s: torch.stack([v, other[s]], 1) for s, v in position.items()}
        return Start(kernel, kernel.init(position)._replace(rows=rows), colors.flatten(1))

    check_transition(begin, chains=CHAINS)


# ----- the same check sees broken ones -----

right_squares = noise_gibbs.squared_residuals
right_places = cpu_live_lists.find_places


def squares_of_a_brighter_world(*args: Any, **kwargs: Any) -> Tensor:
    return 1.5 * right_squares(*args, **kwargs)


def no_density(candidate, position, gradient, candidate_gradient, step_size, preconditioner=None):
    return torch.zeros_like(step_size)


def old_keys(gaussians, cameras, settings, sort_depths, threads):
    """Offered places sorted by where the Gaussians are."""
    keys = sort_depths[::2].repeat_interleave(2, 0)
    return right_places(gaussians, cameras, settings, keys, threads)


def even_jumps(self, depth):
    """Jumps taken for uniform."""
    return torch.zeros_like(depth)


BROKEN: dict[str, tuple[str, Any, str, Any]] = {
    "noise": ("noise", noise_gibbs, "squared_residuals", squares_of_a_brighter_world),
    "MALA without its densities": ("MALA", langevin, "log_ratio", no_density),
    "sites by old keys": ("sites", cpu_live_lists, "find_places", old_keys),
    "jumps without their density": ("depth jumps", DepthMoves, "_log_jump", even_jumps),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_step_of_a_broken_kernel_is_seen(name, monkeypatch):
    case, *patch = BROKEN[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError, match="a step changes the target"):
        check_transition(beginning(*EXACT[case]), chains=CHAINS)
