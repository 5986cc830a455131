"""Gaussians put on their rays, and their place in the depth order, in one pass each; compiled."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.rendering.cpu_compile import kernel
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)

_BLOCK = 4096
"""Gaussians of one work item."""


def place(
    depth: Float[Tensor, "chain gaussian"],
    origins: Float[Tensor, "gaussian 3"],
    directions: Float[Tensor, "gaussian 3"],
    footprints: Float[Tensor, "gaussian 3"],
) -> tuple[Float[Tensor, "chain gaussian 3"], Float[Tensor, "chain gaussian 3"]]:
    """origin + depth direction, and depth footprint; float32, differentiable in the depth."""
    return _Place.apply(depth, origins, directions, footprints)  # type: ignore[no-any-return,no-untyped-call]


def sort_keys(
    depth: Float[Tensor, "chain gaussian"],
    bucket_start: Float[Tensor, " gaussian"],
    bucket_slope: Float[Tensor, " gaussian"],
    near_disparity: Float[Tensor, " gaussian"],
    far_disparity: Float[Tensor, " gaussian"],
    num_buckets: int,
    start: Float[Tensor, "view gaussian"],
    slope: Float[Tensor, "view gaussian"],
) -> Float[Tensor, "chain view gaussian"]:
    """start + slope d with d the depth of the centre of the bucket that a depth lies in; float32.

    Args:
        depth: float64, as all that follows.
        bucket_start, bucket_slope: start - slope / depth is the place in buckets.
        near_disparity, far_disparity: 1/near and 1/far.
        num_buckets: places outside are put into the first or last bucket.
        start, slope: of camera z over depth along the ray.
    """
    result = torch.empty((len(depth), *start.shape))
    tensors = (depth, bucket_start, bucket_slope, near_disparity, far_disparity, start, slope)
    arrays = (t.detach().contiguous().numpy() for t in tensors)
    _run(sort_key_rows, depth, num_buckets, *arrays, result.numpy())
    return result


@kernel
def place_rows(progress, thread, depth, origins, directions, footprints, means, scales):  # type: ignore[no-untyped-def]
    """An item is a block of Gaussians of one chain."""
    size = depth.shape[1]
    blocks = -(-size // _BLOCK)
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, first = item // blocks, item % blocks * _BLOCK
        here = slice(first, first + _BLOCK)
        depths, centre, size3 = depth[chain, here], means[chain, here], scales[chain, here]
        origin, direction, footprint = origins[here], directions[here], footprints[here]
        for i in range(len(depths)):
            d = np.float32(depths[i])
            for axis in range(3):
                centre[i, axis] = origin[i, axis] + d * direction[i, axis]
                size3[i, axis] = d * footprint[i, axis]
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def place_rows_backward(  # type: ignore[no-untyped-def]
    progress, thread, of_means, of_scales, directions, footprints, of_depth
):
    """The transpose of ``place_rows``."""
    size = of_depth.shape[1]
    blocks = -(-size // _BLOCK)
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, first = item // blocks, item % blocks * _BLOCK
        here = slice(first, first + _BLOCK)
        of_centre, of_scale, result = (
            of_means[chain, here],
            of_scales[chain, here],
            of_depth[chain, here],
        )
        direction, footprint = directions[here], footprints[here]
        for i in range(len(result)):
            total = np.float32(0.0)
            for axis in range(3):
                total += of_centre[i, axis] * direction[i, axis]
                total += of_scale[i, axis] * footprint[i, axis]
            result[i] = total
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def sort_key_rows(  # type: ignore[no-untyped-def]
    progress,
    thread,
    num_buckets,
    depth,
    bucket_start,
    bucket_slope,
    near_disparity,
    far_disparity,
    start,
    slope,
    result,
):
    """An item is a block of Gaussians of one chain."""
    size = depth.shape[1]
    blocks = -(-size // _BLOCK)
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, first = item // blocks, item % blocks * _BLOCK
        here = slice(first, first + _BLOCK)
        depths, line_start, line_slope = depth[chain, here], bucket_start[here], bucket_slope[here]
        nearest, farthest = near_disparity[here], far_disparity[here]
        centres = np.empty(len(depths))
        for i in range(len(depths)):
            where = line_start[i] - line_slope[i] * (1.0 / depths[i])
            bucket = np.floor(where) if where > 0.0 else 0.0  # not for NaN
            bucket = bucket if bucket < num_buckets - 1.0 else num_buckets - 1.0
            share = (bucket + 0.5) / num_buckets
            centres[i] = 1.0 / ((1.0 - share) * nearest[i] + share * farthest[i])
        for view in range(len(start)):
            keys, from_, by = result[chain, view, here], start[view, here], slope[view, here]
            for i in range(len(centres)):
                keys[i] = from_[i] + by[i] * centres[i]
        finish_item(progress, 0)
    wait_for_items(progress, 0)


def _run(function: Any, depth: Tensor, *arrays: Any) -> None:
    chains, size = depth.shape
    run_items(function, chains * -(-size // _BLOCK), torch.get_num_threads(), *arrays)


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, depth: Tensor, *rays: Tensor) -> tuple[Tensor, Tensor]:
        arrays = [t.detach().contiguous().numpy() for t in (depth, *rays)]
        means, scales = (torch.empty((*depth.shape, 3)) for _ in range(2))
        _run(place_rows, depth, *arrays, means.numpy(), scales.numpy())
        ctx.rays, ctx.dtype = arrays[2:], depth.dtype
        return means, scales

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        result = torch.empty(gradients[0].shape[:2], dtype=ctx.dtype)
        incoming = (g.contiguous().numpy() for g in gradients)
        _run(place_rows_backward, result, *incoming, *ctx.rays, result.numpy())
        return result, None, None, None
