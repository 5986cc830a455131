"""Points along epipolar segments: where they lie, what depth they stand for, what is seen there."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models.encoder import epipolar_lines, rays
from bayes_splat.models.encoder.rays import Context


class EpipolarSamples(NamedTuple):
    """Points in every other view for every ray of every view.

    Attributes:
        xy: in [0, 1] of the other picture; (0, 0) where the ray is not seen there.
        is_seen: whether the ray is seen in the other picture.
        relative_disparity: of the ray's length at each point; 0 near, 1 far.
    """

    xy: Float[Tensor, "batch view other ray sample 2"]
    is_seen: Bool[Tensor, "batch view other ray"]
    relative_disparity: Float[Tensor, "batch view other ray sample"]


def other_views(num_views: int) -> Int[Tensor, "view other"]:
    """For every view the indices of all others, ascending."""
    index = torch.arange(num_views)
    return torch.stack([index[index != view] for view in range(num_views)])


def sample_lines(context: Context, shape: tuple[int, int], num_samples: int) -> EpipolarSamples:
    """Points spread evenly, in the picture, over every ray's segment in every other view.

    Computed in float64: the depth encoding magnifies rounding a thousandfold.

    Args:
        context: cameras and ranges.
        shape: (rows, columns) of the grid of rays.
        num_samples: points a segment.
    """
    extrinsics, intrinsics = context.extrinsics.double(), context.intrinsics.double()
    near, far = context.near.double(), context.far.double()
    others = other_views(extrinsics.shape[1]).to(extrinsics.device)
    there = extrinsics[:, others][:, :, :, None]  # batch view other 1 4 4
    there_intrinsics = intrinsics[:, others][:, :, :, None]
    xy = rearrange(rays.cell_centres(shape, near), "rows columns c -> (rows columns) c")
    origins = extrinsics[:, :, None, :3, 3]
    directions = rays.directions_through(xy, extrinsics[:, :, None], intrinsics[:, :, None])

    def turn(vectors: Tensor) -> Tensor:
        return einsum(there[..., :3, :3], vectors, "... i j, ... i -> ... j")

    segment = epipolar_lines.project_rays(
        turn(origins[:, :, None] - there[..., :3, 3]),
        turn(directions[:, :, None]),
        near[:, :, None, None],
        far[:, :, None, None],
        there_intrinsics,
    )
    fraction = (torch.arange(num_samples).to(near) + 0.5) / num_samples
    points = (
        segment.start[..., None, :]
        + fraction[:, None] * (segment.end - segment.start)[..., None, :]
    )
    length = epipolar_lines.meeting_length(
        origins[:, :, None, :, None],
        directions[:, :, None, :, None],
        there[..., None, :3, 3],
        rays.directions_through(points, there[..., None, :, :], there_intrinsics[..., None, :, :]),
    )
    nearest, farthest = near[:, :, None, None, None], far[:, :, None, None, None]
    length = length.maximum(nearest).minimum(farthest)
    return EpipolarSamples(
        points.to(context.near.dtype),
        segment.overlaps,
        rays.relative_disparity(length, nearest, farthest).to(context.near.dtype),
    )


def look_up(
    features: Float[Tensor, "channel rows columns"],
    xy: Float[Tensor, "ray sample 2"],
    is_seen: Bool[Tensor, " ray"],
) -> Float[Tensor, "ray sample channel"]:
    """Features of one other view at the points of some rays, bilinear; 0 for rays not seen."""
    found = F.grid_sample(features[None], 2.0 * xy[None] - 1.0, align_corners=False)[0]
    return rearrange(found, "c ray sample -> ray sample c") * is_seen[:, None, None]
