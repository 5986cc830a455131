"""Every block, and all of them together, on little splat scenes with the real renderer.

Sites come from the prior and photographs from the likelihood, so the sites are an exact draw of the
posterior. A right kernel keeps it one (Geweke 2004; Gandy & Scott 2020); each broken one must be
caught by the same check, on the same scene, with the same number of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bayes_splat import inference
from bayes_splat.models import blocks, depth_moves, opacity_gibbs, site_sweep, smoothness
from bayes_splat.models.bucket_offsets import BucketOffsets, OffsetTarget
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.noise_gibbs import NoiseGibbs
from bayes_splat.models.opacity_gibbs import OpacityGibbs
from bayes_splat.models.patch_moves import PatchMoves
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering import cpu_live_lists
from bayes_splat.sampler_config import GibbsConfig, MALAConfig
from bayes_splat.samplers import langevin, positions
from bayes_splat.samplers.base import Generators, Kernel, Position
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Cameras
from tests import helpers_scenes as scenes

FAR_OFF = 2.0 * scenes.LIMIT  # standard errors that a broken kernel must reach: no near thing

SQUARE: dict[str, Any] = {}
SHARP = {"noise_prior": [4.0, 0.01]}
PER_VIEW = {"noise": "per_view"}
LEANING = {"opacity_prior": [2.0, 0.7], **PER_VIEW}
# A line of pixels and a wide base: few Gaussians meet.
SMALL = {"image_shape": (2, 3)}
LINE = {"image_shape": (1, 16), "baseline": 0.8}
# A coupling of a few units a bucket, on photographs whose contrast hardly cuts it.
SMOOTH = {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0}


class Case(NamedTuple):
    """A kernel on a scene."""

    make: Callable[[SplatModel, PyroTarget], Kernel]
    scene: dict[str, Any]
    steps: int
    chains: int = 400

    def scores(self) -> dict[str, float]:
        model = scenes.tiny_model(**self.scene)
        return scenes.joint_scores(model, self.make, steps=self.steps, chains=self.chains)


def noise(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [NoiseGibbs(model)])


def opacity(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [OpacityGibbs(model, fraction=0.7, stride=2)])


def jumps(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [DepthMoves(model, "proposal", fraction=0.3)])


def walks(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [DepthMoves(model, "walk", fraction=0.3)])


def offsets(model: SplatModel, target: PyroTarget) -> Kernel:
    block = BucketOffsets(target, model.proposal.num_buckets)
    return Gibbs(target, [KernelBlock("depth", MALA(target, step_size=0.4), block, num_steps=4)])


def offsets_between(
    model: SplatModel, target: PyroTarget, kind: type[KernelBlock] = KernelBlock
) -> Kernel:
    block = BucketOffsets(target, model.proposal.num_buckets)
    last = kind("depth", MALA(target, step_size=4.0), block)
    return Gibbs(target, [OpacityGibbs(model, stride=2), NoiseGibbs(model), last])


def mala(model: SplatModel, target: PyroTarget) -> Kernel:
    return inference.make_kernel(model, target, MALAConfig(step_size=0.01))


def sites(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [SiteSweep(model)])


def patches(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [PatchMoves(model, (1, 2, 3), scale=1.0)])


def default(model: SplatModel, target: PyroTarget) -> Kernel:
    return inference.make_kernel(model, target, GibbsConfig(patch_sizes=[1, 2, 3]))


def composed(model: SplatModel, target: PyroTarget) -> Kernel:
    """Single depths, offsets and opacities one after another."""
    return inference.make_kernel(
        model,
        target,
        GibbsConfig(
            sites=False,
            patch_sizes=[],
            step_size=0.4,
            mala_steps=4,
            jump_fraction=0.25,
            opacity_fraction=0.5,
        ),
    )


RIGHT = {
    "noise": Case(noise, SQUARE, 2),
    "noise of every view": Case(noise, PER_VIEW, 2),
    "opacity": Case(opacity, SHARP, 4, 700),
    "opacity, Beta prior": Case(opacity, LEANING, 4),
    "jumps": Case(jumps, LINE, 16, 600),
    "jumps, proposal as prior": Case(jumps, {"prior": "proposal"}, 8),
    "walks": Case(walks, LINE, 16, 600),
    "jumps, smooth prior": Case(jumps, {**SMOOTH, **LINE}, 8),
    "walks, smooth prior": Case(walks, {**SMOOTH, "image_shape": (3, 4)}, 8),
    "walks, order of centres": Case(walks, {"order": "center", **PER_VIEW}, 8),
    "offsets by MALA": Case(offsets, SQUARE, 2),
    "offsets by MALA between other blocks": Case(offsets_between, SMALL, 16, 800),
    "everything by MALA": Case(mala, SHARP, 20),
    "everything by MALA, order of centres": Case(mala, {"order": "center", **LEANING}, 10),
    "everything by MALA, smooth prior": Case(mala, {**SMOOTH, **SMALL}, 10),
    "one after another": Case(composed, LINE, 4),
    "one after another, compiled pictures": Case(composed, {"renderer": "cpu", **LINE}, 4),
    "one after another, other priors": Case(composed, {"prior": "proposal", **LEANING}, 4),
    "sites": Case(sites, {"renderer": "cpu", **LINE}, 4, 600),
    "sites, other priors": Case(sites, {"prior": "proposal", "renderer": "cpu", **LEANING}, 4),
    "sites, smooth prior": Case(sites, {"renderer": "cpu", **SMOOTH, "image_shape": (3, 4)}, 4),
    "sites, order of centres": Case(sites, {"order": "center", "renderer": "cpu", **SHARP}, 4),
    "patches": Case(patches, {"renderer": "cpu"}, 8, 600),
    "patches, proposal as prior": Case(patches, {"prior": "proposal", "renderer": "cpu"}, 8),
    "the default": Case(default, {"renderer": "cpu", **LINE}, 4),
    "the default, other priors": Case(
        default, {"prior": "proposal", "renderer": "cpu", **LEANING}, 4
    ),
    "one after another, smooth prior": Case(composed, {**SMOOTH, **LINE}, 4),
    "the default, smooth prior": Case(default, {"renderer": "cpu", **SMOOTH, **LINE}, 4),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    scores = RIGHT[name].scores()
    assert max(map(abs, scores.values())) < scenes.LIMIT, scores


# ----- kernels broken in one place each -----


def whole_count(model: SplatModel, target: PyroTarget) -> Kernel:
    """InverseGamma(a + n, ...) where half the count n belongs."""
    a, b = model.noise_concentration
    wrong = replace(model.config, noise_prior=[a + 1.5 * model.num_pixels, b])
    return Gibbs(target, [NoiseGibbs(replace(model, config=wrong))])


class NoPriorFactor(OpacityGibbs):
    """The truncated Normal alone."""

    def _log_prior(self, opacity: Tensor) -> Tensor:
        return torch.zeros_like(opacity)


def opacity_without_prior(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [NoPriorFactor(model, fraction=0.7, stride=2)])


Sweep = opacity_gibbs._Sweep
right_statistics = Sweep.statistics


def blind_statistics(self, members, size):
    """Ignores the photographs: the residual is taken for zero."""
    precision, _ = right_statistics(self, members, size)
    here = torch.zeros(size, dtype=torch.float64)
    here[members.owner] = self.opacity[self.gaussian[members.pair]]
    return precision, precision * here


def doubled_precision(self, members, size):
    """Noise taken for sqrt 2 too small."""
    return tuple(2.0 * value for value in right_statistics(self, members, size))


def put_without_compositing(self, chosen, members, opacity):
    """What lies behind keeps the old transmittance and colour."""
    self.opacity[chosen] = opacity


class NoReverseDensity(DepthMoves):
    """Takes the candidates for symmetric."""

    def _offer(
        self, generators: Generators, depth: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        offered, log_ratio = super()._offer(generators, depth, chosen)
        return offered, torch.zeros_like(log_ratio)


def jumps_without_reverse(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [NoReverseDensity(model, "proposal", fraction=0.3)])


def walks_without_reverse(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [NoReverseDensity(model, "walk", fraction=0.3)])


@dataclass(frozen=True)
class FrozenOrder(scenes.ManyDataModel):
    """Sorts by depths of the past."""

    past: Tensor | None = None

    def sort_depths(self, depth: Tensor, cameras: Cameras) -> Tensor | None:
        past = depth if self.past is None else self.past
        return super().sort_depths(past.repeat_interleave(len(depth) // len(past), 0), cameras)


class OldOrder(DepthMoves):
    """Renders the candidates in the order of the present depths."""

    def _log_likelihood_ratio(self, owner, moving, old, new, opacity, noise):
        model = FrozenOrder(
            **{f.name: getattr(self.model, f.name) for f in fields(self.model)}, past=old
        )
        right = DepthMoves(model, self.candidates, self.fraction)
        return right._log_likelihood_ratio(owner, moving, old, new, opacity, noise)


def jumps_in_old_order(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [OldOrder(model, "proposal", fraction=0.3)])


right_touched = depth_moves._touched_pixels


def old_footprint(model, old, new, opacity, chosen):
    return right_touched(model, old, old, opacity, chosen)


def new_footprint(model, old, new, opacity, chosen):
    return right_touched(model, new, new, opacity, chosen)


def everybody_moves(touched, shape):
    return torch.ones(shape, dtype=torch.bool)


right_step = langevin.step


def loud_step(generators, position, gradient, step_size, preconditioner=None):
    """Noise sqrt 2 times too large; the density does not know."""
    moved = right_step(generators, position, gradient, step_size, preconditioner)
    for site, value in position.items():
        drifted = value - positions.per_chain(step_size, value) * gradient[site]
        moved[site] = drifted + 2.0**0.5 * (moved[site] - drifted)
    return moved


def no_density(candidate, position, gradient, candidate_gradient, step_size, preconditioner=None):
    return torch.zeros_like(step_size)


class StaleBlock(KernelBlock):
    """Keeps energy and gradient of its last state although other blocks have moved since."""

    def step(self, generators: Generators, position: Position, tuning: Any, is_warmup: bool) -> Any:
        kernel = replace(self.kernel, target=self.conditional.given(position))
        state = kernel.init(self.conditional.extract(position)) if tuning is None else tuning
        state, info = kernel.step(generators, state, is_warmup)
        report = blocks.block_info(info.acceptance_rate)
        return self.conditional.insert(state.position, position), state, report


def stale(model: SplatModel, target: PyroTarget) -> Kernel:
    return offsets_between(model, target, StaleBlock)


def no_coupling(field, relative, candidate=None):
    return torch.zeros_like(relative if candidate is not None else relative[..., 0])


right_slope = OffsetTarget._log_slope


def no_slope(self, y, x):
    """Offsets taken for even in their own coordinate."""
    slope, _ = right_slope(self, y, x)
    return torch.zeros_like(slope), torch.zeros_like(slope)


right_places = cpu_live_lists.find_places


def old_keys(gaussians, cameras, settings, sort_depths, threads):
    """Offered places sorted by where the Gaussians are."""
    keys = sort_depths[::2].repeat_interleave(2, 0)
    return right_places(gaussians, cameras, settings, keys, threads)


def even_jumps(proposal, depth):
    """Jumps taken for uniform."""
    return torch.zeros_like(depth)


def even_prior(model, depth):
    """The prior of patches and sites taken for uniform."""
    return torch.zeros_like(depth)


BROKEN: dict[str, Case | tuple[Case, Any, str, Any]] = {
    "noise: whole count": Case(whole_count, SQUARE, 2),
    "opacity: photographs ignored": (RIGHT["opacity"], Sweep, "statistics", blind_statistics),
    "opacity: precision doubled": (RIGHT["opacity"], Sweep, "statistics", doubled_precision),
    "opacity: not recomposited": (RIGHT["opacity"], Sweep, "replace", put_without_compositing),
    "opacity: no prior": Case(opacity_without_prior, LEANING, 4),
    "jumps: no reverse density": Case(jumps_without_reverse, LINE, 8),
    "walks: no reverse density": Case(walks_without_reverse, LINE, 8),
    "jumps: old order": Case(jumps_in_old_order, LINE, 16, 600),
    "jumps: all at once": (RIGHT["jumps"], depth_moves, "_without_shared_pixels", everybody_moves),
    "walks: all at once": (RIGHT["walks"], depth_moves, "_without_shared_pixels", everybody_moves),
    "jumps: old footprint": (RIGHT["jumps"], depth_moves, "_touched_pixels", old_footprint),
    "jumps: new footprint": (RIGHT["jumps"], depth_moves, "_touched_pixels", new_footprint),
    "walks: old footprint": (RIGHT["walks"], depth_moves, "_touched_pixels", old_footprint),
    "offsets: loud": (RIGHT["offsets by MALA"], langevin, "step", loud_step),
    "offsets: no density": (RIGHT["offsets by MALA"], langevin, "log_ratio", no_density),
    "offsets: no Jacobian": (RIGHT["offsets by MALA"], OffsetTarget, "_log_slope", no_slope),
    "offsets: stale": Case(stale, SMALL, 16, 800),
    "everything: loud": (RIGHT["everything by MALA"], langevin, "step", loud_step),
    "everything: no density": (RIGHT["everything by MALA"], langevin, "log_ratio", no_density),
    "jumps: no coupling": (
        RIGHT["jumps, smooth prior"],
        smoothness,
        "local_log_prior_ratio",
        no_coupling,
    ),
    "everything: no coupling": (
        RIGHT["everything by MALA, smooth prior"],
        smoothness,
        "energy",
        no_coupling,
    ),
    "one after another: no coupling of jumps": (
        RIGHT["one after another, smooth prior"],
        smoothness,
        "local_log_prior_ratio",
        no_coupling,
    ),
    "one after another: photographs ignored": (
        RIGHT["one after another"],
        Sweep,
        "statistics",
        blind_statistics,
    ),
    "one after another: all at once": (
        RIGHT["one after another"],
        depth_moves,
        "_without_shared_pixels",
        everybody_moves,
    ),
    "one after another: loud": (RIGHT["one after another"], langevin, "step", loud_step),
    "sites: no reverse density": (RIGHT["sites"], site_sweep, "_log_jump", even_jumps),
    "sites: old keys": (RIGHT["sites"], cpu_live_lists, "find_places", old_keys),
    "sites: no prior": (RIGHT["sites, other priors"], site_sweep, "log_prior", even_prior),
    "patches: old keys": (RIGHT["patches"], cpu_live_lists, "find_places", old_keys),
    "patches: no prior": (
        RIGHT["patches, proposal as prior"],
        site_sweep,
        "log_prior",
        even_prior,
    ),
    "default: old keys": (RIGHT["the default"], cpu_live_lists, "find_places", old_keys),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    broken = BROKEN[name]
    case, *patch = (broken,) if isinstance(broken, Case) else broken
    if patch:
        monkeypatch.setattr(*patch)
    scores = case.scores()
    assert max(map(abs, scores.values())) > FAR_OFF, scores
