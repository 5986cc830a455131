"""One Gaussian in closed form; scenes are tested in test_cpu.py."""

import torch

from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians


def one_gaussian(opacity: float) -> tuple[Gaussians, Cameras]:
    """Round, of two pixels, over the middle of 40 x 50 pixels at depth 2."""
    cameras = Cameras(
        extrinsics=torch.eye(4)[None],
        intrinsics=torch.tensor([[[100.0, 0, 25], [0, 100.0, 20], [0, 0, 1]]]),
        near=torch.ones(1),
        far=torch.ones(1),
        image_shape=(40, 50),
    )
    gaussians = Gaussians(
        means=torch.tensor([[[0.0, 0.0, 2.0]]]),
        scales=torch.full((1, 1, 3), 0.04),
        rotations=torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]),
        opacities=torch.tensor([[opacity]]),
        harmonics=torch.zeros(1, 1, 3, 1),
    )
    return gaussians, cameras


def falloff() -> torch.Tensor:
    """Variance 4 of the Gaussian plus 0.3 of the low-pass, cut at 1/255."""
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(50) - 24.5, indexing="ij")
    values = torch.exp(-0.5 * (x * x + y * y).double() / 4.3)
    return values * (values >= 1 / 255)


def test_one_gaussian_is_its_falloff():
    picture = CPURenderer().render(*one_gaussian(0.6))
    assert torch.allclose(picture.alphas[0, 0].double(), 0.6 * falloff(), atol=3e-6)
    assert torch.allclose(picture.colors, 0.5 * picture.alphas[..., None], atol=1e-6)
    assert torch.allclose(picture.depths, 2.0 * (picture.alphas > 0), atol=1e-6)


def test_alpha_is_clamped():
    picture = CPURenderer(RenderSettings(max_alpha=0.25)).render(*one_gaussian(0.6))
    expected = (0.6 * falloff()).clamp_max(0.25)
    assert torch.allclose(picture.alphas[0, 0].double(), expected, atol=3e-6)
