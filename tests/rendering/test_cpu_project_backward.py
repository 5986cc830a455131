"""Gradients of views are added up; single ones are tested in test_cpu.py."""

from dataclasses import replace

import torch

from bayes_splat.rendering.cpu import CPURenderer
from tests import helpers_render


def test_gradients_of_views_add_up():
    gaussians = helpers_render.cloud(1, 70, 0)
    cameras = helpers_render.cameras_in_a_row(3, 20, 25)

    def gradient(chosen):
        means = gaussians.means.clone().requires_grad_()
        scene = replace(gaussians, means=means)
        total = CPURenderer().render(scene, cameras[chosen]).colors.sum()
        return torch.autograd.grad(total, means)[0]

    together = gradient([0, 1, 2])
    apart = gradient([0]) + gradient([1]) + gradient([2])
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-4)
