"""A scene written by hand is read as meant; every broken one is answered by one clear sentence."""

import json
from math import pi, radians, tan
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import transforms_json

WIDTH, HEIGHT = 32, 24
LENS = {"w": WIDTH, "h": HEIGHT, "fl_x": 30.0, "fl_y": 31.0, "cx": 15.0, "cy": 11.0}
OPENGL_TO_OPENCV = torch.diag(torch.tensor([1.0, -1, -1, 1]))


def pose(angle=0.3, origin=(1.0, 2.0, 3.0)):
    """A camera turned about y, in OpenGL axes."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array(
        [[c, 0, s, origin[0]], [0, 1, 0, origin[1]], [-s, 0, c, origin[2]], [0, 0, 0, 1.0]]
    )


def picture(path, width=WIDTH, height=HEIGHT, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(values).save(path)
    return values


class Scene:
    """A folder with three frames; tests change ``table`` and then ``load``."""

    def __init__(self, folder):
        self.folder = folder
        self.images = [picture(folder / f"images/{i}.png", seed=i) for i in range(3)]
        self.table: dict[str, Any] = {
            "near": 0.5,
            "far": 9.0,
            "frames": [self.frame(i) for i in range(3)],
        }

    def frame(self, index):
        return {
            "file_path": f"images/{index}.png",
            **LENS,
            "transform_matrix": pose(0.1 * index).tolist(),
        }

    def edit(self, index, **changes):
        """Change entries of a frame; None removes one."""
        frame = self.table["frames"][index]
        frame.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del frame[key]

    def load(self, frames=None, resolution=None, **bounds):
        path = self.folder / transforms_json.FILE_NAME
        path.write_text(json.dumps(self.table))
        return transforms_json.load(self.folder, frames, resolution=resolution, **bounds)

    def refuses(self, *fragments, error=SceneError, **arguments):
        with pytest.raises(error) as caught:
            self.load(**arguments)
        message = str(caught.value)
        for fragment in fragments:
            assert fragment in message
        assert message.endswith(".")
        assert "\n" not in message


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


# What is refused


def test_missing_folder(tmp_path):
    with pytest.raises(SceneError, match=r"nowhere is not a folder; give the folder"):
        transforms_json.load(tmp_path / "nowhere", None, resolution=None)


def test_missing_file(tmp_path):
    with pytest.raises(SceneError, match=r"holds no transforms\.json; give a folder"):
        transforms_json.load(tmp_path, None, resolution=None)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_invalid_json(tmp_path, content):
    (tmp_path / "transforms.json").write_bytes(content)
    with pytest.raises(SceneError, match=r"transforms\.json is not readable JSON .*write the file"):
        transforms_json.num_frames(tmp_path)


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ("[]", "holds a list; it must be a JSON object"),
        ("{}", "has no frames; list the photographs"),
        ('{"frames": []}', "has no frames"),
        ('{"frames": 3}', "has no frames"),
        ('{"frames": [3]}', "frame 0: the entry is 3; it must be"),
    ],
)
def test_json_of_another_kind(tmp_path, content, fragment):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(SceneError, match=fragment):
        transforms_json.load(tmp_path, None, resolution=None, near=1.0, far=2.0)


@pytest.mark.parametrize("index", [-1, 3, 99])
def test_index_out_of_range(scene, index):
    scene.refuses("transforms.json", f"frame {index} does not exist", "0..2", frames=[0, index])


def test_index_twice(scene):
    scene.refuses("frame 1 is asked for twice", "once", frames=[1, 0, 1])


def test_no_index(scene):
    scene.refuses("no frame was asked for", "0..2", frames=[])


def test_same_image_in_two_frames(scene):
    scene.edit(2, file_path="images/0.png")
    scene.refuses("frame 2 (images/0.png)", "same image as", "frame 0", "ask for one")
    assert len(scene.load([1, 2])) == 2


@pytest.mark.parametrize("resolution", [0, 7, -64])
def test_resolution_too_small(scene, resolution):
    scene.refuses(
        f"resolution={resolution}", "at least 8", resolution=resolution, error=ConfigError
    )


def test_image_missing(scene):
    scene.edit(1, file_path="images/gone.png")
    scene.refuses("frame 1 (images/gone.png)", "does not exist", "correct file_path")


def test_image_unreadable(scene):
    (scene.folder / "images/1.png").write_bytes(b"no picture")
    scene.refuses("1.png cannot be read as an image", "save it again")


@pytest.mark.parametrize("key", ["file_path", "transform_matrix"])
def test_frame_without_a_key(scene, key):
    scene.edit(1, **{key: None})
    scene.refuses("frame 1", f"has no {key}", "add it")


@pytest.mark.parametrize("value", [3, ""])
def test_file_path_that_is_no_name(scene, value):
    scene.edit(1, file_path=value)
    scene.refuses("frame 1", f"file_path is {value!r}")


def test_size_that_does_not_match(scene):
    scene.edit(1, w=HEIGHT, h=WIDTH)
    scene.refuses("frame 1", "image is 32x24", "w x h is 24x32", "correct w and h")


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"w": None}, "only one of w and h"),
        ({"w": 0}, "w is 0"),
        ({"w": -3}, "w is -3"),
        ({"h": 24.5}, "h is 24.5"),
        ({"h": "24"}, "h is '24', which is not a number"),
        ({"h": float("nan")}, "h is nan"),
    ],
)
def test_sizes_that_make_no_sense(scene, changes, fragment):
    scene.edit(1, **changes)
    scene.refuses("frame 1 (images/1.png)", fragment)


def test_frames_of_different_size_without_resolution(scene):
    picture(scene.folder / "images/1.png", 2 * WIDTH, 2 * HEIGHT)
    scene.refuses("frame 1", "64x48", "frame 0", "32x24", "give resolution=")


@pytest.mark.parametrize("resolution", [None, 16])
def test_frames_of_different_aspect(scene, resolution):
    picture(scene.folder / "images/1.png", 24, 24)
    scene.edit(1, w=24, h=24)
    fragments = ("frame 1", "24x24", "frame 0", "32x24", "crop the photographs")
    scene.refuses(*fragments, resolution=resolution)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [(0, 0), (1, 3)])
def test_pose_not_finite(scene, value, place):
    matrix = pose()
    matrix[place] = value
    scene.edit(1, transform_matrix=matrix.tolist())
    scene.refuses("frame 1 (images/1.png)", "pose holds NaN or infinity", "leave the frame out")


def test_pose_scaled(scene):
    matrix = pose()
    matrix[:3, :3] *= 1.01
    scene.edit(1, transform_matrix=matrix.tolist())
    scene.refuses("frame 1", "not rigid", "0.0201", "remove scale and shear")


def test_pose_sheared(scene):
    matrix = pose(0)
    matrix[0, 1] = 0.01
    scene.edit(1, transform_matrix=matrix.tolist())
    scene.refuses("frame 1", "not rigid")


def test_pose_mirrored(scene):
    matrix = pose()
    matrix[:3, 0] *= -1
    scene.edit(1, transform_matrix=matrix.tolist())
    scene.refuses("frame 1", "mirrors", "flip one axis")


def test_pose_transposed(scene):
    scene.edit(1, transform_matrix=pose().T.tolist())
    scene.refuses("frame 1", "bottom row of the pose is [1.0, 2.0, 3.0, 1.0]", "transposed")


@pytest.mark.parametrize(
    ("matrix", "fragment"),
    [
        ([[1, 0], [0, 1]], "shape (2, 2)"),
        ([[1, 0], [0]], "not a matrix"),
        ("eye", "not a matrix"),
        ([["a"] * 4] * 4, "not a matrix"),
        ({}, "not a matrix"),
    ],
)
def test_pose_that_is_no_matrix(scene, matrix, fragment):
    scene.edit(1, transform_matrix=matrix)
    scene.refuses("frame 1", fragment, "4 rows of 4 numbers")


@pytest.mark.parametrize("key", ["fl_x", "fl_y", "camera_angle_x"])
@pytest.mark.parametrize("value", [0, -5.0, float("nan"), float("inf"), "30", True])
def test_focal_length_that_makes_no_sense(scene, key, value):
    if key == "camera_angle_x":
        scene.edit(1, fl_x=None)
    scene.edit(1, **{key: value})
    scene.refuses("frame 1 (images/1.png)", f"{key} is {value!r}")


def test_angle_of_view_in_degrees(scene):
    scene.edit(1, fl_x=None, camera_angle_x=60.0)
    scene.refuses("frame 1", "camera_angle_x is 60.0", "radians")
    scene.edit(1, camera_angle_x=pi)
    scene.refuses("below pi")


def test_no_focal_length(scene):
    scene.edit(1, fl_x=None, fl_y=None)
    scene.refuses("frame 1", "has no focal length", "give fl_x")


def test_principal_point_not_finite(scene):
    scene.edit(1, cx=float("nan"))
    scene.refuses("frame 1", "cx is nan")


@pytest.mark.parametrize("key", ["k1", "k2", "k3", "k4", "p1", "p2"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_distorted_lens(scene, key, is_shared):
    (scene.table if is_shared else scene.table["frames"][1])[key] = -0.02
    scene.refuses(f"frame {0 if is_shared else 1}", f"{key} = -0.02", "undistort the photographs")


@pytest.mark.parametrize("model", ["OPENCV_FISHEYE", "EQUIRECTANGULAR", "SIMPLE_RADIAL"])
def test_camera_that_is_no_pinhole(scene, model):
    scene.table["camera_model"] = model
    scene.refuses("frame 0", f"camera model is {model}, not a pinhole", "undistort")


def test_fisheye_flag(scene):
    scene.table["is_fisheye"] = True
    scene.refuses("camera model is fisheye")


@pytest.mark.parametrize("key", ["near", "far"])
def test_no_depth_range(scene, key):
    del scene.table[key]
    scene.refuses("transforms.json holds no " + key, "give near= and far=")


@pytest.mark.parametrize(
    ("bounds", "fragment"),
    [
        ({"near": 0.0}, "near is 0.0"),
        ({"near": -1.0}, "near is -1.0"),
        ({"near": float("nan")}, "near is nan"),
        ({"far": float("inf")}, "far is inf"),
        ({"near": 9.0}, "near = 9 must be smaller than far = 9"),
        ({"near": 3.0, "far": 2.0}, "near = 3 must be smaller than far = 2"),
    ],
)
def test_depth_range_that_makes_no_sense(scene, bounds, fragment):
    scene.refuses(fragment, "given", **bounds)
    scene.table.update(bounds)
    scene.refuses("transforms.json: ", fragment)


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        (np.ones((HEIGHT, WIDTH, 1)), "shape (24, 32, 1)"),
        (np.ones((HEIGHT, HEIGHT)), "24x24 pixels, which does not fit"),
        (np.full((HEIGHT, WIDTH), "a"), "holds <U1"),
        (np.full((HEIGHT, WIDTH), None), "not a readable depth map"),  # pickled: never loaded
    ],
)
def test_depth_map_that_makes_no_sense(scene, values, fragment):
    (scene.folder / "depth").mkdir()
    np.save(scene.folder / "depth/1.npy", values)
    scene.refuses("1.npy", fragment)


def test_depth_map_named_but_missing(scene):
    scene.edit(1, depth_file_path="depth/gone.npy")
    scene.refuses("frame 1", "gone.npy does not exist", "remove depth_file_path")
