import numpy as np
import pytest

from bayes_splat.evaluation import methods, scaling
from bayes_splat.evaluation.predictive import Predictive
from tests.helpers_scenes import prior_draws, tiny_model


def _record(means, std):
    return Predictive(
        means=means.astype(np.float32),
        stds=np.full((len(means), 1, 1, 1, 1), std, np.float32),
        spread=means.std(0),
        depths=means[..., 0].astype(np.float32),
        depth_stds=means[..., 0].astype(np.float32),
        alphas=np.ones(means.shape[1:4], np.float32),
    )


def test_scale_of_a_single_picture_is_the_size_of_its_residuals():
    rng = np.random.default_rng(0)
    record = _record(np.zeros((1, 1, 20, 20, 3)), 0.1)
    observed = rng.normal(0, 0.25, (1, 20, 20, 3))
    expected = np.sqrt(np.square(observed).mean()) / 0.1
    assert scaling.fit_scale(record, observed) == pytest.approx(expected, rel=1e-3)
    assert scaling.fit_noise(record, observed) == pytest.approx(0.1 * expected, rel=1e-3)


def test_scale_of_a_mixture_that_is_right_is_one():
    rng = np.random.default_rng(1)
    means = rng.normal(0, 0.3, (40, 1, 30, 30, 3))
    observed = rng.normal(0, np.hypot(0.3, 0.2), (1, 30, 30, 3))
    assert scaling.fit_scale(_record(means, 0.2), observed) == pytest.approx(1.0, abs=0.1)


def test_unknown_observations_are_left_out():
    record = _record(np.zeros((1, 1, 4, 4, 3)), 1.0)
    observed = np.full((1, 4, 4, 3), 2.0)
    observed[0, 0] = np.nan
    assert scaling.fit_scale(record, observed) == pytest.approx(2.0, rel=1e-3)


def test_a_view_is_predicted_from_the_others_where_these_cover_it():
    model = tiny_model(baseline=1.0)
    draws = methods.as_draws(prior_draws(model, 6))
    own, photos = scaling.own_views(model, draws, 6)
    cross, observed = scaling.cross_views(model, draws, 6)
    assert own.means.shape == cross.means.shape == (6, 2, 3, 4, 3)
    assert np.isnan(observed).any(-1).sum() == (cross.alphas <= 0.5).sum() > 0
    known = ~np.isnan(observed)
    np.testing.assert_array_equal(observed[known], photos[known])
    assert np.abs(own.means - cross.means).max() > 0.1
