import logging
import warnings

import numpy as np
import pytest

from bayes_splat import convergence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz as az


def make_chains(num_chains, num_draws, seed=0):
    """Sixty series: iid, slow AR(1), antithetic, one chain shifted, one stuck, with ties."""
    x = np.random.default_rng(seed).normal(size=(num_chains, num_draws, 60))
    for t in range(1, num_draws):
        x[:, t, 10:30] = 0.95 * x[:, t - 1, 10:30] + 0.3 * x[:, t, 10:30]
        x[:, t, 30:35] = -0.8 * x[:, t - 1, 30:35] + 0.6 * x[:, t, 30:35]
    x[0, :, 35:40] += 3
    if num_chains > 1:  # a constant has no R-hat and no error: ArviZ decides by rounding there
        x[-1, :, 40:45] = x[-1, :1, 40:45]
    x[..., 45:50] = np.round(x[..., 45:50])
    x[0, :, 50:55] *= 5
    return x


def by_arviz(quantity, chains):
    """One series at a time, in the array form that ArviZ 0.23 and 1.x both take."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if quantity == "rhat":
            return az.rhat(chains)
        if quantity == "mcse_mean":
            return az.mcse(az.convert_to_dataset({"x": chains}))["x"]
        if quantity == "ess_tail":
            return az.ess(chains, method="tail", prob=(0.05, 0.95))
        return az.ess(chains, method="bulk")


@pytest.mark.parametrize("quantity", ["rhat", "ess_bulk", "ess_tail", "mcse_mean"])
@pytest.mark.parametrize("shape", [(4, 250), (1, 33), (2, 4), (3, 5), (4, 11)])
def test_equals_arviz(quantity, shape):
    logging.getLogger("arviz").setLevel(logging.ERROR)
    chains = make_chains(*shape)
    ours = getattr(convergence, quantity)(chains)
    reference = [float(by_arviz(quantity, chains[..., i])) for i in range(chains.shape[-1])]
    np.testing.assert_allclose(ours, reference, rtol=1e-6)


def test_keeps_the_trailing_axes():
    chains = make_chains(4, 50)
    folded = convergence.ess_bulk(chains.reshape(4, 50, 6, 10))
    np.testing.assert_array_equal(folded, convergence.ess_bulk(chains).reshape(6, 10))
    assert convergence.rhat(chains[..., 0]).shape == ()


def test_pieces_do_not_change_the_answer(monkeypatch):
    chains = make_chains(4, 50)
    whole = convergence.ess_tail(chains)
    monkeypatch.setattr(convergence, "_CHUNK", 4 * 50 * 7)
    np.testing.assert_array_equal(convergence.ess_tail(chains), whole)


def test_ess_of_iid_and_ar1_chains_is_the_known_one():
    """AR(1) with coefficient r has N (1 - r) / (1 + r) effective draws."""
    chains = np.random.default_rng(1).normal(size=(4, 2000, 40))
    assert np.median(convergence.ess_bulk(chains)) == pytest.approx(8000, rel=0.05)
    for t in range(1, 2000):
        chains[:, t] += 0.8 * chains[:, t - 1]
    assert np.median(convergence.ess_bulk(chains)) == pytest.approx(8000 / 9, rel=0.1)


def test_mcse_is_the_spread_of_means_over_repetitions():
    chains = np.random.default_rng(2).normal(size=(4, 500, 400))
    for t in range(1, 500):
        chains[:, t] += 0.5 * chains[:, t - 1]
    spread = chains.mean((0, 1)).std()
    assert np.median(convergence.mcse_mean(chains)) == pytest.approx(spread, rel=0.15)


def test_chains_that_stand_still():
    same = np.full((4, 20, 1), 0.3)
    assert np.isnan(convergence.rhat(same)).all()
    different = same + np.arange(4)[:, None, None]
    assert np.isinf(convergence.rhat(different)).all()
    assert (convergence.ess_bulk(different) < 10).all()


@pytest.mark.parametrize("quantity", ["rhat", "ess_bulk", "ess_tail", "mcse_mean"])
def test_says_nan_where_it_cannot_say(quantity):
    function = getattr(convergence, quantity)
    assert np.isnan(function(np.random.default_rng(0).normal(size=(4, 3, 2)))).all()
    assert function(np.zeros((4, 0, 2))).shape == (2,)
    chains = np.random.default_rng(0).normal(size=(4, 20, 2))
    chains[1, 3, 0] = np.inf
    assert np.isnan(function(chains)).tolist() == [True, False]


def test_single_chain_has_no_rhat():
    assert np.isnan(convergence.rhat(np.random.default_rng(0).normal(size=(1, 100, 2)))).all()


@pytest.mark.parametrize(
    "function",
    [convergence.rhat, convergence.ess_bulk, convergence.ess_tail, convergence.mcse_mean],
)
def test_thousands_of_pixels_at_once_are_each_as_alone(function):
    chains = np.random.default_rng(0).normal(size=(4, 250, 1024, 4)).astype(np.float32)
    values = function(chains)
    assert values.shape == (1024, 4)
    np.testing.assert_allclose(values[-1], function(chains[:, :, -1]), rtol=1e-6)


def test_ess_of_chains_does_not_see_whether_they_agree():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 500, 30))
    assert convergence.ess_of_chains(x) == pytest.approx(np.full(30, 500), rel=0.3)
    apart = x + 10 * np.arange(4)[:, None, None]
    assert convergence.ess_of_chains(apart).min() > 300
    assert convergence.ess_bulk(apart).max() < 10


def test_drift_is_rare_by_chance_and_sure_in_a_trend():
    rng = np.random.default_rng(0)
    slow = np.cumsum(rng.normal(size=(4, 200, 2000)), axis=1)  # far from stationary, no direction
    assert (convergence.drift(slow) < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    trend = rng.normal(size=(4, 200, 50)) + np.linspace(0, 3, 200)[:, None]
    assert (convergence.drift(trend) < 0.01).mean() > 0.9
    assert np.isnan(convergence.drift(trend[:2])).all()
