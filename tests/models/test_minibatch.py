import pytest
import torch

from bayes_splat.models.minibatch import TileBatches
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes

SHAPES = [(3, 4), (8, 8), (9, 13), (1, 30), (17, 5)]


@pytest.mark.parametrize("image_shape", SHAPES)
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.9])
def test_every_pixel_is_equally_likely(image_shape, fraction):
    """Counted over every start: exactly equal, also where tiles do not fill the picture."""
    total = 2 * image_shape[0] * image_shape[1]
    pixels = scenes.every_batch(TileBatches(2, image_shape, fraction), total)["pixels"]
    counts = torch.bincount(pixels.flatten(), minlength=total)
    assert (counts == pixels.shape[1]).all()
    for row in pixels:
        assert row.unique().numel() == row.numel(), "no pixel twice in a batch"


@pytest.mark.parametrize("image_shape", SHAPES)
@pytest.mark.parametrize("fraction", [0.3, 0.5])
def test_batches_have_about_the_size_asked_for(image_shape, fraction):
    total = 3 * image_shape[0] * image_shape[1]
    size = TileBatches(3, image_shape, fraction).draw(make_generators(0, 2))["pixels"].shape[1]
    assert size == pytest.approx(fraction * total, rel=0.2, abs=2)


@pytest.mark.parametrize("image_shape", SHAPES)
def test_fraction_one_is_everything(image_shape):
    total = 2 * image_shape[0] * image_shape[1]
    pixels = TileBatches(2, image_shape, 1.0).draw(make_generators(0, 3))["pixels"]
    assert torch.equal(pixels.sort(dim=1).values, torch.arange(total).expand(3, -1))


def test_one_pixel_at_least():
    assert TileBatches(2, (3, 4), 1e-6).draw(make_generators(0, 1))["pixels"].shape == (1, 1)


def test_batches_are_runs_of_tiles():
    """Most of a batch lies in few tiles, so that few Gaussians touch it."""
    batch = TileBatches(2, (32, 32), 0.125).draw(make_generators(1, 20))["pixels"]
    view, rest = batch // 1024, batch % 1024
    tile = view * 16 + rest // 32 // 8 * 4 + rest % 32 // 8
    touched = torch.tensor([len(row.unique()) for row in tile])
    assert batch.shape[1] == 256
    assert touched.max() <= 8, "256 pixels are four tiles; every run may begin in the middle of one"


def test_chains_draw_for_themselves():
    batches = TileBatches(2, (16, 16), 0.25)
    together = batches.draw(make_generators(5, 3))["pixels"]
    assert torch.equal(batches.draw(make_generators(5, 3)[2:])["pixels"][0], together[2])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_fractions_that_make_no_sense_are_refused(fraction):
    with pytest.raises(ValueError, match=f"fraction is {fraction}"):
        TileBatches(2, (8, 8), fraction)
