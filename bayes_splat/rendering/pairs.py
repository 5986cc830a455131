"""Which Gaussian touches which pixel: flat lists of pairs, grouped by pixel, near first.

Nothing here has a gradient. The list is a function of the projected geometry and the sort keys; how
much a pair contributes is computed on the list afterwards. There the cutoff is applied exactly: the
list may hold a few pairs just outside an ellipse, never miss one inside.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import geometry


class Pairs(NamedTuple):
    """Pixel-Gaussian pairs of all chains and views, grouped by pixel, near first inside a pixel.

    Attributes:
        splat: flat index into (chain, view, gaussian).
        pixel: flat index into (chain, view, height, width), ascending.
        position: 0 for a pixel's nearest Gaussian, then 1, 2, ...
        centre: (x, y) of the pixel's centre, pixels.
    """

    splat: Int[Tensor, " pair"]
    pixel: Int[Tensor, " pair"]
    position: Int[Tensor, " pair"]
    centre: Float[Tensor, "2 pair"]


class Extent(NamedTuple):
    """The ellipses inside which Gaussians touch pixels, all flat over (chain, view, gaussian).

    Attributes:
        means2d: centres (x, y), pixels.
        covariances2d: (xx, xy, yy), pixels^2.
        determinants2d: of the covariances, pixels^4.
        max_exponent: half squared Mahalanobis distance of the rim; negative for an empty ellipse.
        visible: whether the Gaussian is drawn at all.
    """

    means2d: Float[Tensor, "2 splat"]
    covariances2d: Float[Tensor, "3 splat"]
    determinants2d: Float[Tensor, " splat"]
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
    left, right = _columns(extent, splat, y, width)
    image = torch.div(splat, max(num_gaussians, 1), rounding_mode="floor")
    start = (image * height + y) * width + left
    stop = start + (right - left + 1).clamp_min(0)
    if wanted is not None:  # from here on pixels are numbered among the wanted ones
        number = torch.nn.functional.pad(torch.cumsum(wanted, dim=0), (1, 0))
        start, stop = _take(number, start), _take(number, stop)
    run, step = _expand(stop - start)
    splat, pixel = _take(splat, run), _take(start, run) + step
    if wanted is not None:
        pixel = _take(torch.nonzero(wanted).squeeze(-1), pixel)
    small = pixel.to(torch.int32) if images * height * width < 2**31 else pixel
    small, by_pixel = torch.sort(small, stable=True)
    pixel = small.long()
    centres = geometry.pixel_centres(image_shape).to(extent.means2d).T.repeat(1, images)
    return Pairs(
        splat=_take(splat, by_pixel),
        pixel=pixel,
        position=position_in_segment(pixel),
        centre=_take(centres, pixel),
    )


def position_in_segment(pixel: Int[Tensor, " pair"]) -> Int[Tensor, " pair"]:
    """0, 1, 2, ... inside each run of equal values."""
    _, counts = torch.unique_consecutive(pixel, return_counts=True)
    return _expand(counts)[1]


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``values[..., index]``, several times faster on a CPU."""
    return values.index_select(-1, index)


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts (2, 1, 3): owners (0, 0, 1, 2, 2, 2) and steps (0, 1, 0, 0, 1, 2)."""
    owner = torch.repeat_interleave(counts)
    start = torch.cumsum(counts, dim=0) - counts
    return owner, torch.arange(owner.numel(), device=counts.device) - _take(start, owner)


def _rows(extent: Extent, splat: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Every (splat, row) that the ellipse's bounding box meets."""
    centre = _take(extent.means2d[1], splat)
    variance = _take(extent.covariances2d[2], splat)
    reach = torch.sqrt(2.0 * _take(extent.max_exponent, splat) * variance)
    top = torch.ceil(centre - reach - 0.5 - _SLACK).clamp(0, height).long()
    bottom = torch.floor(centre + reach - 0.5 + _SLACK).clamp(-1, height - 1).long()
    which, step = _expand((bottom - top + 1).clamp_min(0))
    return _take(splat, which), _take(top, which) + step


_SLACK = 1e-3
"""Pixels added to closed-form spans, so that rounding never drops a pair that the cutoff keeps."""


def _columns(extent: Extent, splat: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column of the ellipse in a row (last < first where it misses the row)."""
    _, xy, yy = _take(extent.covariances2d, splat)
    mean_x, mean_y = _take(extent.means2d, splat)
    dy = y + 0.5 - mean_y
    # Given dy, the ellipse's x interval is centred at xy/yy dy with the conditional variance.
    variance = _take(extent.determinants2d, splat) / yy
    left_over = 2.0 * _take(extent.max_exponent, splat) - dy * dy / yy
    reach = torch.sqrt((variance * left_over).clamp_min(0.0)) + _SLACK
    centre = mean_x + xy / yy * dy
    left = torch.ceil(centre - reach - 0.5).clamp(0, width).long()
    right = torch.floor(centre + reach - 0.5).clamp(-1, width - 1).long()
    return left, right
