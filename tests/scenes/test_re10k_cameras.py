import math

import numpy as np
import pytest
import torch

from bayes_splat.errors import SceneError
from bayes_splat.models.encoder import border
from bayes_splat.scenes import re10k_cameras
from bayes_splat.types import Cameras
from tests import helpers_golden as golden
from tests import helpers_re10k


def test_poses_are_camera_to_world():
    cameras = helpers_re10k.entry("aa", 4)["cameras"]
    found = re10k_cameras.poses(cameras, "a")
    expected = np.stack([helpers_re10k.pose(frame) for frame in range(4)])
    assert found.numpy() == pytest.approx(expected, abs=1e-6)


def test_intrinsics_are_pixels():
    cameras = torch.tensor([[0.5, 0.8, 0.45, 0.55, *[0.0] * 14]])
    found = re10k_cameras.intrinsics(cameras, (40, 60))[0]
    expected = torch.tensor([[30.0, 0, 27], [0, 32, 22], [0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(found, expected)


def test_field_of_view_by_hand():
    """A focal length of half the width sees 90 degrees; a principal point off the middle less."""
    cameras = torch.tensor([[0.5, 1.0, 0.5, 0.5, *[0.0] * 14], [0.5, 1.0, 0.0, 0.5, *[0.0] * 14]])
    found = re10k_cameras.fields_of_view(cameras)
    vertical = 2 * math.degrees(math.atan(0.5))
    assert found[0].tolist() == pytest.approx([90, vertical])
    assert found[1, 0] == pytest.approx(math.degrees(math.atan(2)))


def test_broken_pose_is_named():
    cameras = helpers_re10k.entry("aa", 3)["cameras"]
    cameras[1, 6] = math.nan
    with pytest.raises(SceneError, match="chunk 3, camera 1: the pose holds NaN"):
        re10k_cameras.poses(cameras, "chunk 3")


def test_baseline_and_range_scale_together():
    cameras = _cameras()
    near, far = re10k_cameras.depth_range(cameras)
    assert (near, far) == pytest.approx((2 * 30 / (3 * 20), 2 * 30 / 0.5))
    unit = re10k_cameras.with_baseline_one(cameras, 2.0)
    assert unit.extrinsics[1, 0, 3] == 1.0
    assert re10k_cameras.depth_range(unit) == pytest.approx((near / 2, far / 2))


def test_range_is_the_encoders():
    cameras = _cameras()
    size = torch.tensor([[25.0], [20.0], [1.0]], dtype=torch.float64)
    theirs = border.depth_range(
        cameras.extrinsics[None], (cameras.intrinsics / size)[None], cameras.image_shape
    )
    assert re10k_cameras.depth_range(cameras) == pytest.approx([float(end) for end in theirs])


@golden.needed
def test_poses_and_fields_of_view_are_the_official_ones():
    shims = golden.read("pixelsplat_shims.pt")
    known = shims["convert_poses"]
    found = re10k_cameras.poses(known["cameras"], "a")
    assert torch.allclose(found.float(), known["extrinsics"], atol=1e-5)
    lenses = re10k_cameras.intrinsics(known["cameras"], (1, 1))
    assert torch.allclose(lenses.float(), known["intrinsics"])
    degrees = re10k_cameras.fields_of_view(known["cameras"]).deg2rad()
    assert torch.allclose(degrees.float(), shims["get_fov"], atol=1e-4)


def _cameras() -> Cameras:
    extrinsics = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = 2.0
    lens = torch.tensor([[30.0, 0, 12], [0, 30, 10], [0, 0, 1]], dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    return Cameras(extrinsics, lens.repeat(2, 1, 1), one, one, (20, 25))
