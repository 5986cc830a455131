"""Gradients that can be written down; scenes are tested in test_cpu.py."""

import torch

from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.types import Cameras, Gaussians


def row_of_layers(opacities: torch.Tensor) -> tuple[Gaussians, Cameras]:
    """Very wide Gaussians one behind another: the falloff over the only pixel is one."""
    size = len(opacities)
    cameras = Cameras(
        extrinsics=torch.eye(4)[None],
        intrinsics=torch.tensor([[[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]]]),
        near=torch.ones(1),
        far=torch.ones(1),
        image_shape=(1, 1),
    )
    means = torch.zeros(1, size, 3)
    means[..., 2] = 1.0 + torch.arange(size)
    gaussians = Gaussians(
        means=means,
        scales=torch.full((1, size, 3), 1000.0),
        rotations=torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(1, size, 4),
        opacities=opacities[None],
        harmonics=torch.zeros(1, size, 3, 1),
    )
    return gaussians, cameras


def test_alpha_of_layers():
    """A = 1 - prod (1 - o), so dA/do_i is the product over all the others."""
    opacities = torch.tensor([0.9, 0.5, 0.99, 0.3, 0.7]).requires_grad_()
    gaussians, cameras = row_of_layers(opacities)
    alpha = CPURenderer().render(gaussians, cameras).alphas.sum()
    (gradient,) = torch.autograd.grad(alpha, opacities)
    rest = 1.0 - opacities.detach().double()
    assert torch.allclose(gradient.double(), rest.prod() / rest, rtol=2e-5, atol=1e-9)


def test_hundreds_of_opaque_layers_keep_the_gradient_of_the_first():
    """The light that is left would underflow if nothing stopped it."""
    opacities = torch.full((400,), 0.95).requires_grad_()
    gaussians, cameras = row_of_layers(opacities)
    depth = CPURenderer().render(gaussians, cameras).depths.sum()
    (gradient,) = torch.autograd.grad(depth, opacities)
    # Depths are 1, 2, 3, ...: geometric weights with a mean of 1 / 0.95.
    assert torch.allclose(depth, torch.tensor(1.0 / 0.95), rtol=1e-5)
    behind = 1.0 + 1.0 / 0.95
    assert torch.allclose(gradient[0], torch.tensor(1.0 - behind), rtol=1e-4)
    assert gradient.isfinite().all()
