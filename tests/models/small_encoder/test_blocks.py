import pytest
import torch

from bayes_splat.models.small_encoder import blocks


@pytest.mark.parametrize(("block", "axes"), [(blocks.Residual2d, 2), (blocks.Residual3d, 3)])
def test_blocks_begin_as_the_identity_and_learn(block, axes):
    torch.manual_seed(0)
    x = torch.randn(2, 4, *[6] * axes)
    made = block(4)
    assert torch.equal(made(x), x)
    made(x).square().sum().backward()
    assert made.second.weight.grad.abs().max() > 0


def test_pixels_are_repeated_or_mixed():
    x = torch.tensor([[[[0.0, 4.0]]]])
    assert blocks.upsample(x)[0, 0].tolist() == [[0, 0, 4, 4]] * 2
    assert blocks.upsample_smoothly(x)[0, 0].tolist() == [[0, 1, 3, 4]] * 2
