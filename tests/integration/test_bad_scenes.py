"""Every broken scene is answered by one clear sentence: the file, the value, the remedy."""

from math import pi

import numpy as np
import pytest

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import transforms_json
from tests.helpers_transforms import HEIGHT, WIDTH, Scene, picture, pose


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


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
