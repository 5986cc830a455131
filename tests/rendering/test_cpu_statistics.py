"""One Gaussian whose sums can be written down; scenes are tested in test_cpu.py."""

import pytest
import torch

from bayes_splat.rendering.cpu import CPURenderer
from tests.rendering.test_cpu_raster import falloff, one_gaussian


@pytest.mark.parametrize("opacity", [0.6, 0.0])
def test_one_gaussian_over_black(opacity):
    """The picture is opacity times falloff times the colour 1/2, in three channels."""
    gaussians, cameras = one_gaussian(opacity)
    generator = torch.Generator().manual_seed(0)
    residuals = torch.randn(1, 1, 40, 50, 3, generator=generator)
    weights = torch.rand(1, 1, 40, 50, generator=generator)
    found = CPURenderer().opacity_statistics(gaussians, cameras, residuals, weights)
    slope = 0.5 * falloff()
    curvature = 3.0 * (weights * slope**2).sum()
    along = (weights[..., None] * slope[..., None] * residuals).sum()
    assert found.curvature.item() == pytest.approx(curvature.item(), rel=1e-5)
    assert found.slope.item() == pytest.approx(along.item(), rel=1e-4)
