"""Gaussians to the image plane: the local affine approximation of EWA splatting.

Reference: Zwicker et al., "EWA Splatting", IEEE TVCG 2002.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


class Projection(NamedTuple):
    """Gaussians as seen by every camera of every chain.

    Attributes:
        means2d: (x, y) in pixels.
        covariances2d: (xx, xy, yy) in pixels^2, low-pass included.
        determinants2d: of those covariances, pixels^4, without the rounding error of xx yy - xy^2.
        depths: camera z of the centres, scene units.
        colors: towards the camera.
    """

    means2d: Float[Tensor, "2 chain view gaussian"]
    covariances2d: Float[Tensor, "3 chain view gaussian"]
    determinants2d: Float[Tensor, "chain view gaussian"]
    depths: Float[Tensor, "chain view gaussian"]
    colors: Float[Tensor, "3 chain view gaussian"]


FRUSTUM_MARGIN = 0.3
"""Where the affine approximation is taken at most: half fields of view outside the picture."""


def project(gaussians: Gaussians, cameras: Cameras, settings: RenderSettings) -> Projection:
    """Project the Gaussians of every chain into every camera.

    Centres project exactly; covariances through the Jacobian of the projection at the centre,
    with x/z and y/z clamped to a margin around the picture, as gsplat does.
    """
    local = geometry.world_to_camera(gaussians.means, cameras)
    x, y, z = local.unbind(-1)
    # A centre in the camera plane is culled later; a finite stand-in keeps its gradient finite.
    z = torch.where(z < settings.near_plane, torch.full_like(z, settings.near_plane), z)
    fx, fy, cx, cy = (
        cameras.intrinsics[:, row, column][:, None]
        for row, column in ((0, 0), (1, 1), (0, 2), (1, 2))
    )
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy])

    height, width = cameras.image_shape
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * width / fx, FRUSTUM_MARGIN * 0.5 * height / fy
    slope_x = torch.clamp(x / z, min=-cx / fx - margin_x, max=(width - cx) / fx + margin_x)
    slope_y = torch.clamp(y / z, min=-cy / fy - margin_y, max=(height - cy) / fy + margin_y)

    # Rows of J W R S, written out: matrix products of 3x3 blocks are slow and their order of
    # summation is not ours to fix.
    axis_x, axis_y, axis_z = rearrange(cameras.extrinsics[:, :3, :3], "view i j -> j i 1 view 1")
    root = geometry.covariance_roots(gaussians.scales, gaussians.rotations)
    root = rearrange(root, "chain gaussian i j -> i j chain 1 gaussian")
    row_x = _row_times_matrix((fx / z) * (axis_x - slope_x * axis_z), root)
    row_y = _row_times_matrix((fy / z) * (axis_y - slope_y * axis_z), root)
    xx, xy, yy = _dot(row_x, row_x), _dot(row_x, row_y), _dot(row_y, row_y)
    # Lagrange's identity: xx yy - xy^2 is the squared cross product. It stays exact for needles.
    cross = torch.linalg.cross(row_x, row_y, dim=0)
    blur = settings.low_pass
    return Projection(
        means2d=means2d,
        covariances2d=torch.stack([xx + blur, xy, yy + blur]),
        determinants2d=_dot(cross, cross) + blur * (xx + yy) + blur**2,
        depths=local[..., 2],
        colors=_colors(gaussians, cameras, settings.least_color),
    )


def _row_times_matrix(row: Tensor, matrix: Tensor) -> Tensor:
    return geometry.sum_terms(row[:, None] * matrix, axis=0)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return geometry.sum_terms(left * right, axis=0)


def _colors(gaussians: Gaussians, cameras: Cameras, least: float) -> Tensor:
    if gaussians.harmonics.shape[-1] == 1:  # plain colours look the same from everywhere
        plain = harmonics.plain_colors(gaussians.harmonics, least)
        plain = plain[..., None, :, :].expand(*plain.shape[:-2], len(cameras), *plain.shape[-2:])
        return torch.movedim(plain, -1, 0)
    centres = cameras.extrinsics[:, None, :3, 3]
    towards = torch.nn.functional.normalize(gaussians.means[..., None, :, :] - centres, dim=-1)
    return torch.movedim(
        harmonics.to_colors(gaussians.harmonics[..., None, :, :, :], towards, least), -1, 0
    )
