"""What passes the checks of scene files is clean; what does not is named with its remedy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import checks


@pytest.mark.parametrize("value", [3, 2.5, np.float64(1.5)])
def test_numbers_pass_as_floats(value):
    assert checks.number(value, "fl_x", "here", above=0.0) == float(value)


@pytest.mark.parametrize("value", ["3", None, True, [1.0], math.nan, math.inf, 0.0, -1])
def test_other_values_are_named(value):
    with pytest.raises(SceneError, match=r"here: fl_x is"):
        checks.number(value, "fl_x", "here", above=0.0)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4), st.floats(-4e-4, 4e-4))
def test_nearly_rigid_poses_become_rigid(quaternion, error):
    q = torch.tensor(quaternion, dtype=torch.float64)
    if q.norm() < 0.1:
        return
    w, x, y, z = (q / q.norm()).tolist()
    rotation = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = torch.eye(4)
    pose[:3, :3] = rotation * (1 + error)
    pose[:3, 3] = torch.tensor([1.0, -2.0, 3.0])
    mended = checks.rigid_pose(pose.tolist(), "here")
    product = mended[:3, :3] @ mended[:3, :3].T
    torch.testing.assert_close(product, torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)
    assert torch.det(mended[:3, :3]) > 0
    assert (mended[:3, :3] - rotation).abs().max() < 2e-3
    assert mended[:3, 3].tolist() == [1.0, -2.0, 3.0]


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3).tolist(),
        np.diag([2.0, 2, 2, 1]).tolist(),
        np.diag([-1.0, 1, 1, 1]).tolist(),
        np.diag([1.0, 1, 1, 2]).tolist(),
        np.full((4, 4), np.nan).tolist(),
        "pose",
    ],
)
def test_other_matrices_are_refused(matrix):
    with pytest.raises(SceneError, match="here: the "):
        checks.rigid_pose(matrix, "here")


def test_depth_range():
    assert checks.depth_range(1, 4.5, "here") == (1.0, 4.5)
    for near, far in ((4.5, 1), (2, 2), (0, 1), (-1, 1), (1, math.inf), (None, 1), (1, None)):
        with pytest.raises(SceneError, match="here"):
            checks.depth_range(near, far, "here")


def test_frame_indices():
    assert checks.frame_indices(None, 3, "here") == [0, 1, 2]
    assert checks.frame_indices([2, 0], 3, "here") == [2, 0]
    for frames in ([], [3], [-1], [1, 1]):
        with pytest.raises(SceneError, match="here"):
            checks.frame_indices(frames, 3, "here")


def test_resolution():
    checks.resolution(None)
    checks.resolution(8)
    for value in (7, 0, -64):
        with pytest.raises(ConfigError, match="resolution"):
            checks.resolution(value)
