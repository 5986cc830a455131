"""Ranks whose law is known: uniform ones pass, skewed, narrow and wide ones do not."""

import numpy as np
import pytest

from bayes_splat.calibration import ecdf_band, ecdf_difference, ranks, uniformity

DRAWS = 15


def normal_ranks(replications: int, seed: int, shift: float = 0.0, scale: float = 1.0):
    """Of standard Normal truths among draws of Normal(shift, scale)."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=replications)
    return ranks(truth, shift + scale * generator.normal(size=(replications, DRAWS)))


def test_ranks_by_hand():
    truth = np.array([[0.5, 3.0], [2.0, -1.0]])
    draws = np.array([[[0.0, 1.0], [1.0, 2.0]], [[1.0, 0.0], [3.0, 0.0]]])
    assert ranks(truth, draws).tolist() == [[1, 2], [1, 0]]


def test_ties_are_spread_evenly():
    found = ranks(np.zeros(4000), np.zeros((4000, 3)))
    assert np.bincount(found) == pytest.approx(np.full(4, 1000), abs=4 * 1000**0.5)


def test_right_draws_are_uniform():
    judged = [uniformity(normal_ranks(200, seed), DRAWS) for seed in range(200)]
    assert np.mean([one.chi_square for one in judged]) == pytest.approx(7.0, abs=1.1)
    assert np.mean([one.p_value < 0.05 for one in judged]) < 0.11
    assert np.mean([one.worst > 1.0 for one in judged]) < 0.11


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (-0.5, 1.0), (0.0, 0.6), (0.0, 1.7)])
def test_wrong_draws_are_not(shift, scale):
    judged = uniformity(normal_ranks(200, 0, shift, scale), DRAWS)
    assert judged.p_value < 1e-3
    assert judged.worst > 1.2


def test_the_difference_tells_the_direction():
    assert ecdf_difference(np.zeros(10, dtype=np.int64), 3).tolist() == [0.75, 0.5, 0.25]
    high = normal_ranks(400, 0, shift=-1.0)
    assert (ecdf_difference(high, DRAWS) < 0).all()


def test_bands_narrow_with_replications():
    few, many = ecdf_band(50, DRAWS), ecdf_band(800, DRAWS)
    assert few / many == pytest.approx(np.full(DRAWS, 4.0), rel=0.15)
    strict = ecdf_band(50, DRAWS, miss=0.001)
    assert (strict > few).all()


def test_bins_must_share_the_ranks():
    with pytest.raises(ValueError, match="10 draws give 11 ranks"):
        uniformity(np.array([1, 2]), 10)
