"""Which Gaussian touches which pixel: flat lists of pairs, grouped by pixel, near first.

Nothing here has a gradient. The list is a function of the projected geometry and the sort keys; how
much a pair contributes is computed on the list afterwards. There the cutoff is applied exactly: the
list may hold a few pairs just outside an ellipse, never miss one inside.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Pairs(NamedTuple):
    """Pixel-Gaussian pairs of all chains and views, grouped by pixel, near first inside a pixel.

    Attributes:
        splat: flat index into (chain, view, gaussian).
        pixel: flat index into (chain, view, height, width), ascending.
        position: 0 for a pixel's nearest Gaussian, then 1, 2, ...
        x, y: column and row of the pixel.
    """

    splat: Int[Tensor, " pair"]
    pixel: Int[Tensor, " pair"]
    position: Int[Tensor, " pair"]
    x: Int[Tensor, " pair"]
    y: Int[Tensor, " pair"]


class Extent(NamedTuple):
    """The ellipses inside which Gaussians touch pixels, all flat over (chain, view, gaussian).

    Attributes:
        means2d: centres (x, y), pixels.
        covariances2d: (xx, xy, yy), pixels^2.
        max_exponent: half squared Mahalanobis distance of the rim; negative for an empty ellipse.
        visible: whether the Gaussian is drawn at all.
    """

    means2d: Float[Tensor, "2 splat"]
    covariances2d: Float[Tensor, "3 splat"]
    max_exponent: Float[Tensor, " splat"]
    visible: Bool[Tensor, " splat"]


def list_pairs(
    extent: Extent,
    sort_depths: Float[Tensor, "chain view gaussian"],
    image_shape: tuple[int, int],
    wanted: Bool[Tensor, " all_pixels"] | None = None,
) -> Pairs:
    """List every pixel centre inside (or within a hair of) every ellipse.

    Args:
        extent: the ellipses.
        sort_depths: order along the ray, ascending, ties by Gaussian index.
        image_shape: (height, width).
        wanted: mask over (chain, view, height, width); pairs of other pixels are left out.
    """
    height, width = image_shape
    num_gaussians = sort_depths.shape[-1]
    # Emitting splats near first lets one stable sort by pixel finish the job.
    order = torch.sort(sort_depths, dim=-1, stable=True).indices
    images = order.shape[0] * order.shape[1]
    first = torch.arange(images, device=order.device)[:, None] * num_gaussians
    splat = (order.reshape(images, num_gaussians) + first).reshape(-1)
    splat = splat[extent.visible[splat]]

    splat, y = _rows(extent, splat, height)
    image = torch.div(splat, max(num_gaussians, 1), rounding_mode="floor")
    left, right = _columns(extent, splat, y, width)
    keep = right >= left
    splat, y, image, left, right = (t[keep] for t in (splat, y, image, left, right))
    which, step = _expand(right - left + 1)
    x = left[which] + step
    splat, y, pixel = splat[which], y[which], ((image * height + y) * width)[which] + x
    if wanted is not None:
        inside = wanted[pixel]
        splat, pixel, x, y = splat[inside], pixel[inside], x[inside], y[inside]
    small = pixel.to(torch.int32) if images * height * width < 2**31 else pixel
    by_pixel = torch.sort(small, stable=True).indices
    splat, pixel, x, y = splat[by_pixel], pixel[by_pixel], x[by_pixel], y[by_pixel]
    return Pairs(splat, pixel, position_in_segment(pixel), x, y)


def position_in_segment(pixel: Int[Tensor, " pair"]) -> Int[Tensor, " pair"]:
    """0, 1, 2, ... inside each run of equal values."""
    number = torch.arange(pixel.numel(), device=pixel.device)
    is_first = torch.ones_like(pixel, dtype=torch.bool)
    is_first[1:] = pixel[1:] != pixel[:-1]
    start = torch.where(is_first, number, torch.zeros_like(number))
    return number - torch.cummax(start, dim=0).values if pixel.numel() else number


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts (2, 1, 3): owners (0, 0, 1, 2, 2, 2) and steps (0, 1, 0, 0, 1, 2)."""
    owner = torch.repeat_interleave(counts)
    start = torch.cumsum(counts, dim=0) - counts
    return owner, torch.arange(owner.numel(), device=counts.device) - start[owner]


def _rows(extent: Extent, splat: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Every (splat, row) that the ellipse's bounding box meets."""
    centre = extent.means2d[1, splat]
    reach = torch.sqrt(2.0 * extent.max_exponent[splat] * extent.covariances2d[2, splat])
    top = torch.ceil(centre - reach - 0.5 - _SLACK).clamp(0, height).long()
    bottom = torch.floor(centre + reach - 0.5 + _SLACK).clamp(-1, height - 1).long()
    which, step = _expand((bottom - top + 1).clamp_min(0))
    return splat[which], top[which] + step


_SLACK = 1e-3
"""Pixels added to closed-form spans, so that rounding never drops a pair that the cutoff keeps."""


def _columns(extent: Extent, splat: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column of the ellipse in a row (last < first where it misses the row)."""
    xx, xy, yy = (c[splat] for c in extent.covariances2d)
    dy = y + 0.5 - extent.means2d[1, splat]
    # Given dy, the ellipse's x interval is centred at xy/yy dy with the conditional variance.
    variance = xx - xy * xy / yy
    left_over = 2.0 * extent.max_exponent[splat] - dy * dy / yy
    reach = torch.sqrt((variance * left_over).clamp_min(0.0)) + _SLACK
    centre = extent.means2d[0, splat] + xy / yy * dy
    left = torch.ceil(centre - reach - 0.5).clamp(0, width).long()
    right = torch.floor(centre + reach - 0.5).clamp(-1, width - 1).long()
    return left, right
