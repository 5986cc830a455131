from dataclasses import replace

import numpy as np
import pytest

from bayes_splat import discrepancy
from bayes_splat.discrepancy import Discrepancy
from bayes_splat.evaluation import information
from bayes_splat.evaluation.predictive import Predictive


def _record(means, noise):
    return Predictive(
        means=means.astype(np.float32),
        stds=np.full((len(means), 1, 1, 1, 1), noise, np.float32),
        spread=means.std(0),
        depths=means[..., 0].astype(np.float32),
        depth_stds=means[..., 0].astype(np.float32),
        alphas=np.ones(means.shape[1:4], np.float32),
    )


def test_by_hand():
    # Two draws 1 +- 0.3 of one number, noise 0.1: the variance is nine times that of the noise.
    means = np.ones((2, 2, 1, 1, 3))
    means[:, 0, 0, 0, 1] += [0.3, -0.3]
    unknown = information.unknown(_record(means, 0.1))
    found = information.of_pixels(unknown)
    np.testing.assert_allclose(found, [0.5 * np.log(10), 0.0], rtol=1e-5)
    np.testing.assert_allclose(information.joint(unknown), found, rtol=1e-5)


def test_pixels_that_move_together_tell_once():
    means = np.zeros((2, 1, 1, 2, 3))
    means[0], means[1] = 0.3, -0.3
    unknown = information.unknown(_record(means, 0.1))
    assert information.of_pixels(unknown)[0] == pytest.approx(6 * 0.5 * np.log(10), rel=1e-5)
    assert information.joint(unknown)[0] == pytest.approx(0.5 * np.log(1 + 6 * 9), rel=1e-5)


def test_joint_is_the_determinant_of_the_covariance():
    means = np.random.default_rng(0).normal(size=(40, 1, 2, 2, 3))
    record = _record(means, 0.5)
    flat = record.means.reshape(40, -1).astype(np.float64)
    matrix = np.eye(12) + np.cov(flat.T, bias=True) / 0.25
    expected = 0.5 * np.linalg.slogdet(matrix)[1]
    assert information.joint(information.unknown(record))[0] == pytest.approx(expected, rel=1e-5)
    assert (
        information.joint(information.unknown(record))[0]
        <= information.of_pixels(information.unknown(record))[0]
    )  # Hadamard


def test_what_nothing_covers_is_unknown_where_the_error_of_new_views_was_learned():
    # Draws all alike: only the light that gets through (half, and all of it) tells of ignorance.
    record = _record(np.full((4, 2, 1, 1, 3), 0.5), 0.1)
    record = replace(record, alphas=np.array([0.5, 0.0], np.float32).reshape(2, 1, 1))
    learned = Discrepancy((0.02, 0.5, 0.01), 0.04, 0.4)
    found = information.unknown(record, learned)
    # As if views were as far from the context as its views are from each other.
    ease, thinned = discrepancy.ROUGH[2] * 0.6**2 + 0.4, 0.5**discrepancy.THINNING
    more = np.array([0.01 * thinned**2 + 0.04 * thinned**4, 0.01 + 0.04])
    unseen = discrepancy.UNSEEN * more
    np.testing.assert_allclose(found.unseen[:, 0, 0, 0], unseen, rtol=1e-4)
    np.testing.assert_allclose(found.noise, ease * 0.02, rtol=1e-3)
    expected = 1.5 * np.log1p(found.unseen[:, 0, 0, 0] / found.noise[:, 0, 0, 0])
    for function in information.SCORES.values():
        np.testing.assert_allclose(function(found), expected, rtol=1e-6)
    assert not information.unknown(record).unseen.any()
