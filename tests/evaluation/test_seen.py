import math
from dataclasses import replace

import numpy as np
import torch

from bayes_splat.evaluation import seen
from bayes_splat.types import Views
from tests.helpers_scenes import pair_of_cameras, tiny_model

SHAPE = (6, 8)


def _moved(cameras, shift):
    extrinsics = cameras.extrinsics.clone()
    extrinsics[:, 0, 3] += shift
    return replace(cameras, extrinsics=extrinsics)


def test_own_views_are_never_outside():
    cameras = pair_of_cameras(SHAPE)
    assert not seen.outside(cameras, cameras).any()


def test_pixels_beyond_the_frustum_are_outside():
    context = pair_of_cameras(SHAPE, baseline=0.0)
    # Shifted right by s the ray of column x reaches, at the farthest depth 4, the context's column
    # x + focal * s / 4; nearer points lie further to the right still.
    shift = 0.5
    found = seen.outside(_moved(context, shift)[[0]], context)[0]
    focal = 1.2 * SHAPE[1]
    columns = np.arange(SHAPE[1]) + 0.5 + focal * shift / 4.0
    np.testing.assert_array_equal(found, np.tile(columns > SHAPE[1], (SHAPE[0], 1)))
    assert found.any()
    assert not found.all()


def test_a_camera_that_looks_away_sees_nothing_of_it():
    context = pair_of_cameras(SHAPE)
    turned = context.extrinsics.clone()
    turned[:, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    assert seen.outside(replace(context, extrinsics=turned), context).all()


def test_true_depth_decides_where_it_is_known():
    model = tiny_model(image_shape=SHAPE, baseline=0.0)
    cameras = model.views.cameras
    wall = torch.full((2, *SHAPE), 3.0)
    context = replace(model, views=replace(model.views, depths=wall))
    behind = wall.clone()
    behind[0, 2, 3] = 3.5  # in the same place as the context's cameras: hidden behind the wall
    behind[0, 4, 1] = torch.nan
    targets = Views(cameras, model.views.images, ("a", "b"), behind)
    found = seen.find(context, targets)
    assert found.source == ("depth", "depth")
    assert np.argwhere(found.is_never_seen).tolist() == [[0, 2, 3]]
    # One neighbour that is as far away, and it may have been seen through the edge.
    wall[:, 1, 3] = 3.5
    assert not seen.find(context, targets).is_never_seen.any()


def test_without_true_depth_the_proposal_decides():
    model = tiny_model(image_shape=SHAPE, baseline=0.0)
    cameras = _moved(model.views.cameras, 0.5)
    found = seen.find(model, Views(cameras, model.views.images, ("a", "b")))
    assert found.source == ("proposal", "proposal")
    assert (found.is_never_seen | ~found.is_outside).all()  # outside is a part of never seen
    assert found.is_never_seen.sum() > found.is_outside.sum() > 0


def test_gap_is_the_angle_about_the_middle():
    context = pair_of_cameras(SHAPE, baseline=0.0)
    views = Views(context, torch.zeros(2, 3, *SHAPE), ("a", "b"))
    targets = Views(_moved(context, 2.0), views.images, views.names)
    found = seen.gaps(targets, views, torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    np.testing.assert_allclose(found, [45.0, 45.0], atol=1e-4)
    assert math.isclose(float(seen.gaps(views, views, torch.ones(3).double())[0]), 0, abs_tol=1e-4)
