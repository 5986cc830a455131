import pytest
import torch

from bayes_splat.models.encoder.architecture import ViTSizes
from bayes_splat.models.encoder.vit import VisionTransformer

SMALL = ViTSizes(dim=8, depth=1, heads=2, d_mlp=12, patch=4, grid=3)


@pytest.fixture
def small() -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(SMALL).requires_grad_(False)
    vit.pos_embed.normal_()
    return vit


def test_positions_of_the_trained_grid_are_used_as_they_are(small):
    assert torch.equal(small.positions(3, 3), small.pos_embed)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (6, 6), (1, 1)])
def test_positions_of_other_grids_lie_between_the_trained_ones(small, shape):
    made = small.positions(*shape)
    assert made.shape == (1, 1 + shape[0] * shape[1], 8)
    assert torch.equal(made[:, 0], small.pos_embed[:, 0]), "the class has no place"
    small.pos_embed[:] = 2.5
    assert small.positions(*shape) == pytest.approx(torch.full_like(made, 2.5), abs=1e-5)


def test_positions_are_moved_by_the_margin(small):
    """A ramp from left to right is sampled every 3 / 6.1 cells instead of every 3 / 6."""
    small.pos_embed[0, 1:] = torch.arange(3.0).repeat(3)[:, None]
    square = small.positions(6, 6)[0, 1:].reshape(6, 6, 8)
    assert square[0] == pytest.approx(square[5], abs=1e-6), "columns do not depend on the row"
    first, last = square[0, 0, 0], square[0, -1, 0]
    assert first + last < 2.0 - 0.005, "without a margin the ends mirror each other"


def test_patches_run_row_by_row(small):
    images = torch.zeros(1, 3, 8, 12)
    changed = images.clone()
    changed[..., 4:, 8:] = 1.0
    small.blocks = torch.nn.ModuleList()
    moved = (small(changed) - small(images)).abs().sum(-1)[0] > 0
    assert moved.tolist() == [False] * 6 + [True]
