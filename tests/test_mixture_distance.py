import numpy as np
import pytest

from bayes_splat.mixture_distance import mean_distance


def _exact(means, stds):
    """By the closed form, pair by pair."""
    from scipy import special

    apart = np.abs(means[:, :, None] - means[:, None])
    std = np.sqrt(stds[:, :, None] ** 2 + stds[:, None] ** 2)
    z = apart / std
    density = np.sqrt(2 / np.pi) * np.exp(-0.5 * z**2)
    return (std * density + apart * special.erf(z / np.sqrt(2))).mean((1, 2))


@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0, 4.0, 100.0])
def test_agrees_with_the_closed_form(spread):
    rng = np.random.default_rng(0)
    means = spread * rng.normal(size=(30, 9))
    stds = rng.uniform(0.5, 2.0, (30, 9))
    np.testing.assert_allclose(mean_distance(means, stds), _exact(means, stds), rtol=1e-5)


def test_one_normal_by_hand():
    # Two draws differ by sqrt(2) s Z, and E|Z| = sqrt(2 / pi).
    found = mean_distance(np.array([[3.0]]), np.array([[0.5]]))
    assert found[0] == pytest.approx(1 / np.sqrt(np.pi))


def test_unknown_components_are_left_out():
    means = np.array([[0.0, np.nan, 1.0], [np.nan, np.nan, np.nan]])
    stds = np.full((2, 3), 0.3)
    found = mean_distance(means, stds)
    assert found[0] == pytest.approx(_exact(np.array([[0.0, 1.0]]), stds[:1, :2])[0])
    assert np.isnan(found[1])


def test_single_precision():
    rng = np.random.default_rng(1)
    means, stds = rng.normal(size=(20, 6)), rng.uniform(0.1, 1, (20, 6))
    found = mean_distance(means.astype(np.float32), stds.astype(np.float32))
    np.testing.assert_allclose(found, _exact(means, stds), rtol=1e-5)
