"""Random little scenes, and a picture of them composited pixel by pixel in plain Python.

The dense picture shares no code with the package: gsplat projects (its PyTorch version runs on
CPUs), and two loops composite.
"""

from dataclasses import dataclass

import numpy as np
import torch
from gsplat.cuda import _torch_impl as gsplat
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


def random_cameras(
    seed: int, num_views: int = 2, image_shape: tuple[int, int] = (7, 10)
) -> Cameras:
    """Cameras near the origin that look along z, the principal point off centre, float64."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    turns = torch.cat([torch.ones(num_views, 1), uniform(-0.1, 0.1, num_views, 3)], dim=-1)
    extrinsics = torch.eye(4, dtype=torch.float64).repeat(num_views, 1, 1)
    extrinsics[:, :3, :3] = gsplat._quat_to_rotmat(turns)
    extrinsics[:, :3, 3] = uniform(-0.4, 0.4, num_views, 3)
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(num_views, 1, 1)
    intrinsics[:, 0, 0] = width * uniform(0.8, 1.4, num_views)
    intrinsics[:, 1, 1] = width * uniform(0.8, 1.4, num_views)
    intrinsics[:, 0, 2] = width * uniform(0.3, 0.7, num_views)
    intrinsics[:, 1, 2] = height * uniform(0.3, 0.7, num_views)
    ones = torch.ones(num_views, dtype=torch.float64)
    return Cameras(extrinsics, intrinsics, ones, 4 * ones, image_shape)


def random_gaussians(
    seed: int,
    num_gaussians: int,
    num_chains: int = 1,
    *,
    degree: int = 0,
    opacities: tuple[float, float] = (0.05, 0.995),
    spread: float = 1.0,
    nearest: float = 1.0,
) -> Gaussians:
    """Anisotropic and rotated Gaussians in front of ``random_cameras``, float64.

    Args:
        spread: 1 fills the picture; more puts some outside of it.
        nearest: smallest z; negative puts some behind the cameras.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (num_chains, num_gaussians)

    def uniform(low: float, high: float, *trailing: int) -> Tensor:
        values = torch.rand((*shape, *trailing), generator=generator, dtype=torch.float64)
        return low + (high - low) * values

    z = uniform(nearest, 4.0)
    slopes = spread * uniform(-0.5, 0.5, 2)
    return Gaussians(
        means=torch.cat([slopes * z.abs()[..., None], z[..., None]], dim=-1),
        scales=torch.exp(uniform(np.log(0.02), np.log(0.5), 3)),
        rotations=torch.nn.functional.normalize(uniform(-1, 1, 4), dim=-1),
        opacities=uniform(*opacities),
        harmonics=uniform(-1.0, 1.0, 3, (degree + 1) ** 2),
    )


def one_gaussian(scales=(0.5, 0.5, 0.5), opacity=0.9, mean=(0.0, 0.0, 2.0)) -> Gaussians:
    return Gaussians(
        means=torch.tensor([[mean]], dtype=torch.float64),
        scales=torch.tensor([[scales]], dtype=torch.float64),
        rotations=torch.tensor([[[0.9, 0.1, -0.2, 0.4]]], dtype=torch.float64),
        opacities=torch.tensor([[opacity]], dtype=torch.float64),
        harmonics=harmonics.from_colors(torch.tensor([[[0.8, 0.4, 0.1]]], dtype=torch.float64)),
    )


def straight_camera(image_shape=(7, 9), num_views=1) -> Cameras:
    """Looks along z from the origin; its axis meets the middle of the picture."""
    height, width = image_shape
    intrinsics = [[10.0, 0, width / 2], [0, 10.0, height / 2], [0, 0, 1]]
    ones = torch.ones(num_views, dtype=torch.float64)
    return Cameras(
        torch.eye(4, dtype=torch.float64).repeat(num_views, 1, 1),
        torch.tensor(intrinsics, dtype=torch.float64).repeat(num_views, 1, 1),
        ones,
        4 * ones,
        image_shape,
    )


def pixel_aligned_scene(
    num_chains: int,
    image_shape: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    degree: int = 0,
) -> tuple[Gaussians, Cameras]:
    """As the main job has them: a Gaussian a pixel of two views, at random depths."""
    width = image_shape[1]
    cameras = straight_camera(image_shape, 2)
    cameras.extrinsics[1, 0, 3] = 0.3
    cameras.intrinsics[:, [0, 1], [0, 1]] = 1.2 * width
    generator = torch.Generator().manual_seed(0)
    origins, directions = (rays.reshape(-1, 3) for rays in geometry.camera_rays(cameras))
    size = (num_chains, len(origins))
    disparity, opacities = torch.rand((2, *size), generator=generator, dtype=torch.float64)
    depths = geometry.relative_disparity_to_depth(disparity, 1.0, 4.0)[..., None]
    coefficients = torch.randn((*size, 3, (degree + 1) ** 2), generator=generator).double()
    gaussians = Gaussians(
        means=origins + depths * directions,
        scales=(depths * 0.5 / (1.2 * width)).expand(*size, 3),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(*size, 4),
        opacities=0.999 * opacities,
        harmonics=coefficients,
    )
    return gaussians.to(dtype), cameras.to(dtype)


@dataclass(frozen=True)
class Dense:
    """One picture, and how sure it is.

    Attributes:
        margin: least relative distance of any number of the pixel to a threshold that it was
            compared with: where it is tiny, rounding may decide which side a Gaussian falls.
    """

    colors: np.ndarray
    depths: np.ndarray
    alphas: np.ndarray
    margin: np.ndarray


def gsplat_projection(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """means2d [chain view gaussian 2], conics [... 3] (xx, xy, yy) and depths by gsplat."""
    height, width = cameras.image_shape
    covariances, _ = gsplat._quat_scale_to_covar_preci(
        gaussians.rotations, gaussians.scales, compute_preci=False
    )
    chains = len(gaussians.opacities)
    _, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        gaussians.means,
        covariances,
        torch.linalg.inv(cameras.extrinsics).expand(chains, -1, -1, -1),
        cameras.intrinsics.expand(chains, -1, -1, -1),
        width,
        height,
        eps2d=settings.low_pass,
        near_plane=settings.near_plane,
    )
    return means2d, conics, depths


def dense_picture(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    chain: int,
    view: int,
    sort_depths: Tensor | None = None,
) -> Dense:
    """Composite every pixel of one chain and view over the sorted list of all Gaussians."""
    means2d, conics, depths = (
        t[chain, view].numpy() for t in gsplat_projection(gaussians, cameras, settings)
    )
    towards = gaussians.means[chain] - cameras.extrinsics[view, :3, 3]
    degree = round(gaussians.harmonics.shape[-1] ** 0.5) - 1
    seen = gsplat._spherical_harmonics(degree, towards, gaussians.harmonics[chain].mT)
    colors = (seen + 0.5).clamp_min(0).numpy()
    opacities = gaussians.opacities[chain].tolist()
    keys = depths if sort_depths is None else sort_depths[chain, view].numpy()
    order = [
        i
        for i in sorted(range(len(opacities)), key=lambda i: (keys[i], i))
        if depths[i] >= settings.near_plane
    ]

    height, width = cameras.image_shape
    result = Dense(*(np.zeros((height, width, *shape)) for shape in ((3,), (), (), ())))
    for y, x in np.ndindex(height, width):
        (dx, dy), (xx, xy, yy) = (np.array([x, y]) + 0.5 - means2d).T, conics.T
        falloff = np.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
        near_first = [(falloff[i], opacities[i], depths[i], *colors[i]) for i in order]
        pixel = _composite(near_first, settings)
        result.colors[y, x], result.depths[y, x], result.alphas[y, x], result.margin[y, x] = pixel
    return result


def _composite(
    near_first: list[tuple[float, ...]], settings: RenderSettings
) -> tuple[np.ndarray, float, float, float]:
    """Colour, expected depth, alpha, margin of a pixel; rows are falloff, opacity, depth, rgb."""
    through, alpha_sum, depth_sum, margin = 1.0, 0.0, 0.0, np.inf
    color = np.zeros(3)
    for falloff, opacity, depth, *rgb in near_first:
        alpha = min(falloff * opacity, settings.max_alpha)
        compared = falloff if settings.cutoff == "falloff" else alpha
        margin = min(margin, abs(compared / settings.threshold - 1))
        if compared < settings.threshold:
            continue
        behind = through * (1 - alpha)
        if settings.cutoff == "alpha":
            margin = min(margin, abs(behind / settings.min_transmittance - 1))
            if behind <= settings.min_transmittance:
                break
        color += alpha * through * np.array(rgb)
        depth_sum += alpha * through * depth
        alpha_sum += alpha * through
        through = behind
    return color, depth_sum / max(alpha_sum, 1e-10), alpha_sum, margin
