import numpy as np
import pytest
import sklearn.metrics
import uncertainty_toolbox
from scipy import stats

from bayes_splat import calibration_metrics as calibration
from bayes_splat import metrics


def test_inside_by_hand():
    found = calibration.is_inside(np.array([0.05, 0.04, 0.5, 0.96, np.nan]), 0.9)
    np.testing.assert_array_equal(found, [1, 0, 1, 0, np.nan])


def test_pooled_coverage_can_hide_whole_regions():
    inside = np.ones((1, 8, 16, 1))
    inside[0, :, :2] = 0  # 12.5 % of the pixels, 25 % of the first region
    assert calibration.event_coverage(inside, region=8) == 0.5
    assert calibration.event_coverage(inside, region=None) == 0.0
    assert calibration.event_coverage(inside, region=None, share=0.875) == 1.0
    inside[0, :, :2] = np.nan
    assert calibration.event_coverage(inside, region=8) == 1.0
    assert np.isnan(calibration.event_coverage(np.full((1, 2, 2, 1), np.nan)))


def test_regions_at_the_edge_may_be_smaller():
    inside = np.ones((1, 5, 4, 1))
    inside[0, 4] = 0
    assert calibration.event_coverage(inside, region=4) == 0.5


def test_widths_by_hand():
    centre = np.zeros(10)
    observed = np.arange(1.0, 11.0)
    assert calibration.constant_width(centre, observed, 0.9) == 18.0
    # Ends in proportion to the error: stretched by one, they cover everything.
    width = calibration.width_at_coverage(-observed, centre, observed, observed, 0.9)
    assert width == pytest.approx(2 * observed.mean())
    # The same ends everywhere are the constant width, however wide they were.
    ends = np.full(10, 0.3)
    assert calibration.width_at_coverage(-ends, centre, ends, observed, 0.9) == pytest.approx(18.0)


def test_lopsided_intervals_are_stretched_on_their_own_side():
    low, centre, high = np.array([-1.0, -1.0]), np.zeros(2), np.array([3.0, 3.0])
    assert calibration.width_at_coverage(low, centre, high, np.array([-2.0, 6.0]), 1.0) == 8.0


def test_explained_share():
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 1.0, 20_000)
    error = spread * rng.normal(size=20_000)
    assert calibration.explained_share(spread, error) == pytest.approx(1.0, abs=0.03)
    assert calibration.explained_share(np.array([1.0, np.nan]), np.array([2.0, 1.0])) == 0.25
    assert np.isnan(calibration.explained_share(np.ones(2), np.zeros(2)))


def test_auroc_by_hand_and_against_scikit_learn():
    assert calibration.auroc(np.array([1.0, 2.0, 3.0]), np.array([False, False, True])) == 1.0
    assert calibration.auroc(np.ones(4), np.array([True, False, True, False])) == 0.5
    assert np.isnan(calibration.auroc(np.ones(2), np.zeros(2, dtype=bool)))
    rng = np.random.default_rng(1)
    score = np.round(rng.normal(size=300), 1)
    is_positive = rng.uniform(size=300) < 0.3
    expected = sklearn.metrics.roc_auc_score(is_positive, score)
    assert calibration.auroc(score, is_positive) == pytest.approx(expected)


def test_coverage_and_calibration_error_agree_with_uncertainty_toolbox():
    rng = np.random.default_rng(2)
    mean, std = rng.normal(size=400), rng.uniform(0.5, 2.0, 400)
    observed = mean + 1.3 * std * rng.normal(size=400)
    pit = stats.norm.cdf(observed, mean, std)
    for level in (0.5, 0.8, 0.9, 0.95):
        expected = uncertainty_toolbox.metrics_calibration.get_proportion_in_interval(
            mean, std, observed, level
        )
        assert metrics.coverage_from_pit(pit, level) == pytest.approx(expected)
    # Its 19 levels of ``num_bins`` are those of ours.
    expected = uncertainty_toolbox.mean_absolute_calibration_error(
        mean, std, observed, num_bins=21, vectorized=False, prop_type="interval"
    )
    assert metrics.expected_calibration_error(pit, np.linspace(0, 1, 21)) == pytest.approx(
        expected, abs=2e-3
    )
