from dataclasses import replace

import pytest
import torch

from bayes_splat import geometry
from bayes_splat.models.small_encoder import sweep as sweeps
from tests import helpers_scenes, helpers_small_encoder


@pytest.mark.parametrize("stride", [1, 2])
def test_points_land_where_projection_says(stride):
    views = helpers_small_encoder.scene()
    cameras = views.cameras
    lens = cameras.intrinsics.clone()
    lens[:, 0, 1] = 0.7  # skew
    cameras = replace(cameras, intrinsics=lens)
    planes = torch.tensor([0.1, 0.5, 0.9])
    found = sweeps.sweep(cameras, 0, 1, planes, stride)
    height, width = 16 // stride, 24 // stride
    assert found.grid.shape == (3, height, width, 3)
    coarse = lens.clone()
    coarse[:, :2] /= stride
    own = replace(cameras, intrinsics=coarse, image_shape=(height, width))
    origins, directions = (r[0] for r in geometry.camera_rays(own))
    depths = geometry.relative_disparity_to_depth(planes, cameras.near[0], cameras.far[0])
    points = origins + depths[:, None, None] * directions
    pixel, z = (t[:, 0] for t in geometry.project_points(points, cameras[1]))
    there = geometry.depth_to_relative_disparity(z, cameras.near[1], cameras.far[1])
    expected = torch.cat([2 * pixel / torch.tensor([24, 16]) - 1, 2 * there[..., None] - 1], -1)
    inside = found.inside.reshape(3, -1)
    grid = found.grid.reshape(3, -1, 3)
    assert inside.any()
    assert grid[inside].numpy() == pytest.approx(expected[inside].clamp(-3, 3).numpy(), abs=2e-4)
    assert torch.equal(inside, (expected[..., :2].abs() <= 1).all(-1) & (z > 0))


def test_points_behind_the_other_camera_are_outside():
    cameras = helpers_scenes.pair_of_cameras((4, 4))
    poses = cameras.extrinsics.clone()
    poses[1, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    found = sweeps.sweep(replace(cameras, extrinsics=poses), 0, 1, torch.tensor([0.0, 1.0]))
    assert not found.inside.any()
    assert found.grid.isfinite().all()
    assert (found.grid[..., 0].abs() > 1).all()


def test_what_is_carried_is_the_other_picture():
    cameras = helpers_scenes.pair_of_cameras((4, 6), baseline=0.0)
    picture = torch.arange(24.0).view(1, 4, 6)
    found = sweeps.sweep(cameras, 0, 1, torch.tensor([0.3]))
    assert sweeps.carried(picture, found)[0, 0].numpy() == pytest.approx(
        picture[0].numpy(), abs=1e-3
    )


def test_the_other_volume_is_read_at_the_same_points():
    """Two cameras in one place: the other's buckets are one's own."""
    cameras = helpers_scenes.pair_of_cameras((4, 6), baseline=0.0)
    volume = torch.rand((8, 4, 6), generator=torch.Generator().manual_seed(0))
    planes = (torch.arange(8) + 0.5) / 8
    found = sweeps.looked_up(volume, sweeps.sweep(cameras, 0, 1, planes))
    assert found.numpy() == pytest.approx(volume.numpy(), abs=1e-4)


def test_who_sees_what():
    cameras = helpers_scenes.pair_of_cameras((4, 6), baseline=0.0)
    assert all(bool(seen.all()) for seen in sweeps.seen_by_others(cameras))
    away = helpers_scenes.pair_of_cameras((4, 6), baseline=100.0)
    assert not any(bool(seen.any()) for seen in sweeps.seen_by_others(away))
