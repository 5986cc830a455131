"""The scenes that rasterisers are timed on: S1 to S3 and their like of other sizes."""

from collections.abc import Callable

import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.types import Cameras, Gaussians

Scene = tuple[Gaussians, Cameras]


def cameras(views: int, height: int, width: int) -> Cameras:
    """Side by side, looking ahead."""
    extrinsics = torch.eye(4).repeat(views, 1, 1)
    extrinsics[:, 0, 3] = 0.15 * torch.arange(views)
    rows = [[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]]
    ends = torch.ones(views), torch.full((views,), 4.0)
    return Cameras(extrinsics, torch.tensor(rows).repeat(views, 1, 1), *ends, (height, width))


def pixel_aligned(chains: int, height: int, width: int, views: int = 1) -> Scene:
    """One Gaussian a pixel of two context views, standard deviation 0.4 px (0.7 with low-pass)."""
    generator = torch.Generator().manual_seed(0)
    context = cameras(3, height, width)
    origins, directions = (t[::2].reshape(-1, 3) for t in geometry.camera_rays(context))
    size = len(origins)
    depth = 1.0 / (0.25 + 0.75 * torch.rand(chains, size, 1, generator=generator))
    gaussians = Gaussians(
        means=origins + depth * directions,
        scales=(0.4 / (1.2 * width) * depth).expand(-1, -1, 3).contiguous(),
        rotations=torch.tensor([1.0, 0, 0, 0]).repeat(chains, size, 1),
        opacities=0.1 + 0.8 * torch.rand(chains, size, generator=generator),
        harmonics=torch.randn(chains, size, 3, 1, generator=generator),
    )
    return gaussians, context[::2] if views == 2 else context[1:2]


def cloud(chains: int, size: int, height: int, width: int) -> Scene:
    """Gaussians of 1.5 to 6 pixels anywhere in the picture."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(chains, size, *shape, generator=generator)

    depth = 1.0 + 3.0 * rand(1)
    across = (rand(2) - 0.5) * torch.tensor([1.0, height / width]) / 1.2
    pixels = 1.5 * 4.0 ** rand(3)
    gaussians = Gaussians(
        means=torch.cat([across * depth, depth], dim=-1),
        scales=pixels * depth / (1.2 * width),
        rotations=torch.randn(chains, size, 4, generator=generator),
        opacities=0.05 + 0.9 * rand(),
        harmonics=torch.randn(chains, size, 3, 1, generator=generator),
    )
    return gaussians, cameras(1, height, width)


SCENES: dict[str, Callable[[], Scene]] = {
    "S1": lambda: pixel_aligned(1, 64, 64),
    "S2": lambda: pixel_aligned(1, 256, 256),
    "S3": lambda: cloud(1, 100_000, 512, 512),
}
