import pytest
import torch

from bayes_splat.models.encoder.objective import PixelSplatObjective
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.scenes.examples import Example
from tests import helpers_encoder, helpers_small_encoder


@pytest.fixture(scope="module")
def example() -> Example:
    views = helpers_small_encoder.scene(32, 32)
    return Example("a", views[:2], views[2:])


@pytest.fixture
def encoder():
    return helpers_encoder.encoder().requires_grad_(True)


def test_gradients_reach_the_depth_distribution(example, encoder):
    loss, figures = PixelSplatObjective(make_renderer("cpu"))(
        encoder, example, torch.Generator().manual_seed(0)
    )
    assert figures["psnr"] == pytest.approx(float(-10 * loss.detach().log10()), abs=1e-4)
    loss.backward()
    for part in (encoder.depth_head, encoder.gaussian_head, encoder.epipolar, encoder.backbone):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


def test_depths_are_drawn_with_the_generator(example, encoder):
    objective = PixelSplatObjective(make_renderer("cpu"), weight=2.0)
    one, same, other = (
        float(objective(encoder, example, torch.Generator().manual_seed(seed))[0].detach())
        for seed in (0, 0, 1)
    )
    assert one == same != other
