"""Where the ray of a pixel runs in another picture.

A ray is drawn from the point at ``near`` to the point at ``far`` where these project inside the
other picture, else from or to where it enters or leaves the picture. The points of the picture's
frame are *not* limited to [near, far]: so it is in the official code, and the weights know it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_MARGIN = 1e-6  # of "inside the picture", "in front", "along the ray"
_FLOAT_EPSILON = torch.finfo(torch.float32).eps
_PARALLEL = 1.0 - 1e-5  # cosine of the angle, 0.256 degrees, below which rays do not meet
_FAR_AWAY = 1e10


class Segment(NamedTuple):
    """A piece of the other picture.

    Attributes:
        start, end: towards near and far, in [0, 1]; both (0, 0) where there is no overlap.
        overlaps: whether the ray is seen in the other picture at all.
    """

    start: Float[Tensor, "*ray 2"]
    end: Float[Tensor, "*ray 2"]
    overlaps: Bool[Tensor, "*ray"]


class _Point(NamedTuple):
    xy: Tensor
    length: Tensor
    is_valid: Tensor


def project_rays(
    origins: Float[Tensor, "*#ray 3"],
    directions: Float[Tensor, "*#ray 3"],
    near: Float[Tensor, "*#ray"],
    far: Float[Tensor, "*#ray"],
    intrinsics: Float[Tensor, "*#ray 3 3"],
) -> Segment:
    """The segment that each ray covers in a camera.

    Args:
        origins, directions: in the frame of that camera; directions of unit length.
        near, far: lengths along the ray.
        intrinsics: of that camera, normalised and without skew.
    """
    shape = torch.broadcast_shapes(
        origins.shape[:-1], directions.shape[:-1], near.shape, intrinsics.shape[:-2]
    )
    origins, directions = origins.expand(*shape, 3), directions.expand(*shape, 3)
    near, far = near.expand(shape), far.expand(shape)
    intrinsics = intrinsics.expand(*shape, 3, 3)
    frame = [
        _meet_frame(origins, directions, intrinsics, axis, value)
        for axis in (0, 1)
        for value in (0.0, 1.0)
    ]
    first = _choose(_at(origins, directions, near, intrinsics), frame, latest=False)
    last = _choose(_at(origins, directions, far, intrinsics), frame, latest=True)
    overlaps = first.is_valid & last.is_valid
    start, end = (
        torch.where(overlaps[..., None], point.xy, torch.zeros_like(point.xy))
        for point in (first, last)
    )
    return Segment(start, end, overlaps)


def _at(origins: Tensor, directions: Tensor, length: Tensor, intrinsics: Tensor) -> _Point:
    """The point at a length along the ray."""
    point = origins + length[..., None] * directions
    scaled = point / (point[..., 2:] + _FLOAT_EPSILON)
    scaled = scaled.nan_to_num(nan=0.0, posinf=1e8, neginf=-1e8)
    xy = (intrinsics[..., :2, :] * scaled[..., None, :]).sum(-1)
    return _checked(xy, length, point[..., 2])


def _meet_frame(
    origins: Tensor, directions: Tensor, intrinsics: Tensor, axis: int, value: float
) -> _Point:
    """Where the ray meets the line on which one image coordinate has a value."""
    other = 1 - axis
    slope = (value - intrinsics[..., axis, 2]) / intrinsics[..., axis, axis]
    o, p, z = origins[..., axis], origins[..., other], origins[..., 2]
    do, dp, dz = directions[..., axis], directions[..., other], directions[..., 2]
    length = (slope * z - o) / (do - slope * dz)
    ratio = (p * (slope * dz - do) + dp * (o - slope * z)) / (dz * o - do * z)
    along = intrinsics[..., other, 2] + intrinsics[..., other, other] * ratio
    fixed = torch.full_like(along, value)
    xy = torch.stack([fixed, along] if axis == 0 else [along, fixed], dim=-1)
    return _checked(xy, length, z + length * dz)


def _checked(xy: Tensor, length: Tensor, depth: Tensor) -> _Point:
    inside = ((xy >= -_MARGIN) & (xy <= 1.0 + _MARGIN)).all(-1)
    return _Point(xy, length, inside & (depth > -_MARGIN) & (length > -_MARGIN))


def _choose(end: _Point, frame: list[_Point], *, latest: bool) -> _Point:
    """The end itself where it is seen, else the first or last valid point of the frame."""
    worst = -torch.inf if latest else torch.inf
    lengths = torch.stack([point.length.where(point.is_valid, worst) for point in frame])
    best = lengths.argmax(0) if latest else lengths.argmin(0)
    where = best[None, ..., None].expand(1, *best.shape, 2)
    xy = torch.stack([point.xy for point in frame]).gather(0, where)[0]
    found = torch.stack([point.is_valid for point in frame]).any(0)
    return _Point(
        torch.where(end.is_valid[..., None], end.xy, xy), end.length, end.is_valid | found
    )


def meeting_length(
    origins: Float[Tensor, "*#ray 3"],
    directions: Float[Tensor, "*#ray 3"],
    other_origins: Float[Tensor, "*#ray 3"],
    other_directions: Float[Tensor, "*#ray 3"],
) -> Float[Tensor, "*ray"]:
    """Distance from a ray's origin to the point that is nearest to two rays; it has no sign.

    That point minimises the sum of squared distances to both lines: it is the middle between
    their nearest points. Nearly parallel rays meet at a point 1e10 from the world's origin on
    every axis.

    Args:
        origins, directions: of the ray that is measured along; unit length.
        other_origins, other_directions: of the other ray.
    """
    between = other_origins - origins
    cosine = (directions * other_directions).sum(-1)
    along, other_along = (directions * between).sum(-1), (other_directions * between).sum(-1)
    # 1 - cos^2, which is small where rays are nearly parallel, without the loss of a difference.
    both = torch.broadcast_tensors(directions, other_directions)
    squared_sine = torch.linalg.cross(*both).square().sum(-1)
    length = (along - cosine * other_along) / squared_sine
    other_length = (cosine * along - other_along) / squared_sine
    middle = 0.5 * (
        length[..., None] * directions + between + other_length[..., None] * other_directions
    )
    far_away = (_FAR_AWAY - origins).expand_as(middle)
    point = torch.where((cosine > _PARALLEL)[..., None], far_away, middle)
    distance: Tensor = point.norm(dim=-1)
    return distance
