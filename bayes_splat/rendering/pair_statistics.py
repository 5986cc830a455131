"""Opacity statistics from the reference's flat pairs, on any device: one pass, either cutoff.

A pixel is affine in each opacity o: C = A + o B with B = G T (c - behind), see the page of the
posterior, section 2.
"""

from dataclasses import fields
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.rendering import reference, segments
from bayes_splat.rendering.reference import Footprints
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class OpacityStatistics(NamedTuple):
    """Of every Gaussian, summed over pixels and channels with weights w; residuals are r.

    Attributes:
        curvature: sum w B^2 with B the derivative of the picture in the opacity: the Gauss-Newton
            diagonal of half the weighted squares, and the precision of the opacity's conditional.
        slope: sum w B r.
        means: Gauss-Newton diagonal in the three coordinates of the mean, through the position of
            the splat alone (not through its shape or colour); None unless asked for.
    """

    curvature: Float[Tensor, "chain gaussian"]
    slope: Float[Tensor, "chain gaussian"]
    means: Float[Tensor, "chain gaussian 3"] | None


@torch.no_grad()
def measure(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    residuals: Float[Tensor, "chain view height width 3"],
    weights: Float[Tensor, "chain view height width"],
    *,
    sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
) -> OpacityStatistics:
    """Weighted sums over all pixels of all views, for every Gaussian; exact.

    Chain after chain, so that memory holds the pairs of one.

    Args:
        residuals: what is to be explained, photograph minus rendering for a likelihood.
        weights: of the pixels; one over the noise variance for a likelihood.

    Raises:
        ValueError: a Gaussian is not finite (names the field and the first bad index), or is too
            large for its dtype.
    """
    reference.require_finite(gaussians)
    chains, size = gaussians.opacities.shape
    if sort_depths is not None:
        sort_depths = sort_depths.expand(chains, len(cameras), size)
    found = [
        _one_chain(
            Gaussians(**{f.name: getattr(gaussians, f.name)[[i]] for f in fields(gaussians)}),
            cameras,
            settings,
            residuals[i],
            weights[i],
            None if sort_depths is None else sort_depths[[i]],
        )
        for i in range(chains)
    ]
    if not found:
        nothing = gaussians.opacities
        return OpacityStatistics(nothing, nothing, gaussians.means)
    return OpacityStatistics(*(torch.cat(sums) for sums in zip(*found, strict=True)))


def _one_chain(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    residuals: Tensor,
    weights: Tensor,
    sort_depths: Tensor | None,
) -> OpacityStatistics:
    seen = reference.footprints(gaussians, cameras, settings, sort_depths=sort_depths)
    splat, pixel = seen.pairs.splat, seen.pairs.pixel
    opacities = gaussians.opacities[:, None].expand_as(seen.projection.depths)
    (opacity,) = segments.gather(opacities.reshape(1, -1), splat)
    slopes = _derivatives(seen, opacity, settings)
    weight = weights.reshape(-1)[pixel]
    squares = weight * geometry.sum_terms(slopes * slopes, axis=0)
    along = weight * geometry.sum_terms(slopes * residuals.reshape(-1, 3).T[:, pixel], axis=0)
    slope = segments.scatter_sum(along[None], splat, opacities.numel()).reshape(opacities.shape)
    curvature, means = sum_squares(seen, squares, opacity, gaussians, cameras, settings)
    return OpacityStatistics(curvature, geometry.sum_terms(slope, axis=1), means)


def sum_squares(
    seen: Footprints,
    squares: Float[Tensor, " pair"],
    opacity: Float[Tensor, " pair"],
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
) -> tuple[Float[Tensor, "chain gaussian"], Float[Tensor, "chain gaussian 3"]]:
    """Curvature and means of :class:`OpacityStatistics` from w B^2 of every pair."""
    pull_x, pull_y = _pulls(seen)
    of_place = squares * opacity * opacity
    rows = [squares, of_place * pull_x**2, of_place * pull_x * pull_y, of_place * pull_y**2]
    shape = seen.projection.depths.shape
    sums = segments.scatter_sum(torch.stack(rows), seen.pairs.splat, shape.numel())
    curvature, xx, xy, yy = sums.reshape(4, *shape).unbind(0)
    return (
        geometry.sum_terms(curvature, axis=1),
        diagonal_of_means(xx, xy, yy, gaussians, cameras, settings),
    )


def _derivatives(
    seen: Footprints, opacity: Tensor, settings: RenderSettings
) -> Float[Tensor, "3 pair"]:
    """The derivative of a pair's pixel in the pair's opacity, by channel."""
    falloff = reference.falloff(seen, settings)
    alpha, through = reference.alphas_and_light(seen, falloff, opacity, settings)
    colors = segments.gather(seen.projection.colors.flatten(1), seen.pairs.splat)
    lit = alpha * through * colors
    behind = segments.later_sum(lit, seen.pairs.position) / (1.0 - alpha)
    is_free = alpha == opacity * falloff  # neither dropped nor clamped
    return torch.where(is_free, falloff, 0.0) * (through * colors - behind)


def _pulls(seen: Footprints) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """The derivative of a pair's log falloff in the (x, y) of its splat, per pixel."""
    projection, (x, y) = seen.projection, seen.pairs.centre
    xx, xy, yy = projection.covariances2d / projection.determinants2d
    table = torch.stack([*projection.means2d, xx, xy, yy]).flatten(1)
    mean_x, mean_y, xx, xy, yy = segments.gather(table, seen.pairs.splat)
    dx, dy = x - mean_x, y - mean_y
    return yy * dx - xy * dy, xx * dy - xy * dx


def diagonal_of_means(
    xx: Float[Tensor, "chain view gaussian"],
    xy: Float[Tensor, "chain view gaussian"],
    yy: Float[Tensor, "chain view gaussian"],
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
) -> Float[Tensor, "chain gaussian 3"]:
    """Gauss-Newton diagonal of means from that of their places in the pictures, pixels^-2.

    Through the Jacobian of the projection of centres.
    """
    local = geometry.world_to_camera(gaussians.means, cameras)
    x, y, z = (t[..., None] for t in local.unbind(-1))
    axis_x, axis_y, axis_z = cameras.extrinsics[:, None, :3, :3].unbind(-1)
    fx, fy = (cameras.intrinsics[:, i, i, None, None] for i in (0, 1))
    z = z.clamp_min(settings.near_plane)
    to_x, to_y = fx / z * (axis_x - x / z * axis_z), fy / z * (axis_y - y / z * axis_z)
    means = to_x * to_x * xx[..., None] + to_y * to_y * yy[..., None]
    return geometry.sum_terms(means + 2.0 * to_x * to_y * xy[..., None], axis=1)
