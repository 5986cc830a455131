import numpy as np
import pytest
import torch

from bayes_splat import depth_error, error_law, predictions, remoteness
from bayes_splat.discrepancy import Discrepancy, Pictures
from bayes_splat.errors import ModelError
from bayes_splat.evaluation import methods, predictive
from bayes_splat.samplers.sampling import Draws
from tests.helpers_scenes import prior_draws, tiny_model

LEARNED = Discrepancy((0.01, 0.5, 0.04), 0.08, 0.4)
"""An error of new views."""


def _draws(model, chains=2, draws=3, seed=0):
    every = [prior_draws(model, chains, seed + i) for i in range(draws)]
    stopped = torch.zeros((chains, draws), dtype=torch.bool)
    return Draws(
        sites={name: torch.stack([one[name] for one in every], 1).float() for name in every[0]},
        stats={"lp": torch.zeros(chains, draws), "stopped": stopped, "diverging": stopped},
        warmup_stats={},
        final={},
        is_interrupted=False,
        seconds={"warmup": 0.0, "sampling": 1.0},
    )


def test_components_are_renders_of_draws_with_their_noise():
    model = tiny_model()
    draws, cameras = _draws(model), model.views.cameras
    found = predictive.predict(model, draws, cameras)
    assert found.means.shape == (6, 2, 3, 4, 3)
    sites = {name: values[:, 1].double() for name, values in draws.sites.items()}
    expected = model.render(sites["depth"], sites["opacity"], cameras)
    np.testing.assert_allclose(found.means[2:4], expected.colors.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.stds[2:4].ravel(), sites["noise_scale"].numpy(), rtol=1e-6)
    known = np.isfinite(found.depths[2:4])
    np.testing.assert_allclose(found.depths[2:4][known], expected.depths.numpy()[known], rtol=1e-6)
    # A bucket of disparity is (1/1 - 1/4) / 4 wide.
    width = found.depths[known.nonzero()[0][0] * 0 + 2] ** 2 * 0.75 / 4
    np.testing.assert_allclose(found.depth_stds[2], width / np.sqrt(12), rtol=1e-5)


def test_depths_of_draws_are_wrong_together_where_the_error_of_new_views_was_learned():
    model = tiny_model()
    draws, cameras = _draws(model), model.views.cameras
    plain, found = (
        predictive.predict(model, draws, cameras, discrepancy=d) for d in (None, LEARNED)
    )
    np.testing.assert_array_equal(found.depths, plain.depths)
    np.testing.assert_array_equal(found.spread, plain.spread)
    known = np.isfinite(plain.depths).all(0)
    variance = plain.depths.astype(np.float64).var(0)[known]
    assert variance.max() > 0.0
    of_proposal = depth_error.proposal_spread(model, cameras)[known]
    assert of_proposal.max() > 0.0
    error = (depth_error.DRAWS**2) * variance + (depth_error.PROPOSAL * of_proposal) ** 2
    wanted = plain.depth_stds[:, known] ** 2 + error
    np.testing.assert_allclose(found.depth_stds[:, known] ** 2, wanted, rtol=1e-4)


def test_errors_are_those_of_the_mean_picture_where_they_were_learned():
    model = tiny_model()
    draws, cameras = _draws(model), model.views.cameras
    plain, found = (
        predictive.predict(model, draws, cameras, discrepancy=d) for d in (None, LEARNED)
    )
    mean, variance = plain.means.mean(0, dtype=np.float64), plain.means.var(0, dtype=np.float64)
    np.testing.assert_allclose(plain.spread, np.sqrt(variance), atol=1e-6)
    np.testing.assert_allclose(found.means, np.broadcast_to(mean, plain.means.shape), atol=1e-6)
    far = remoteness.of_views(cameras, cameras)
    scale = np.sqrt(LEARNED.squared_scale(Pictures(mean, variance, 1.0 - plain.alphas), far))
    wanted = error_law.multipliers(len(plain.means))[:, None, None, None, None] * scale
    np.testing.assert_allclose(found.stds, wanted, rtol=1e-4)
    one = predictive.predict(model, draws, cameras[[1]], without_view=1, discrepancy=LEARNED)
    alone = predictive.predict(model, draws, cameras[[1]], without_view=1)
    far = remoteness.of_views(cameras, cameras[[1]], without_view=1)
    pictures = Pictures(alone.means.mean(0), alone.means.var(0), 1.0 - alone.alphas)
    scale = np.sqrt(LEARNED.squared_scale(pictures, far))
    np.testing.assert_allclose(
        one.stds[0], error_law.multipliers(len(plain.means))[0] * scale, rtol=1e-4
    )


def test_draws_beyond_the_number_are_left_out_evenly():
    model = tiny_model()
    draws = _draws(model, chains=1, draws=5)
    every = predictive.predict(model, draws, model.views.cameras)
    some = predictive.predict(model, draws, model.views.cameras, 3)
    np.testing.assert_array_equal(some.means, every.means[[0, 2, 4]])


def test_stopped_and_broken_draws_are_left_out():
    model = tiny_model()
    draws = _draws(model)
    draws.stats["stopped"][1, 2] = True
    draws.sites["depth"][0, 1] = torch.nan
    found = predictive.predict(model, draws, model.views.cameras)
    assert len(found.means) == 2
    draws.sites["depth"][:] = torch.nan
    with pytest.raises(ModelError, match="no draw of any chain is finite"):
        predictive.predict(model, draws, model.views.cameras)


def test_a_view_can_be_left_out():
    model = tiny_model()
    draws = _draws(model)
    without = predictive.predict(model, draws, model.views.cameras, without_view=1)
    sites = {name: values[:, 0].double() for name, values in draws.sites.items()}
    sites["opacity"][:, 12:] = 0
    expected = model.render(sites["depth"], sites["opacity"], model.views.cameras).colors
    np.testing.assert_allclose(without.means[:2], expected.numpy(), atol=1e-6)
    assert (draws.sites["opacity"][:, 0, 12:] > 0).all()


def test_scaling_stretches_about_the_mean():
    model = tiny_model()
    found = predictive.predict(model, _draws(model), model.views.cameras)
    wide = found.scaled(2.0)
    np.testing.assert_allclose(wide.means.mean(0), found.means.mean(0), atol=1e-6)
    np.testing.assert_allclose(wide.means.std(0), 2 * found.means.std(0), atol=1e-6)
    np.testing.assert_allclose(wide.stds, 2 * found.stds)
    assert found.view(1).means.shape == (6, 1, 3, 4, 3)


def test_diagnostics_look_at_all_draws_at_a_grid():
    model = tiny_model()
    draws = _draws(model, chains=2, draws=8)
    found = predictive.diagnose(model, draws, model.views.cameras)
    assert (found.num_chains, found.num_draws) == (2, 8)
    assert found.statistics.mean.shape == (24, 4)
    record = predictive.predict(model, draws, model.views.cameras)
    np.testing.assert_allclose(
        found.statistics.mean[:, :3], record.means.mean(0).reshape(-1, 3), atol=1e-5
    )


def test_noise_of_a_new_view_is_that_of_the_context_views():
    draws = methods.as_draws({"depth": torch.ones(1, 2), "noise_scale": torch.tensor([[0.3, 0.4]])})
    assert float(predictions.noise_of(draws, 0)) == pytest.approx(np.sqrt(0.125))
