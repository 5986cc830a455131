"""The map between two Gaussians of one surface and the one that stands for both.

Two views each put a Gaussian on a surface that both see, on rays i and j. A merge makes one of
them, on ray i; a split is its inverse, with two auxiliary numbers for the two that are lost. With
r a relative disparity, m that of j's point on ray i's scale, and tau = -log(1 - opacity) (light
behind both is exp(-tau_i - tau_j)):

    merge:  tau = tau_i + tau_j     (1 - o = (1 - o_i)(1 - o_j)),   share = tau_i / tau,
            r = share r_i + (1 - share) m,                          gap = m - r_i;
    split:  tau_i = share tau,  tau_j = (1 - share) tau,
            r_i = r - (1 - share) gap,  m = r + share gap,  r_j from m.

In (r_i, m, tau_i, tau_j) the split has the determinant tau; opacities add none, because
(1 - o_i)(1 - o_j) = 1 - o; and r_j adds d r_j / d m:

    | d(r_i, o_i, r_j, o_j) / d(r, o, gap, share) | = tau |d r_j / d m|.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.proposal import DepthProposal


class Pairs(NamedTuple):
    """Two slots of different views, and how one sees the other.

    Attributes:
        first, second: slots i and j.
        start, slope: a and b of a + b depth_j, camera z of j's point in i's camera.
        near, far: of both rays, [2 ...].
    """

    first: Int[Tensor, "chain pair"]
    second: Int[Tensor, "chain pair"]
    start: Float[Tensor, "chain pair"]
    slope: Float[Tensor, "chain pair"]
    near: Float[Tensor, "2 chain pair"]
    far: Float[Tensor, "2 chain pair"]


class Two(NamedTuple):
    """Relative disparities and opacities of a pair's two Gaussians."""

    relative_i: Float[Tensor, "chain pair"]
    opacity_i: Float[Tensor, "chain pair"]
    relative_j: Float[Tensor, "chain pair"]
    opacity_j: Float[Tensor, "chain pair"]


class One(NamedTuple):
    """The Gaussian that stands for both, and what a split needs beside it.

    Attributes:
        relative, opacity: on ray i.
        gap: relative disparity of j minus that of i, on the scale of i.
        share: i's part of tau, in (0, 1).
    """

    relative: Float[Tensor, "chain pair"]
    opacity: Float[Tensor, "chain pair"]
    gap: Float[Tensor, "chain pair"]
    share: Float[Tensor, "chain pair"]


def make_pairs(
    proposal: DepthProposal,
    first: Int[Tensor, "chain pair"],
    second: Int[Tensor, "chain pair"],
) -> Pairs:
    """What the map needs of the rays; Gaussians are numbered (view, row, column)."""
    height, width = proposal.cameras.image_shape
    start, slope = proposal.camera_lines
    view = torch.div(first, height * width, rounding_mode="floor")
    both = torch.stack([first, second])
    return Pairs(
        first, second, start[view, second], slope[view, second], proposal.near[both],
        proposal.far[both],
    )  # fmt: skip


def merge(pairs: Pairs, two: Two) -> One:
    """One Gaussian and the auxiliary numbers; NaN where j's point lies behind i's camera."""
    tau_i, tau_j = (-torch.log1p(-o) for o in (two.opacity_i, two.opacity_j))
    tau = tau_i + tau_j
    share = tau_i / tau
    gap = _as_seen(pairs, two.relative_j) - two.relative_i
    return One(two.relative_i + (1.0 - share) * gap, -torch.expm1(-tau), gap, share)


def split(pairs: Pairs, one: One) -> Two:
    """The inverse of :func:`merge`; NaN where no point of ray j has that place."""
    tau = -torch.log1p(-one.opacity)
    relative_i = one.relative - (1.0 - one.share) * one.gap
    relative_j = _on_own_ray(pairs, one.relative + one.share * one.gap)
    return Two(
        relative_i,
        -torch.expm1(-one.share * tau),
        relative_j,
        -torch.expm1(-(1.0 - one.share) * tau),
    )


def split_log_det(pairs: Pairs, one: One, two: Two) -> Float[Tensor, "chain pair"]:
    """Log |d(r_i, o_i, r_j, o_j) / d(r, o, gap, share)| of :func:`split`.

    d r_j / d m: the relative disparity on a ray has the slope 1 / (depth^2 (1/near - 1/far)), and
    camera z in i's camera grows with j's depth by ``slope``.
    """
    tau = -torch.log1p(-one.opacity)
    depth = geometry.relative_disparity_to_depth(two.relative_j, pairs.near[1], pairs.far[1])
    seen = pairs.start + pairs.slope * depth
    own_range, other_range = 1.0 / pairs.near - 1.0 / pairs.far
    return torch.log(tau * seen**2 * own_range / (depth**2 * other_range * pairs.slope))


def is_possible(pairs: Pairs, one: One, two: Two, max_opacity: float) -> Bool[Tensor, "chain pair"]:
    """Whether all Gaussians of both ends of a move lie in their supports, and the map is monotonic.

    Both ends are looked at in the same way, so that no move lacks its reverse.
    """
    found = pairs.slope > 0.0
    for relative in (one.relative, two.relative_i, two.relative_j):
        found = found & (relative > 0.0) & (relative < 1.0)
    for opacity in (one.opacity, two.opacity_i, two.opacity_j):
        found = found & (opacity > 0.0) & (opacity < max_opacity)
    return found


def first_of_its_slots(
    slots: Int[Tensor, "chain pair 2"], is_real: Bool[Tensor, "chain pair"], num_slots: int
) -> Bool[Tensor, "chain pair"]:
    """Pairs that no earlier one shares a slot with."""
    chains, size = is_real.shape
    number = torch.where(is_real, torch.arange(size), size)
    earliest = torch.full((chains, num_slots), size)
    both = number[..., None].expand(slots.shape).flatten(1)
    earliest = earliest.scatter_reduce(1, slots.flatten(1), both, "amin")
    mine = earliest.gather(1, slots.flatten(1)).view(slots.shape) == number[..., None]
    return is_real & mine.all(-1)


def partners(
    proposal: DepthProposal,
    first: Int[Tensor, "chain pair"],
    view: Int[Tensor, "chain pair"],
    depth: Float[Tensor, "chain pair"],
) -> tuple[Int[Tensor, "chain pair"], Bool[Tensor, "chain pair"]]:
    """The slot whose pixel a point on a ray falls on in another view, and whether it has one.

    Args:
        proposal: with one Gaussian a pixel.
        first: whose rays.
        view: the other views.
        depth: of the points.
    """
    cameras = proposal.cameras
    height, width = cameras.image_shape
    points = (
        proposal.origins[first]
        + depth[..., None].to(proposal.origins) * (proposal.directions[first])
    )
    xy, z = geometry.project_points(points, cameras)
    chosen = view[:, None]
    x, y = (xy[..., k].gather(1, chosen).squeeze(1) for k in range(2))
    is_seen = (z.gather(1, chosen).squeeze(1) > 0.0) & x.isfinite() & y.isfinite()
    is_seen = is_seen & (x >= 0.0) & (x < width) & (y >= 0.0) & (y < height)
    row, column = (torch.where(is_seen, v, torch.zeros_like(v)).long() for v in (y, x))
    return (view * height + row) * width + column, is_seen


def _as_seen(pairs: Pairs, relative_j: Tensor) -> Tensor:
    """Relative disparity of j's point on the scale of ray i."""
    depth = geometry.relative_disparity_to_depth(relative_j, pairs.near[1], pairs.far[1])
    seen = pairs.start + pairs.slope * depth
    seen = torch.where(seen > 0.0, seen, torch.full_like(seen, torch.nan))
    return (1.0 / pairs.near[0] - 1.0 / seen) / (1.0 / pairs.near[0] - 1.0 / pairs.far[0])


def _on_own_ray(pairs: Pairs, seen: Tensor) -> Tensor:
    """The inverse of :func:`_as_seen`."""
    disparity = 1.0 / pairs.near[0] + seen * (1.0 / pairs.far[0] - 1.0 / pairs.near[0])
    depth = (1.0 / disparity - pairs.start) / pairs.slope
    depth = torch.where((disparity > 0.0) & (depth > 0.0), depth, torch.full_like(depth, torch.nan))
    return (1.0 / pairs.near[1] - 1.0 / depth) / (1.0 / pairs.near[1] - 1.0 / pairs.far[1])
