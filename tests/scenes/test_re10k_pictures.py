import numpy as np
import pytest
import torch

from bayes_splat.scenes import re10k_pictures
from tests import helpers_golden as golden

LENS = torch.tensor([[32.0, 0, 32], [0, 32, 18], [0, 0, 1]], dtype=torch.float64)


def test_picture_of_the_right_shape_is_only_told_in_floats():
    image = np.random.default_rng(0).integers(0, 256, (36, 64, 3)).astype(np.uint8)
    picture, lens = re10k_pictures.rescale_and_crop(image, LENS, (36, 64))
    assert torch.equal(picture, torch.from_numpy(image).movedim(-1, 0) / 255)
    assert torch.equal(lens, LENS)


def test_middle_of_a_ramp_stays_where_the_intrinsics_say():
    """Columns of brightness x: what stands at a coordinate is what was there before."""
    ramp = np.linspace(0, 252, 64).round().astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (36, 64, 3)).copy()
    picture, lens = re10k_pictures.rescale_and_crop(image, LENS, (18, 18))
    assert picture.shape == (3, 18, 18)
    x = (torch.arange(18) + 0.5 - lens[0, 2]) / lens[0, 0]  # directions seen by the new columns
    column = x * LENS[0, 0] + LENS[0, 2] - 0.5
    assert (255 * picture[0, 9]).numpy() == pytest.approx((4 * column).numpy(), abs=1.0)
    assert lens[1, 1] == pytest.approx(16)


@golden.needed
def test_pictures_and_focal_lengths_are_the_official_ones():
    known = golden.read("pixelsplat_shims.pt")["rescale_and_crop"]
    shape = tuple(known["shape"])
    size = torch.tensor([80.0, 45.0, 1.0], dtype=torch.float64)
    lenses = golden.read("pixelsplat_shims.pt")["convert_poses"]["intrinsics"].double()
    for i, picture in enumerate(known["images"]):
        image = (255 * picture).round().byte().movedim(0, -1).numpy()
        found, lens = re10k_pictures.rescale_and_crop(image, lenses[i] * size[:, None], shape)
        assert torch.allclose(found, known["out_images"][i], atol=1.01 / 255)
        assert float((found - known["out_images"][i]).abs().mean()) < 0.1 / 255
        focal = lens[[0, 1], [0, 1]] / torch.tensor([shape[1], shape[0]])
        assert torch.allclose(focal.float(), known["out_intrinsics"][i][[0, 1], [0, 1]])
        # The official principal point stays at the middle; ours is off by the odd pixel cut off.
        assert float((lens[[0, 1], [2, 2]] - 16).abs().max()) <= 0.5
