import math

import numpy as np
import pytest
from scipy import integrate, stats

from bayes_splat import metrics


def test_psnr_by_hand():
    truth = np.zeros((2, 2, 3))
    assert metrics.psnr(truth + 0.1, truth) == pytest.approx(20)
    assert metrics.psnr(truth, truth) == math.inf


def test_psnr_clips_the_picture_and_skips_unknown_pixels():
    truth = np.array([1.0, 0.0, np.nan])
    assert metrics.psnr(np.array([7.0, 0.1, 0.5]), truth) == pytest.approx(10 * math.log10(200))


def test_coverage_by_hand():
    pit = np.array([0.04, 0.06, 0.5, 0.94, 0.96, np.nan])
    assert metrics.coverage_from_pit(pit, 0.9) == pytest.approx(3 / 5)
    assert metrics.coverage_from_pit(pit, 0.5) == pytest.approx(1 / 5)


def test_calibration_error_of_uniform_and_of_overconfident_pits():
    uniform = (np.arange(10_000) + 0.5) / 10_000
    assert metrics.expected_calibration_error(uniform) == pytest.approx(0, abs=1e-4)
    # all observations outside every interval: the mean of the levels
    assert metrics.expected_calibration_error(np.zeros(10)) == pytest.approx(0.5)
    # all in the middle: one minus the mean level
    assert metrics.expected_calibration_error(np.full(10, 0.5)) == pytest.approx(0.5)
    assert metrics.LEVELS[0] == 0.05
    assert metrics.LEVELS[-1] == 0.95
    assert len(metrics.LEVELS) == 19


def test_sparsification_curve_by_hand():
    error, std = np.array([4.0, 1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.3, 0.2])
    fractions = (0.0, 0.25, 0.5, 0.75)
    # removed in the order of std: errors 1, 2, 3 go first
    curve = metrics.sparsification_curve(error, std, "mae", fractions)
    assert curve.tolist() == [2.5, 3.0, 3.5, 4.0]
    oracle = metrics.sparsification_curve(error, error, "mae", fractions)
    assert oracle.tolist() == [2.5, 2.0, 1.5, 1.0]
    squares = metrics.sparsification_curve(error, error, "rmse", fractions)
    assert squares.tolist() == pytest.approx(np.sqrt([30 / 4, 14 / 3, 5 / 2, 1]).tolist())


def test_ause_by_hand():
    error, std = np.array([4.0, 1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.3, 0.2])
    fractions = (0.0, 0.25, 0.5, 0.75)
    # gaps 0, 1, 2, 3 at steps of 0.25: area 0.25 * (0.5 + 1.5 + 2.5) = 1.125, over 2.5
    assert metrics.ause(error, std, "mae", fractions) == pytest.approx(1.125 / 2.5)
    # a random order leaves the error at 2.5: gaps 0, 0.5, 1, 1.5
    assert metrics.random_ause(error, "mae", fractions) == pytest.approx(0.5625 / 2.5)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_ause_of_oracle_random_and_worst_order(metric):
    rng = np.random.default_rng(0)
    error = np.abs(rng.normal(size=(50, 60, 3)))
    random = metrics.random_ause(error, metric)
    assert metrics.ause(error, 2 * error + 1, metric) == pytest.approx(0, abs=1e-12)
    assert metrics.ause(error, rng.random(error.shape), metric) == pytest.approx(random, abs=0.02)
    assert metrics.ause(error, np.ones_like(error), metric) == pytest.approx(random)
    assert metrics.ause(error, -error, metric) > 1.5 * random
    assert metrics.ause(10 * error, error, metric) == pytest.approx(0, abs=1e-12)


def test_random_ause_is_the_known_integral():
    """Errors uniform on (0, 1): the oracle's curve is (1 - f) / 2, so the area is 0.99^2 / 2."""
    error = (np.arange(10_000) + 0.5) / 10_000
    assert metrics.random_ause(error) == pytest.approx(0.99**2 / 2, abs=1e-3)


def test_ties_do_not_depend_on_the_order_of_the_pixels():
    rng = np.random.default_rng(1)
    error, std = rng.random(500), rng.integers(0, 4, 500).astype(float)
    order = rng.permutation(500)
    assert metrics.ause(error, std) == pytest.approx(metrics.ause(error[order], std[order]))


def test_ause_skips_unknown_pixels_and_perfect_pictures():
    error, std = np.array([4.0, 1.0, np.nan, 2.0]), np.array([1.0, 0.2, 0.3, np.nan])
    assert metrics.ause(error, std) == metrics.ause(error[:2], std[:2])
    assert math.isnan(metrics.ause(np.zeros(5), np.arange(5.0)))
    assert math.isnan(metrics.ause(np.full(3, np.nan), np.ones(3)))


def test_spearman():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.spearman(a, np.exp(a)) == pytest.approx(1)
    assert metrics.spearman(a, -a) == pytest.approx(-1)
    b = np.array([1.0, 3.0, 2.0, 4.0])
    assert metrics.spearman(a, b) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 100), rng.integers(0, 5, 100)
    assert metrics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(metrics.spearman(a, np.ones(4)))


def test_one_gaussian_has_the_known_nll_and_crps():
    mean, std, y = np.array([[0.3]]), np.array([[0.2]]), np.array([0.4])
    assert metrics.nll_gaussian_mixture(mean, std, y) == pytest.approx(
        -stats.norm.logpdf(0.4, 0.3, 0.2)
    )
    z = 0.5
    known = 0.2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert metrics.crps_gaussian_mixture(mean, std, y) == pytest.approx(known)


def test_mixture_scores_against_integration():
    rng = np.random.default_rng(0)
    means, stds, y = rng.random((4, 2)), 0.1 + rng.random((4, 1)), rng.random(2)

    def squared_gap(x, i):
        cdf = stats.norm.cdf(x, means[:, i], stds[:, 0]).mean()
        return (cdf - (x >= y[i])) ** 2

    known = np.mean(
        [
            integrate.quad(squared_gap, -10, y[i], args=(i,))[0]
            + integrate.quad(squared_gap, y[i], 10, args=(i,))[0]
            for i in range(2)
        ]
    )
    assert metrics.crps_gaussian_mixture(means, stds, y) == pytest.approx(known, abs=1e-7)
    density = stats.norm.pdf(y, means, stds).mean(0)
    assert metrics.nll_gaussian_mixture(means, stds, y) == pytest.approx(-np.log(density).mean())


def test_depth_scores_by_hand():
    depth = np.array([1.1, 2.0, 5.2, 3.0, 0.0])
    truth = np.array([1.0, 2.0, 4.0, np.nan, 1.0])
    assert metrics.absolute_relative_error(depth, truth) == pytest.approx((0.1 + 0 + 0.3 + 1) / 4)
    assert metrics.depth_inliers(depth, truth) == pytest.approx(2 / 4)
    assert metrics.depth_inliers(depth, truth, 1.05) == pytest.approx(1 / 4)
