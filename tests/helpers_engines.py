"""Random clouds of Gaussians, and comparisons of rasterisers that know about cutoffs."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.rendering import reference
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


def cameras_in_a_row(views: int, height: int, width: int) -> Cameras:
    """Cameras side by side, each turned a little, with the principal point off the centre."""
    angles = torch.linspace(-0.1, 0.1, views)
    extrinsics = torch.eye(4).repeat(views, 1, 1)
    extrinsics[:, 0, 0] = extrinsics[:, 2, 2] = torch.cos(angles)
    extrinsics[:, 0, 2], extrinsics[:, 2, 0] = -torch.sin(angles), torch.sin(angles)
    extrinsics[:, 0, 3] = torch.linspace(-0.2, 0.2, views)
    focal = 1.2 * width
    rows = [[focal, 0, 0.52 * width], [0, 1.1 * focal, 0.47 * height], [0, 0, 1]]
    ends = torch.ones(views), torch.full((views,), 4.0)
    return Cameras(extrinsics, torch.tensor(rows).repeat(views, 1, 1), *ends, (height, width))


def cloud(chains: int, size: int, seed: int, d_sh: int = 1, spread: float = 0.06) -> Gaussians:
    """Gaussians of all shapes and opacities around the axis, a few of them outside the picture."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(chains, size, *shape, generator=generator)

    depth = 1.0 + 3.0 * torch.rand(chains, size, 1, generator=generator)
    return Gaussians(
        means=torch.cat([0.3 * normal(2) * depth, depth], dim=-1),
        scales=spread * torch.exp(0.7 * normal(3)),
        rotations=normal(4),
        opacities=0.02 + 0.97 * torch.rand(chains, size, generator=generator),
        harmonics=0.5 * normal(3, d_sh),
    )


def centre_depths(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Camera z in float32: keys with which both precisions sort alike."""
    return geometry.world_to_camera(gaussians.means, cameras)[..., 2]


def doubtful_pixels(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings, keys: Tensor
) -> Tensor:
    """Pixels in which a cutoff is so close that rounding may decide it.

    There the float64 picture changes when the cutoffs move by a little; elsewhere it does not at
    all, since a cutoff is a step.
    """
    plain = reference.render(gaussians, cameras, settings, sort_depths=keys)
    doubtful = torch.zeros_like(plain.alphas, dtype=torch.bool)
    for change in (-1e-4, 1e-4):
        for name in ("threshold", "min_transmittance"):
            moved = replace(settings, **{name: getattr(settings, name) * (1.0 + change)})
            other = reference.render(gaussians, cameras, moved, sort_depths=keys)
            doubtful |= other.alphas != plain.alphas
    return doubtful


def picture_and_gradients(
    renderer: Renderer,
    gaussians: Gaussians,
    cameras: Cameras,
    weights: Rendering,
    **options: Tensor,
) -> tuple[Rendering, dict[str, Tensor]]:
    """A rendering, and the gradients of the weighted sum of its numbers by field."""
    names = [f.name for f in fields(gaussians)]
    leaves = {n: getattr(gaussians, n).detach().clone().requires_grad_() for n in names}
    rendering = renderer.render(Gaussians(**leaves), cameras, **options)
    total = sum((r.double() * w.double()).sum() for r, w in zip(rendering, weights, strict=True))
    assert isinstance(total, Tensor)
    gradients = torch.autograd.grad(total, list(leaves.values()))
    return Rendering(*(r.detach() for r in rendering)), dict(zip(names, gradients, strict=True))


def random_weights(like: Rendering, seed: int) -> Rendering:
    """Normal numbers of the shapes of a rendering."""
    generator = torch.Generator().manual_seed(seed)
    return Rendering(*(torch.randn(r.shape, generator=generator) for r in like))
