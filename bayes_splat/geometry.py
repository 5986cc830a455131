"""Pure functions on rays, rigid transforms, depths and shapes.

Cameras are OpenCV (x right, y down, z forward), extrinsics camera-to-world, intrinsics in pixels
with pixel centres at +0.5. "Depth" is camera z, so a point on a pixel's ray at depth d is
``origin + d * direction`` with a direction whose camera z is one (it is not of unit length).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat.types import Cameras


def pixel_centres(image_shape: tuple[int, int]) -> Float[Tensor, "pixel 2"]:
    """(x, y) of every pixel's centre in row-major order, pixels, float64."""
    height, width = image_shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def camera_rays(
    cameras: Cameras,
) -> tuple[Float[Tensor, "view pixel 3"], Float[Tensor, "view pixel 3"]]:
    """World-space rays through the pixel centres.

    Returns:
        origins: camera centres, repeated for every pixel.
        directions: scaled to camera z = 1, so that depth along them is camera z.
    """
    xy = pixel_centres(cameras.image_shape).to(cameras.extrinsics)
    focal = torch.stack([cameras.intrinsics[:, 0, 0], cameras.intrinsics[:, 1, 1]], dim=-1)
    centre = cameras.intrinsics[:, :2, 2]
    skew = cameras.intrinsics[:, 0, 1]
    y = (xy[None, :, 1] - centre[:, None, 1]) / focal[:, None, 1]
    x = (xy[None, :, 0] - centre[:, None, 0] - skew[:, None] * y) / focal[:, None, 0]
    local = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    directions = sum_terms(cameras.extrinsics[:, None, :3, :3] * local[..., None, :], axis=-1)
    origins = cameras.extrinsics[:, None, :3, 3].expand_as(directions)
    return origins, directions


def invert_rigid(transform: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of a rotation plus translation, without a general matrix inverse."""
    rotation = transform[..., :3, :3].mT
    translation = -(rotation @ transform[..., :3, 3:])
    top = torch.cat([rotation, translation], dim=-1)
    return torch.cat([top, transform[..., 3:, :]], dim=-2)


def world_to_camera(
    points: Float[Tensor, "*batch point 3"], cameras: Cameras
) -> Float[Tensor, "*batch view point 3"]:
    """Camera coordinates of world points in every camera."""
    rotation = cameras.extrinsics[:, None, :3, :3]
    offset = points[..., None, :, :] - cameras.extrinsics[:, None, :3, 3]
    # R^T offset, written out: the order of summation must not depend on threads.
    return sum_terms(offset[..., :, None] * rotation, axis=-2)


def sum_terms(values: Tensor, axis: int) -> Tensor:
    """Sum over a short axis, term after term."""
    first, *rest = values.unbind(axis)
    for term in rest:
        first = first + term
    return first


def project_points(
    points: Float[Tensor, "*batch point 3"], cameras: Cameras
) -> tuple[Float[Tensor, "*batch view point 2"], Float[Tensor, "*batch view point"]]:
    """Pixel coordinates and camera z of world points in every camera.

    Points with z <= 0 have no meaningful pixel; the caller masks them by the returned depth.
    """
    local = world_to_camera(points, cameras)
    depth = local[..., 2]
    safe = torch.where(depth.abs() < 1e-12, torch.full_like(depth, 1e-12), depth)
    intrinsics = cameras.intrinsics[:, None]
    x, y = local[..., 0] / safe, local[..., 1] / safe
    pixel = torch.stack(
        [
            intrinsics[..., 0, 0] * x + intrinsics[..., 0, 1] * y + intrinsics[..., 0, 2],
            intrinsics[..., 1, 1] * y + intrinsics[..., 1, 2],
        ],
        dim=-1,
    )
    return pixel, depth


def relative_disparity_to_depth(
    relative_disparity: Tensor, near: Tensor | float, far: Tensor | float
) -> Tensor:
    """Depth at a relative disparity: 0 is near and 1 is far, linear in 1/depth in between."""
    return 1.0 / ((1.0 - relative_disparity) / near + relative_disparity / far)


def depth_to_relative_disparity(depth: Tensor, near: Tensor | float, far: Tensor | float) -> Tensor:
    """Inverse of :func:`relative_disparity_to_depth`."""
    return (1.0 / near - 1.0 / depth) / (1.0 / near - 1.0 / far)


def rotation_matrices(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions wxyz, which need not be normalised."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return rearrange(torch.stack(rows, dim=-1), "... (i j) -> ... i j", i=3)


def covariance_roots(
    scales: Float[Tensor, "*batch 3"], rotations: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 3 3"]:
    """Matrices M = R diag(scale) with world-space covariance M M^T."""
    return rotation_matrices(rotations) * scales[..., None, :]
