"""Cameras and rays as the encoder's weights know them.

Extrinsics are camera-to-world with OpenCV axes. Intrinsics are *normalised*: the first row divided
by the picture's width, the second by its height, so that pictures span [0, 1] in x and y with the
centre of pixel (column, row) at ((column + 0.5) / width, (row + 0.5) / height). Rays have *unit*
directions and "depth" is the length along them.
"""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-10
"""Keeps reciprocals of lengths finite, as the official code does."""


class Context(NamedTuple):
    """What the encoder looks at.

    Attributes:
        images: in [0, 1].
        extrinsics: camera-to-world.
        intrinsics: normalised by the picture's size.
        near, far: ends of the range of ray lengths, scene units.
    """

    images: Float[Tensor, "batch view 3 height width"]
    extrinsics: Float[Tensor, "batch view 4 4"]
    intrinsics: Float[Tensor, "batch view 3 3"]
    near: Float[Tensor, "batch view"]
    far: Float[Tensor, "batch view"]


def cell_centres(
    shape: tuple[int, int], like: Tensor | None = None
) -> Float[Tensor, "rows columns 2"]:
    """(x, y) in [0, 1] of the centres of a grid of cells; of the dtype and device of ``like``."""
    dtype = torch.float32 if like is None else like.dtype
    device = None if like is None else like.device
    rows, columns = shape
    y = (torch.arange(rows, device=device, dtype=dtype) + 0.5) / rows
    x = (torch.arange(columns, device=device, dtype=dtype) + 0.5) / columns
    return torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)


def directions_through(
    xy: Float[Tensor, "*#batch 2"],
    extrinsics: Float[Tensor, "*#batch 4 4"],
    intrinsics: Float[Tensor, "*#batch 3 3"],
) -> Float[Tensor, "*batch 3"]:
    """Unit world directions through image points."""
    homogeneous = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)
    local = einsum(intrinsics.inverse(), homogeneous, "... i j, ... j -> ... i")
    local = local / local.norm(dim=-1, keepdim=True)
    turned: Tensor = einsum(extrinsics[..., :3, :3], local, "... i j, ... j -> ... i")
    return turned


def relative_disparity(
    length: Float[Tensor, "*#ray"], near: Float[Tensor, "*#ray"], far: Float[Tensor, "*#ray"]
) -> Float[Tensor, "*ray"]:
    """0 at near, 1 at far, linear in one over the length."""
    nearest, farthest = 1.0 / (near + EPSILON), 1.0 / (far + EPSILON)
    return 1.0 - (1.0 / (length + EPSILON) - farthest) / (nearest - farthest + EPSILON)


def ray_length(
    relative: Float[Tensor, "*#ray"], near: Float[Tensor, "*#ray"], far: Float[Tensor, "*#ray"]
) -> Float[Tensor, "*ray"]:
    """The inverse of :func:`relative_disparity`."""
    nearest, farthest = 1.0 / (near + EPSILON), 1.0 / (far + EPSILON)
    return 1.0 / ((1.0 - relative) * (nearest - farthest) + farthest + EPSILON)
