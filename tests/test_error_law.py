"""Against the Student-t that the mixture stands for, and against itself."""

import numpy as np
import pytest
from scipy import integrate, stats

from bayes_splat import error_law
from bayes_splat.error_law import FREEDOM, NUMBER

PLACES = np.linspace(-6, 6, 97)


def test_multipliers_make_a_student_t():
    """The distribution function of the mixture of Normals against that of the Student-t."""
    factors = error_law.multipliers(400)
    assert factors.shape == (400,)
    assert (factors > 0).all()
    mixture = stats.norm.cdf(PLACES[:, None] / factors).mean(1)
    np.testing.assert_allclose(mixture, stats.t(FREEDOM).cdf(PLACES), atol=2.0 / 400)
    assert np.abs(stats.norm.cdf(PLACES) - stats.t(FREEDOM).cdf(PLACES)).max() > 6.0 / 400


def test_any_run_of_draws_has_all_sizes():
    factors = error_law.multipliers(400)
    ranks = (np.argsort(np.argsort(factors)) + 0.5) / 400
    for part in np.split(ranks, 8):
        assert abs(part.mean() - 0.5) < 0.05
        assert np.abs(np.sort(part) - (np.arange(50) + 0.5) / 50).max() < 0.08
    assert len(np.unique(factors)) == 400


def test_functions_are_those_of_one_law():
    factors = error_law.multipliers()
    np.testing.assert_allclose(
        error_law.cdf(PLACES), stats.norm.cdf(PLACES[:, None] / factors).mean(1), rtol=1e-9
    )
    slopes = (error_law.cdf(PLACES + 1e-5) - error_law.cdf(PLACES - 1e-5)) / 2e-5
    np.testing.assert_allclose(np.exp(error_law.log_density(PLACES)), slopes, rtol=1e-5)
    grid = np.linspace(-400.0, 400.0, 400_001)
    density = np.exp(error_law.log_density(grid))
    assert integrate.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-6)
    variance = integrate.trapezoid(density * grid**2, grid)
    assert error_law.std() == pytest.approx(np.sqrt(variance), rel=1e-4)
    assert error_law.std() < np.sqrt(FREEDOM / (FREEDOM - 2.0)), "tails end"


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95, 0.999])
def test_quantiles_undo_the_distribution_function(level):
    place = error_law.quantile(level)
    assert error_law.cdf(np.array(place)) == pytest.approx(level, abs=1e-9)
    if level < 0.99:
        assert place == pytest.approx(stats.t(FREEDOM).ppf(level), abs=0.03)


def test_shapes_are_kept_and_what_is_unknown_stays_so():
    errors = np.array([[0.0, np.nan], [50.0, -50.0]])
    for function in (error_law.cdf, error_law.log_density):
        found = function(errors)
        assert found.shape == (2, 2)
        assert np.isnan(found).tolist() == [[False, True], [False, False]]
    assert error_law.cdf(errors)[1].tolist() == pytest.approx([1.0, 0.0], abs=1e-4)
    widest = error_law.multipliers().max()
    far = np.array([1e3, 1e4])
    wanted = stats.norm.logpdf(far, scale=widest) - np.log(NUMBER)
    np.testing.assert_allclose(error_law.log_density(far), wanted, rtol=1e-9)
    assert NUMBER >= 100
