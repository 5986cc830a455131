from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat import depth_error
from tests.helpers_scenes import tiny_model


def sure_of(model, bucket):
    """The model with a proposal that knows the bucket of every depth."""
    sharp = torch.zeros_like(model.proposal.probabilities)
    sharp[:, bucket] = 1.0
    return replace(model, proposal=replace(model.proposal, probabilities=sharp))


def test_both_spreads_add_up_in_squares():
    """Those of draws and of the proposal; and the width of the bucket."""
    model = tiny_model()
    depths, spread, of_proposal = 1.0 + np.random.default_rng(0).random((3, 2, 3, 4))
    found = depth_error.around(model, depths, spread, of_proposal)
    wanted = (depth_error.DRAWS * spread) ** 2 + (depth_error.PROPOSAL * of_proposal) ** 2
    bucket = depth_error.bucket_std(model, depths)
    np.testing.assert_allclose(found**2, wanted + bucket**2, rtol=1e-12)
    assert (bucket > 0).all()


def test_a_depth_anywhere_in_its_bucket():
    """Four buckets of disparity from 1/1 to 1/4; unknown stays unknown."""
    model = tiny_model()
    depths = np.array([1.0, 2.0, np.nan])
    found = depth_error.bucket_std(model, depths)
    np.testing.assert_allclose(found[:2], depths[:2] ** 2 * (0.75 / 4) / np.sqrt(12), rtol=1e-6)
    assert np.isnan(found[2])


def test_the_spread_is_that_of_renders_of_the_proposal():
    """Against many other draws, within the error of a standard deviation over sixteen."""
    model = tiny_model()
    cameras = model.views.cameras
    found = depth_error.proposal_spread(model, cameras)
    generators = [torch.Generator().manual_seed(100 + i) for i in range(400)]
    depth = model.proposal.sample(generators).double()
    opacity = model.proposal.opacities.double().expand_as(depth)
    wanted = model.render(depth, opacity, cameras).depths.numpy().std(0)
    assert found.shape == wanted.shape == (2, 3, 4)
    # The relative error of such a standard deviation is about 1 / sqrt(2 * 15) a pixel, and of
    # the mean over pixels at most that.
    assert found.mean() == pytest.approx(wanted.mean(), rel=4 / np.sqrt(30))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.5


def test_a_proposal_that_knows_adds_little():
    model = tiny_model()
    cameras = model.views.cameras
    unsure = depth_error.proposal_spread(model, cameras)
    sure = depth_error.proposal_spread(sure_of(model, 1), cameras)
    assert (unsure > 0).all()
    assert sure.mean() < 0.5 * unsure.mean()


def test_the_same_bits_each_time():
    model = tiny_model()
    first, second = (depth_error.proposal_spread(model, model.views.cameras) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_nothing_covers_has_no_spread():
    """A camera that looks away sees nothing: no number, and none that is not finite."""
    model = tiny_model()
    turned = model.views.cameras.extrinsics.clone()
    turned[:, :3, :3] = turned[:, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0])).to(turned)
    cameras = replace(model.views.cameras, extrinsics=turned)
    np.testing.assert_array_equal(depth_error.proposal_spread(model, cameras), 0.0)


def test_a_view_is_left_out_of_the_spread():
    """Depths of one view's Gaussians, which nobody knows, are no matter where it is left out."""
    model = tiny_model()
    known = sure_of(model, 1).proposal.probabilities
    half = len(known) // 2
    mixed = torch.cat([known[:half], model.proposal.probabilities[half:]])
    some = replace(model, proposal=replace(model.proposal, probabilities=mixed))
    cameras = model.views.cameras
    without = depth_error.proposal_spread(some, cameras, without_view=1)
    sure = depth_error.proposal_spread(sure_of(model, 1), cameras, without_view=1)
    assert without.max() > 0.0
    np.testing.assert_array_equal(without, sure)
    assert not np.array_equal(depth_error.proposal_spread(some, cameras), sure)
