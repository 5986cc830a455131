import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_splat import depth_metrics
from tests.helpers_scenes import pair_of_cameras, random_proposal


def test_nll_by_hand():
    """Near 1 and far 4: du/ddepth = 1 / (0.75 depth^2), 1/3 at depth 2; log prob -1 there."""
    depth = np.array([2.0, np.nan])
    log_prob = np.array([-1.0, -5.0])
    found = depth_metrics.nll_over_disparity(log_prob, depth, np.ones(2), np.full(2, 4.0))
    assert found == pytest.approx(math.log(1 / 3) + 1)


def test_nll_of_a_proposal_is_that_of_its_buckets():
    """Over relative disparity the density is probability times number of buckets."""
    proposal = random_proposal(pair_of_cameras(dtype=torch.float64))
    depth = proposal.sample([torch.Generator().manual_seed(1)])[0]
    found = depth_metrics.nll_over_disparity(
        proposal.log_prob(depth).numpy(),
        depth.numpy(),
        proposal.near.numpy(),
        proposal.far.numpy(),
    )
    bucket = proposal.bucket(depth)[:, None]
    density = proposal.probabilities.gather(-1, bucket) * proposal.num_buckets
    assert found == pytest.approx(-density.log().mean().item(), abs=1e-9)


def test_nll_where_nothing_is_known():
    one = np.ones(3)
    assert math.isnan(
        depth_metrics.nll_over_disparity(one, np.full(3, np.nan), one, np.full(3, 2.0))
    )


ROWS = np.array([[0.5, 0.1, 0.4], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]])


def test_mass_before_by_hand():
    before = depth_metrics.mass_before(ROWS, np.array([2, 1, 1]))
    assert before == pytest.approx([0.5, 0.8, 0.0])  # of the two at 0.2 the nearer comes first
    assert depth_metrics.mass_before(ROWS, np.array([-1, 0, 0]))[0] == np.inf


def test_reliability_by_hand():
    """Sets at 0.5: {0}, {2}, {1}; at 0.65: {0 2}, {2 0}, {1}; at 0.9: {0 2}, {2 0 1}, {1 2}."""
    found = depth_metrics.reliability(ROWS, np.array([2, 1, 1]), (0.5, 0.65, 0.9))
    assert found.inside == pytest.approx([1 / 3, 2 / 3, 1])
    assert found.mass == pytest.approx([1.8 / 3, (0.9 + 0.8 + 0.7) / 3, (0.9 + 1.0 + 0.9) / 3])
    nowhere = depth_metrics.reliability(ROWS, np.array([-1, -1, -1]), (0.5,))
    assert nowhere.inside == 0


def test_reliability_of_no_pixel_is_unknown():
    found = depth_metrics.reliability(ROWS[:0], np.zeros(0, dtype=int))
    assert np.isnan(found.inside).all()
    assert len(found.inside) == len(found.levels) == 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 3.0))
def test_depths_drawn_from_the_distribution_are_calibrated(seed, sharpness):
    """Then the share inside is the mass of the sets, up to the noise of 4000 draws."""
    generator = np.random.default_rng(seed)
    weights = np.exp(sharpness * generator.normal(size=(4000, 12)))
    rows = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
    bucket = (rows.cumsum(-1) < generator.uniform(size=(4000, 1))).sum(-1).clip(max=11)
    found = depth_metrics.reliability(rows, bucket)
    assert np.abs(found.inside - found.mass).max() < 5 * 0.5 / math.sqrt(4000)
    assert (found.mass >= np.array(found.levels) - 1e-6).all()
