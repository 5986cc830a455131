"""Where every pixel of one view lands in another, for a set of depths."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.types import Cameras

_LEAST_Z = 1e-6  # in the unit in which a ray has z = 1
_AWAY = 3.0  # outside of any picture


class Sweep(NamedTuple):
    """View i's pixels carried on planes of constant depth into view j.

    Attributes:
        grid: where they land, in grid_sample's coordinates (-1 to 1), with the relative disparity
            that they have in view j, -1 at its near and 1 at its far, as third.
        inside: whether they land inside picture j, in front of its camera.
    """

    grid: Float[Tensor, "plane height width 3"]
    inside: Bool[Tensor, "plane height width"]


def sweep(
    cameras: Cameras, here: int, there: int, planes: Float[Tensor, " plane"], stride: int = 1
) -> Sweep:
    """Carry the pixels of one view into another.

    Nothing here depends on the unit of the scene.

    Args:
        cameras: of all views; pixels of a coarser picture stand in the middle of their block.
        here, there: i and j.
        planes: relative disparities in view i.
        stride: side of the blocks of pixels, 1 for all pixels; divides the picture's sides.
    """
    # Differences of places and turns in double precision; from there on no large numbers cancel.
    ours, theirs = cameras[here].to(torch.float64), cameras[there].to(torch.float64)
    origins, directions = (rays[0] for rays in geometry.camera_rays(_coarser(ours, stride)))
    turn = theirs.extrinsics[0, :3, :3]
    offset = ((origins[0] - theirs.extrinsics[0, :3, 3])[:, None] * turn).sum(0)
    rays = (directions[:, :, None] * turn).sum(1)
    near, far = 1.0 / ours.near[0], 1.0 / ours.far[0]
    their_near, their_far = 1.0 / theirs.near[0], 1.0 / theirs.far[0]
    disparities = near + planes.double() * (far - near)
    # A point at disparity s is rays / s + offset; times s, it has the same pixel.
    lens = _to_grid(theirs)
    start, slope = (lens @ rays.T).float(), (lens @ offset).float()
    x, y, z = start[:, None] + slope[:, None, None] * disparities.float()[:, None]
    is_front = z > _LEAST_Z
    inverse = z.clamp_min(_LEAST_Z).reciprocal()
    px, py = x * inverse, y * inverse
    scale = 2.0 / (their_far - their_near)
    relative = (disparities * scale).float()[:, None] * inverse - float(their_near * scale + 1.0)
    inside = is_front & (px.abs() <= 1.0) & (py.abs() <= 1.0)
    px = torch.where(is_front, px, torch.full_like(px, _AWAY))
    grid = torch.stack([px, py, relative], dim=-1).clamp_(-_AWAY, _AWAY)
    height, width = cameras.image_shape
    shape = (len(planes), height // stride, width // stride)
    return Sweep(grid.view(*shape, 3), inside.view(shape))


def seen_by_others(cameras: Cameras, num_planes: int = 32) -> list[Bool[Tensor, "height width"]]:
    """For every view, which pixels fall into another picture at some depth of their range."""
    planes = (torch.arange(num_planes, device=cameras.near.device) + 0.5) / num_planes
    views = range(len(cameras))
    return [
        torch.stack([sweep(cameras, i, j, planes).inside.any(0) for j in views if j != i]).any(0)
        for i in views
    ]


def _to_grid(camera: Cameras) -> Float[Tensor, "3 3"]:
    """Intrinsics of a single camera whose picture spans -1 to 1."""
    height, width = camera.image_shape
    corner = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    return corner.to(camera.intrinsics) @ camera.intrinsics[0]


def _coarser(cameras: Cameras, stride: int) -> Cameras:
    lens = cameras.intrinsics.clone()
    lens[:, :2] /= stride
    height, width = cameras.image_shape
    shape = height // stride, width // stride
    return Cameras(cameras.extrinsics, lens, cameras.near, cameras.far, shape)


def carried(
    values: Float[Tensor, "channel height width"], sweep: Sweep
) -> Float[Tensor, "channel plane height2 width2"]:
    """What view j shows at the places where view i's pixels land (its border outside)."""
    planes, height, width = sweep.inside.shape
    grid = sweep.grid[..., :2].reshape(1, planes * height, width, 2)
    found = F.grid_sample(values[None], grid, padding_mode="border", align_corners=False)
    return found.view(-1, planes, height, width)


def looked_up(
    volume: Float[Tensor, "bucket height width"], sweep: Sweep
) -> Float[Tensor, "plane height2 width2"]:
    """What view j's volume says of the points on view i's planes; 0 outside of it."""
    found: Tensor = F.grid_sample(
        volume[None, None], sweep.grid[None], padding_mode="zeros", align_corners=False
    )
    return found[0, 0]
