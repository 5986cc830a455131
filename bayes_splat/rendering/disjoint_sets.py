"""Opacity statistics from any renderer: pictures of sets of Gaussians that share no pixel.

A picture is affine in each opacity (the page of the posterior, section 2), so two pictures that
differ in the opacities of a set give, in every pixel, the derivative in the one opacity of the set
that touches it. The cost is a render a set, and a pixel needs as many sets as Gaussians touch it:
where pairs can be listed, :mod:`pair_statistics` has the same sums in one pass.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.rendering import pair_statistics, reference
from bayes_splat.rendering.pair_statistics import OpacityStatistics
from bayes_splat.rendering.reference import Footprints
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians

STEP = 0.5
"""By how much an opacity is changed with the falloff cutoff, up or down: rounding is then least."""


class Touches(NamedTuple):
    """Which Gaussian touches which pixel, flat over (chain, gaussian) and over all pixels."""

    gaussian: Int[Tensor, " pair"]
    pixel: Int[Tensor, " pair"]


def opacity_statistics(
    renderer: Renderer,
    settings: RenderSettings,
    gaussians: Gaussians,
    cameras: Cameras,
    residuals: Float[Tensor, "chain view height width 3"],
    weights: Float[Tensor, "chain view height width"],
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
) -> OpacityStatistics:
    """Weighted sums over all pixels of all views, for every Gaussian.

    The slope is a single vector-Jacobian product, exact with either cutoff. Curvature and means are
    exact with the falloff cutoff, for opacities below the clamp. With the alpha cutoff a set is
    compared with its absence, which is exact in every pixel that does not stop early; one that does
    shows, without the Gaussian, a little of what lies beyond its stop.

    Args:
        renderer: differentiable in the opacities.
        settings: those of the renderer.
        residuals: what is to be explained, photograph minus rendering for a likelihood.
        weights: of the pixels; one over the noise variance for a likelihood.

    Raises:
        ValueError: a Gaussian is not finite (names the field and the first bad index), or is too
            large for its dtype.
    """
    opacities = gaussians.opacities.detach()
    with torch.enable_grad():
        leaves = opacities.clone().requires_grad_()
        scene = replace(gaussians, opacities=leaves)
        colors = renderer.render(scene, cameras, sort_depths=sort_depths).colors
        cotangent = (weights[..., None] * residuals).to(colors)
        (slope,) = torch.autograd.grad(colors, leaves, cotangent)
    with torch.no_grad():
        seen = reference.footprints(gaussians, cameras, settings, sort_depths=sort_depths)
        touches = _touches(seen, opacities.shape[1])
        sets = color_sets(touches, opacities.numel(), weights.numel())
        flat = opacities.reshape(-1)
        away = torch.where(flat < STEP, STEP, -STEP)
        steps = away if settings.cutoff == "falloff" else -flat
        squares = torch.zeros_like(touches.pixel, dtype=colors.dtype)
        for number, pairs in enumerate(_pairs_by_set(sets, touches)):
            changed = torch.where(sets == number, flat + steps, flat).reshape(opacities.shape)
            scene = replace(gaussians, opacities=changed)
            picture = renderer.render(scene, cameras, sort_depths=sort_depths).colors
            change = (picture - colors.detach()).reshape(-1, 3).square()
            squares[pairs] = geometry.sum_terms(change, axis=-1)[touches.pixel[pairs]]
        step = steps[touches.gaussian]
        squares = torch.where(step == 0.0, 0.0, squares / (step * step))
        squares = squares * weights.reshape(-1)[touches.pixel]
        curvature, means = pair_statistics.sum_squares(
            seen, squares, flat[touches.gaussian], gaussians, cameras, settings
        )
    return OpacityStatistics(curvature, slope, means)


def _touches(seen: Footprints, size: int) -> Touches:
    views = seen.projection.depths.shape[1]
    chain = torch.div(seen.pairs.splat, max(views * size, 1), rounding_mode="floor")
    return Touches(chain * size + seen.pairs.splat % max(size, 1), seen.pairs.pixel)


def _pairs_by_set(sets: Tensor, touches: Touches) -> tuple[Tensor, ...]:
    """Indices of the pairs of every set."""
    of_pair = sets[touches.gaussian]
    counts = torch.bincount(of_pair, minlength=int(sets.max()) + 1 if sets.numel() else 0)
    pairs: tuple[Tensor, ...] = torch.sort(of_pair, stable=True).indices.split(counts.tolist())
    return pairs


def color_sets(touches: Touches, num_gaussians: int, num_pixels: int) -> Int[Tensor, " gaussian"]:
    """Number of the set of every Gaussian; no two of a set touch the same pixel.

    Sets are maximal in turn: rounds of Luby's algorithm (SIAM J. Comput. 1986) with a fixed
    shuffle as priorities, so that the result is a function of ``touches`` alone.

    Returns:
        0, 1, 2, ...; -1 for Gaussians that touch nothing.
    """
    device = touches.pixel.device
    shuffle = torch.randperm(num_gaussians, generator=torch.Generator().manual_seed(0))
    priority = shuffle.to(device)
    sets = torch.full((num_gaussians,), -1, dtype=torch.int64, device=device)
    waiting = torch.zeros(num_gaussians, dtype=torch.bool, device=device)
    waiting[touches.gaussian] = True
    number = 0
    while bool(waiting.any()):
        candidates = waiting.clone()
        while bool(candidates.any()):
            gaussian, pixel = _of(touches, candidates)
            best = torch.full((num_pixels,), num_gaussians, dtype=torch.int64, device=device)
            best.scatter_reduce_(0, pixel, priority[gaussian], "amin")
            loses = torch.zeros_like(waiting)
            loses[gaussian[best[pixel] < priority[gaussian]]] = True
            wins = candidates & ~loses
            sets[wins] = number
            taken = torch.zeros(num_pixels, dtype=torch.bool, device=device)
            taken[pixel[wins[gaussian]]] = True
            candidates[gaussian[taken[pixel]]] = False  # the winners and their neighbours
            waiting &= ~wins
        number += 1
    return sets


def _of(touches: Touches, chosen: Tensor) -> Touches:
    kept = torch.nonzero(chosen[touches.gaussian]).squeeze(-1)
    return Touches(touches.gaussian[kept], touches.pixel[kept])
