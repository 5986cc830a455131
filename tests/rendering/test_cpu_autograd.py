"""What PyTorch must be able to do with pictures; their gradients are tested in test_cpu.py."""

from dataclasses import fields, replace

import pytest
import torch

from bayes_splat.rendering import cpu_autograd
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.types import Gaussians
from tests import helpers_engines


def scene():
    return helpers_engines.cloud(2, 40, 0), helpers_engines.cameras_in_a_row(2, 9, 14)


def test_a_picture_changed_in_place_is_noticed():
    gaussians, cameras = scene()
    opacities = gaussians.opacities.requires_grad_()
    picture = CPURenderer().render(replace(gaussians, opacities=opacities), cameras)
    with torch.no_grad():
        picture.alphas.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        picture.colors.sum().backward()


@pytest.mark.parametrize("outputs", [("colors",), ("depths",), ("alphas",), ("depths", "alphas")])
def test_pictures_without_a_gradient_count_as_zero(outputs):
    gaussians, cameras = scene()

    def gradient(weights):
        means = gaussians.means.clone().requires_grad_()
        picture = CPURenderer().render(replace(gaussians, means=means), cameras)._asdict()
        total = sum(w * picture[name].sum() for name, w in weights.items())
        return torch.autograd.grad(total, means)[0]

    alone = gradient(dict.fromkeys(outputs, 1.0))
    others = dict.fromkeys(("colors", "depths", "alphas"), 0.0)
    assert torch.equal(alone, gradient({**others, **dict.fromkeys(outputs, 1.0)}))


def test_numbers_may_lie_in_memory_as_they_like():
    gaussians, cameras = scene()
    strided = Gaussians(
        **{
            f.name: torch.stack([getattr(gaussians, f.name)] * 2, dim=-1)[..., 0]
            for f in fields(Gaussians)
        }
    )
    keys = torch.rand(2, 2, 40, 3, generator=torch.Generator().manual_seed(0))[..., 1]
    plain = CPURenderer().render(gaussians, cameras, sort_depths=keys.contiguous())
    picture = CPURenderer().render(strided, cameras, sort_depths=keys)
    assert all(torch.equal(a, b) for a, b in zip(picture, plain, strict=True))


def test_float32_is_not_copied():
    gaussians, _ = scene()
    assert cpu_autograd.to_single(gaussians) is gaussians
    assert cpu_autograd.to_single(gaussians.to(torch.float64)).means.dtype == torch.float32
