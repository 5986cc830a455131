import numpy as np
import properscoring
import pytest
import scoringrules
from scipy import stats

from bayes_splat import metrics, mixtures


def _random(draws=5, pixels=7, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(draws, pixels)).astype(dtype)
    stds = rng.uniform(0.2, 1.5, size=(draws, pixels)).astype(dtype)
    return means, stds, rng.normal(size=pixels)


def test_moments_by_hand():
    means = np.array([[0.0, 1.0], [2.0, np.nan]])
    stds = np.array([[1.0], [2.0]])
    np.testing.assert_allclose(mixtures.mean(means), [1.0, 1.0])
    np.testing.assert_allclose(mixtures.spread(means), [1.0, 0.0])
    np.testing.assert_allclose(mixtures.std(means, stds), [np.sqrt(1 + 2.5), 1.0])


def test_scores_of_one_normal_by_hand():
    means, stds, observed = np.zeros((1, 3)), np.ones((1, 1)), np.array([0.0, 1.0, np.nan])
    np.testing.assert_allclose(
        mixtures.pit(means, stds, observed), [0.5, 0.8413447460685429, np.nan]
    )
    log = 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(mixtures.nll(means, stds, observed), [log, log + 0.5, np.nan])
    # 2 phi(0) - 1 / sqrt(pi) at the mean of a standard Normal (Gneiting and Raftery 2007, eq. 21)
    assert mixtures.crps(means, stds, observed)[0] == pytest.approx(
        np.sqrt(2 / np.pi) - 1 / np.sqrt(np.pi), rel=1e-6
    )


def test_scores_agree_with_libraries():
    means, stds, observed = _random()
    np.testing.assert_allclose(
        mixtures.crps(means, stds, observed),
        scoringrules.crps_mixnorm(observed, means.T, stds.T),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        mixtures.nll(means, stds, observed),
        scoringrules.logs_mixnorm(observed, means.T, stds.T),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        mixtures.pit(means, stds, observed),
        stats.norm.cdf(observed, means, stds).mean(0),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        mixtures.crps(means[:1], stds[:1], observed),
        properscoring.crps_gaussian(observed, means[0], stds[0]),
        rtol=1e-6,
    )


def test_scores_agree_with_their_means_in_metrics():
    means, stds, observed = _random(seed=3)
    assert mixtures.crps(means, stds, observed).mean() == pytest.approx(
        metrics.crps_gaussian_mixture(means, stds, observed)
    )
    assert mixtures.nll(means, stds, observed).mean() == pytest.approx(
        metrics.nll_gaussian_mixture(means, stds, observed)
    )


@pytest.mark.parametrize("score", [mixtures.pit, mixtures.nll, mixtures.crps])
def test_unknown_draws_are_left_out(score):
    means, stds, observed = _random()
    holes = means.copy()
    holes[2:, 3] = np.nan
    found = score(holes, stds, observed)
    assert found[3] == pytest.approx(score(means[:2], stds[:2], observed)[3])
    np.testing.assert_allclose(np.delete(found, 3), np.delete(score(means, stds, observed), 3))
    assert np.isnan(score(np.full_like(means, np.nan), stds, observed)).all()


@pytest.mark.parametrize("score", [mixtures.pit, mixtures.nll, mixtures.crps])
def test_chunks_and_single_precision_change_nothing(score, monkeypatch):
    means, stds, observed = _random(pixels=50)
    whole = score(means, stds, observed)
    monkeypatch.setattr(mixtures, "_CHUNK", 60)
    np.testing.assert_allclose(score(means, stds, observed), whole)
    single = score(means.astype(np.float32), stds.astype(np.float32), observed)
    np.testing.assert_allclose(single, whole, rtol=2e-4, atol=1e-5)


def test_one_std_a_draw_is_the_same_as_a_full_array():
    means, stds, observed = _random()
    column = stds[:, :1]
    np.testing.assert_allclose(
        mixtures.crps(means, column, observed),
        mixtures.crps(means, np.broadcast_to(column, means.shape), observed),
    )


def test_quantiles_of_one_normal():
    found = mixtures.quantiles(np.array([[1.0, 2.0]]), np.array([[0.5]]), (0.05, 0.5, 0.95))
    expected = stats.norm.ppf([[0.05], [0.5], [0.95]], [[1.0, 2.0]], 0.5)
    np.testing.assert_allclose(found, expected, atol=1e-4)
