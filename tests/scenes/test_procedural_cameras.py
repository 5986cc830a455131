"""Rigs have the baseline asked for, and overlap is what one computes by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.scenes.procedural_cameras import FOCUS, Rig, draw_rig, overlap


@given(st.integers(0, 10**6), st.floats(-1.0, 1.0))
def test_turning_apart_keeps_places_and_opens_the_angle(seed, angle):
    rig = draw_rig(np.random.default_rng(seed), 3, (0.1, 0.2), (50.0, 60.0))
    turned = rig.turned_apart(angle)
    np.testing.assert_array_equal(turned.poses[:, :3, 3], rig.poses[:, :3, 3])
    np.testing.assert_array_equal(turned.poses[2], rig.poses[2])
    baseline = rig.poses[1, :3, 3] - rig.poses[0, :3, 3]
    for before, after, side in zip(rig.poses[:2], turned.poses[:2], (-1, 1), strict=True):
        np.testing.assert_allclose(after[:3, :3] @ after[:3, :3].T, np.eye(3), atol=1e-12)
        old, new = before[:3, 2], after[:3, 2]
        assert old @ new == pytest.approx(np.cos(angle / 2))
        assert np.linalg.det([old, new, baseline]) == pytest.approx(0, abs=1e-12)  # one plane
        if abs(angle) > 1e-3 and np.linalg.norm(np.cross(old, baseline)) > 1e-3:
            across = baseline - (baseline @ old) * old
            assert np.sign(new @ across) == side * np.sign(angle)


@given(st.integers(0, 10**6))
def test_poses_are_rigid_look_at_the_focus_and_have_the_baseline(seed):
    rig = draw_rig(np.random.default_rng(seed), 4, (0.1, 0.2), (50.0, 60.0))
    rotation = rig.poses[:, :3, :3]
    identity = np.broadcast_to(np.eye(3), (4, 3, 3))
    np.testing.assert_allclose(rotation @ rotation.swapaxes(1, 2), identity, atol=1e-12)
    assert (np.linalg.det(rotation) > 0).all()
    origins = rig.poses[:, :3, 3]
    assert 0.1 <= np.linalg.norm(origins[1] - origins[0]) <= 0.2
    np.testing.assert_allclose(origins[0] + origins[1], 0, atol=1e-12)
    assert np.tan(np.radians(25)) <= rig.tangent <= np.tan(np.radians(30))
    towards = FOCUS - origins
    cosine = (rotation[:, :, 2] * towards).sum(-1) / np.linalg.norm(towards, axis=-1)
    assert (cosine > np.cos(np.radians(25))).all()  # 0.2 aside and some jitter
    assert (rotation[:, 1, 1] > 0.7).all()  # upright: world y is down


def test_targets_lie_about_the_line_between_the_pair():
    rig = draw_rig(np.random.default_rng(0), 200, (0.2, 0.2), (60.0, 60.0))
    origins = rig.poses[:, :3, 3]
    along = (origins[2:] - origins[0]) @ (origins[1] - origins[0]) / 0.2**2
    assert -0.6 < along.min() < 0.2
    assert 0.8 < along.max() < 1.6
    assert np.linalg.norm(origins[2:], axis=-1).max() < 0.2


def test_a_rig_keeps_its_field_of_view_at_every_resolution():
    rig = draw_rig(np.random.default_rng(1), 2, (0.1, 0.1), (60.0, 60.0))
    coarse, fine = rig.cameras((24, 32)), rig.cameras((48, 64))
    torch.testing.assert_close(2 * coarse.intrinsics[:, :2], fine.intrinsics[:, :2])
    assert coarse.intrinsics[0, 0, 0].item() == pytest.approx(16 / np.tan(np.radians(30)))


def flat_pair(shift, turn=0.0):
    """Two cameras before a wall at depth 2 that is 2 wide in the picture; the second moved."""
    poses = np.stack([np.eye(4)] * 2)
    cos, sin = np.cos(turn), np.sin(turn)
    poses[1, :3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    poses[1, 0, 3] = shift
    return Rig(poses, 0.5, (0.5, 0.5)).cameras((20, 20)), torch.full((2, 20, 20), 2.0).double()


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5), (2.5, 0.0)])
def test_overlap_before_a_wall(shift, expected):
    shares = overlap(*flat_pair(shift))
    torch.testing.assert_close(shares.diagonal(), torch.ones(2).double())
    assert shares[0, 1].item() == pytest.approx(expected)
    assert shares[1, 0].item() == pytest.approx(expected)


def test_overlap_of_cameras_back_to_back_and_without_depth():
    cameras, depths = flat_pair(0.0, np.pi)
    assert overlap(cameras, depths)[0, 1] == 0
    cameras, depths = flat_pair(0.0)
    half = depths.clone()
    half[0, :10] = torch.nan
    assert overlap(cameras, half)[0, 1].item() == pytest.approx(0.5)
    assert overlap(replace(cameras), depths)[1, 0].item() == pytest.approx(1.0)
