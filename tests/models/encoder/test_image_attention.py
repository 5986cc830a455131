from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bayes_splat.models.encoder.architecture import ImageAttentionSizes
from bayes_splat.models.encoder.image_attention import ImageAttention
from bayes_splat.models.encoder.positional_encoding import positional_encoding

SIZES = ImageAttentionSizes(num_octaves=3, num_layers=1, num_heads=2, d_token=6, d_head=4, d_mlp=9)


@pytest.fixture
def attention() -> ImageAttention:
    torch.manual_seed(0)
    return ImageAttention(SIZES, 5).requires_grad_(False)


def test_every_patch_hears_of_every_other_in_its_picture_only(attention):
    x = torch.randn(2, 5, 8, 12)
    changed = x.clone()
    changed[0, :, :4, :4] += 1.0
    moved = (attention(changed) - attention(x)).abs().amax(1) > 1e-7
    assert moved[0].all()
    assert not moved[1].any()


def test_without_layers_patches_are_embedded_placed_and_spread():
    torch.manual_seed(0)
    attention = ImageAttention(replace(SIZES, num_layers=0), 5).requires_grad_(False)
    x = torch.randn(1, 5, 8, 12)
    patches = F.relu(attention.patch_embed(x))
    for row, column in ((0, 0), (1, 2)):
        xy = torch.tensor([(column + 0.5) / 3, (row + 0.5) / 2])
        patches[0, :, row, column] += attention.position(positional_encoding(xy, 3))
    made, expected = attention(x), attention.resampler(patches)
    assert made[..., :4, :4] == pytest.approx(expected[..., :4, :4], abs=1e-5)
    assert made[..., 4:, 8:] == pytest.approx(expected[..., 4:, 8:], abs=1e-5)
