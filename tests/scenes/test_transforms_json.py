"""A scene written by hand is read as meant; broken ones are in integration/test_bad_scenes.py."""

from math import radians, tan

import numpy as np
import pytest
import torch

from bayes_splat.scenes import transforms_json
from tests.helpers_transforms import HEIGHT, LENS, WIDTH, Scene, picture, pose

OPENGL_TO_OPENCV = torch.diag(torch.tensor([1.0, -1, -1, 1]))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


# What is read


def test_images_cameras_and_names(scene):
    views = scene.load()
    assert views.images.shape == (3, 3, HEIGHT, WIDTH)
    assert views.images.dtype == views.cameras.extrinsics.dtype == torch.float32
    assert views.cameras.image_shape == (HEIGHT, WIDTH)
    assert views.names == ("0", "1", "2")
    assert views.depths is None
    assert views.cameras.near.tolist() == [0.5] * 3
    assert views.cameras.far.tolist() == [9.0] * 3
    expected = torch.from_numpy(scene.images[2] / 255).float().permute(2, 0, 1)
    torch.testing.assert_close(views.images[2], expected)
    matrix = torch.tensor([[30.0, 0, 15], [0, 31, 11], [0, 0, 1]])
    torch.testing.assert_close(views.cameras.intrinsics[1], matrix)


def test_poses_become_opencv_camera_to_world(scene):
    extrinsics = scene.load().cameras.extrinsics[1]
    torch.testing.assert_close(extrinsics, torch.from_numpy(pose(0.1)).float() @ OPENGL_TO_OPENCV)
    forward, up = extrinsics[:3, 2], -extrinsics[:3, 1]
    torch.testing.assert_close(forward, torch.tensor([-np.sin(0.1), 0, -np.cos(0.1)]).float())
    torch.testing.assert_close(up, torch.tensor([0.0, 1, 0]))


def test_only_the_frames_asked_are_read_in_their_order(scene):
    (scene.folder / "images/1.png").unlink()
    scene.edit(1, fl_x=0, transform_matrix="broken")
    views = scene.load(frames=[2, 0])
    assert views.names == ("2", "0")
    torch.testing.assert_close(views.cameras.extrinsics[0, :3, 3], torch.tensor([1.0, 2, 3]))


def test_num_frames_opens_no_image(scene):
    scene.load()
    for path in (scene.folder / "images").iterdir():
        path.unlink()
    assert transforms_json.num_frames(scene.folder) == 3


def test_shared_intrinsics_and_frame_overrides(scene):
    for index in range(3):
        scene.edit(index, **dict.fromkeys(LENS))
    scene.table.update(LENS)
    scene.edit(2, fl_x=50.0)
    intrinsics = scene.load().cameras.intrinsics
    assert intrinsics[:, 0, 0].tolist() == [30, 30, 50]
    assert intrinsics[:, 1, 1].tolist() == [31, 31, 31]


def test_defaults_of_intrinsics(scene):
    scene.edit(
        0, fl_x=None, fl_y=None, cx=None, cy=None, w=None, h=None, camera_angle_x=radians(60)
    )
    scene.edit(1, fl_y=None, cx=None)
    intrinsics = scene.load().cameras.intrinsics
    focal = WIDTH / 2 / tan(radians(30))
    expected = torch.tensor([[focal, 0, 16], [0, focal, 12], [0, 0, 1]])
    torch.testing.assert_close(intrinsics[0], expected)
    torch.testing.assert_close(intrinsics[1], torch.tensor([[30.0, 0, 16], [0, 30, 11], [0, 0, 1]]))


def test_whole_floats_are_sizes(scene):
    scene.edit(0, w=float(WIDTH), h=float(HEIGHT))  # as instant-ngp writes them
    assert scene.load([0]).cameras.image_shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("stored", ["a.png", "a.JPG", "a.b.jpeg"])
def test_file_path_without_extension(scene, stored):
    picture(scene.folder / "images" / stored)
    scene.edit(0, file_path="./images/" + stored.rpartition(".")[0])
    assert scene.load([0]).names == (stored.rpartition(".")[0],)


def test_equal_stems_get_distinct_names(scene):
    for index in range(2):
        picture(scene.folder / f"camera{index}/a.png")
        scene.edit(index, file_path=f"camera{index}/a.png")
    assert scene.load([1, 0]).names == ("1_a", "0_a")


@pytest.mark.parametrize("resolution", [16, 20, 64])
def test_resolution_is_the_long_side_and_moves_the_intrinsics(scene, resolution):
    views = scene.load(resolution=resolution)
    assert views.images.shape[-2:] == views.cameras.image_shape == (resolution * 3 // 4, resolution)
    scale = resolution / WIDTH
    expected = torch.tensor([30 * scale, 31 * scale, 15 * scale, 11 * scale])
    lens = views.cameras.intrinsics[0]
    torch.testing.assert_close(lens[[0, 1, 0, 1], [0, 1, 2, 2]], expected)


def test_picture_smaller_than_w_and_h_scales_the_intrinsics(scene):
    """Downsized photographs beside a file made for the originals (their heights get rounded)."""
    scene.edit(0, w=10 * WIDTH, h=10 * HEIGHT + 3, fl_x=300.0, fl_y=310.0, cx=150.0, cy=110.0)
    lens = scene.load([0]).cameras.intrinsics[0]
    ratio = HEIGHT / (10 * HEIGHT + 3)
    expected = torch.tensor([[30, 0, 15], [0, 310 * ratio, 110 * ratio], [0, 0, 1]])
    torch.testing.assert_close(lens, expected)


def test_frames_of_one_aspect_share_a_shape_after_resizing(scene):
    picture(scene.folder / "images/1.png", 2 * WIDTH, 2 * HEIGHT)
    views = scene.load(resolution=16)
    assert views.images.shape == (3, 3, 12, 16)
    torch.testing.assert_close(views.cameras.intrinsics[0], views.cameras.intrinsics[1])


def test_near_and_far_given_win_over_the_file(scene):
    cameras = scene.load(near=0.7).cameras
    assert cameras.near[0] == pytest.approx(0.7)
    assert cameras.far[0] == 9
    del scene.table["near"], scene.table["far"]
    assert scene.load(near=0.25, far=4.0).cameras.far.tolist() == [4.0] * 3


def test_small_errors_of_a_rotation_are_mended(scene):
    matrix = pose(0.4)
    matrix[:3, :3] += np.random.default_rng(0).uniform(-2e-4, 2e-4, (3, 3))
    scene.edit(0, transform_matrix=matrix.tolist())
    rotation = scene.load([0]).cameras.extrinsics[0, :3, :3].double()
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3).double(), atol=1e-6, rtol=0)
    clean = torch.from_numpy(pose(0.4)) @ OPENGL_TO_OPENCV.double()
    torch.testing.assert_close(rotation, clean[:3, :3], atol=4e-4, rtol=0)


def test_depth_maps(scene):
    """Found by stem or by name; not finite or not positive is unknown; other views are all NaN."""
    depth = np.linspace(1, 2, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.float32)
    depth[0, 0], depth[0, 1], depth[0, 2], depth[0, 3] = np.nan, np.inf, 0, -1
    (scene.folder / "depth").mkdir()
    np.save(scene.folder / "depth/1.npy", depth)
    np.save(scene.folder / "other.npy", 2 * depth)
    scene.edit(2, depth_file_path="other.npy")
    depths = scene.load().depths
    assert depths.shape == (3, HEIGHT, WIDTH)
    assert depths.dtype == torch.float32
    assert depths[0].isnan().all()
    assert depths[1].isnan().sum() == 4
    np.testing.assert_array_equal(depths[1, 1:], depth[1:])
    np.testing.assert_array_equal(depths[2, 1:], 2 * depth[1:])
    assert scene.load([0]).depths is None
    small = scene.load([1], resolution=16).depths
    np.testing.assert_array_equal(small[0, 1:], depth[1::2, 1::2][1:])


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_PINHOLE", "OPENCV"])
def test_models_without_distortion_are_pinholes(scene, model):
    scene.table.update(camera_model=model, k1=0.0, p2=0)
    assert len(scene.load()) == 3
