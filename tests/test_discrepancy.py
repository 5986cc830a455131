import math

import numpy as np
import pytest
from scipy import stats

from bayes_splat import discrepancy
from bayes_splat.discrepancy import TERMS, Discrepancy, Pictures
from tests.helpers_scenes import LIMIT

NUMBER = 400
"""Of draws that share a Student-t."""


def random_pictures(seed: int = 0, views: int = 2, height: int = 60, width: int = 70) -> Pictures:
    """Pictures in which the terms of the error vary, each in its own places."""
    rng = np.random.default_rng(seed)
    shape = (views, height, width)
    blocks = np.kron(rng.random((views, height // 10, width // 10, 3)), np.ones((1, 10, 10, 1)))
    patches = np.kron(rng.random((views, height // 5, width // 5, 1)), np.ones((1, 5, 5, 3)))
    return Pictures(blocks, 0.02 * patches**3, rng.random(shape) ** 2)


def even_parts(pictures: Pictures, freedom: float, size: float = 2e-3) -> Discrepancy:
    """Every term makes about as much of the error."""
    means = [float(term.mean()) for term in discrepancy._terms(pictures)]
    return Discrepancy(tuple(size / mean for mean in means), freedom)


def simulated(pictures: Pictures, truth: Discrepancy, seed: int = 1) -> np.ndarray:
    """Photographs with errors from the Student-t."""
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(truth.freedom, pictures.mean.shape)
    return pictures.mean + np.sqrt(truth.squared_scale(pictures)) * errors


# ----- the scale -----


def test_terms_by_hand():
    """One coefficient at a time, on pictures whose terms are known."""
    shape = (1, 20, 30)
    across = np.arange(30) / 30.0
    mean = np.broadcast_to(across[None, None, :, None], (*shape, 3)).copy()
    pictures = Pictures(mean, np.full((*shape, 3), 0.04), np.full(shape, 0.3))
    inside = (0, slice(8, 12), slice(8, 22))  # away from the borders
    wanted = {
        "even": np.ones_like(mean),
        "spread": np.full_like(mean, 0.04),
        "unseen": np.full_like(mean, 0.09),
        "edges": np.full_like(mean, 1.0 / 900.0),
        "exposure": mean**2,
    }
    assert set(wanted) == set(TERMS)
    for place, term in enumerate(TERMS):
        one = Discrepancy(tuple(float(place == other) for other in range(len(TERMS))), 8.0)
        found = one.squared_scale(pictures)[inside]
        np.testing.assert_allclose(found, wanted[term][inside], rtol=2e-3, atol=1e-5)


def test_squares_add_up():
    """The noise around draws and the draws' own variance make s^2 of the Student-t."""
    pictures = random_pictures()
    some = even_parts(pictures, 6.0)
    scale, total = some.noise_scale(pictures), some.squared_scale(pictures)
    assert (scale > 0).all()
    assert np.isfinite(scale).all()
    assert (scale**2 <= total * (1 + 1e-12)).all()
    whole = scale**2 * 6.0 / 4.0 + pictures.variance
    has_room = scale**2 > 0.2 * total
    assert has_room.mean() > 0.5
    np.testing.assert_allclose(whole[has_room], total[has_room] * 6.0 / 4.0, rtol=1e-9)
    wide = pictures._replace(variance=pictures.variance + 50.0)
    assert (Discrepancy((0.01, 0.0, 0.0, 0.0, 0.0), 6.0).noise_scale(wide) > 0).all()


# ----- tails -----


@pytest.mark.parametrize("freedom", [discrepancy.LEAST_FREEDOM, 8.0, 60.0])
def test_multipliers_make_a_student_t(freedom):
    """The distribution function of the mixture of Normals against that of the Student-t."""
    factors = Discrepancy((1.0,) * len(TERMS), freedom).multipliers(NUMBER)
    assert factors.shape == (NUMBER,)
    assert (factors > 0).all()
    places = np.linspace(-6, 6, 97)
    mixture = stats.norm.cdf(places[:, None] / factors).mean(1)
    np.testing.assert_allclose(mixture, stats.t(freedom).cdf(places), atol=2.0 / NUMBER)
    if freedom < 10.0:
        assert np.abs(stats.norm.cdf(places) - stats.t(freedom).cdf(places)).max() > 6.0 / NUMBER


def test_any_run_of_draws_has_all_sizes():
    factors = Discrepancy((1.0,) * len(TERMS), 5.0).multipliers(NUMBER)
    ranks = (np.argsort(np.argsort(factors)) + 0.5) / NUMBER
    for part in np.split(ranks, 8):
        assert abs(part.mean() - 0.5) < 0.05
        assert np.abs(np.sort(part) - (np.arange(50) + 0.5) / 50).max() < 0.08
    assert len(np.unique(factors)) == NUMBER


# ----- the fit -----


@pytest.mark.parametrize("freedom", [5.0, 20.0])
def test_the_fit_finds_what_errors_were_made_with(freedom):
    """Within the Monte Carlo error that the curvature of the likelihood tells."""
    pictures = random_pictures()
    truth = even_parts(pictures, freedom)
    observed = simulated(pictures, truth)
    found = discrepancy.fit(pictures, observed)
    terms = np.stack([term.reshape(-1) for term in discrepancy._terms(pictures)])
    squares = np.square(observed - pictures.mean).reshape(-1)
    exact = np.log([*truth.coefficients, truth.freedom])
    away = np.log([*found.coefficients, found.freedom]) - exact
    unit, steps = np.ones(len(terms)), 1e-4 * np.eye(len(exact))
    curvature = np.stack(
        [
            discrepancy._energy(exact + step, terms, squares, unit)[1]
            - discrepancy._energy(exact - step, terms, squares, unit)[1]
            for step in steps
        ]
    ) / (2e-4)
    errors = np.sqrt(np.diag(np.linalg.inv(squares.size * curvature)))
    assert (np.abs(away) < LIMIT * errors + 0.02).all()
    assert errors.max() < 0.4, "the data say something of each"


def test_unseen_pixels_are_where_errors_are_found():
    """Errors in nothing but unseen pixels give a scale in nothing but unseen pixels."""
    rng = np.random.default_rng(0)
    pictures = random_pictures()
    through = (rng.random(pictures.through.shape) < 0.3).astype(float)
    pictures = pictures._replace(through=through)
    size = np.where(through, 0.2, 0.02)[..., None]
    observed = pictures.mean + size * rng.standard_normal(pictures.mean.shape)
    scale = np.sqrt(discrepancy.fit(pictures, observed).squared_scale(pictures))
    assert np.median(scale[through == 1]) == pytest.approx(0.2, rel=0.15)
    assert np.median(scale[through == 0]) == pytest.approx(0.02, rel=0.25)


def test_outliers_leave_the_bulk_alone():
    """One pixel in fifty is nowhere near: tails grow heavy, the scale hardly."""
    rng = np.random.default_rng(0)
    pictures = random_pictures()
    clean = pictures.mean + 0.03 * rng.standard_normal(pictures.mean.shape)
    spoilt = np.where(rng.random(clean.shape) < 0.02, rng.random(clean.shape), clean)
    one, other = (discrepancy.fit(pictures, observed) for observed in (clean, spoilt))
    assert other.freedom < one.freedom
    scales = [np.sqrt(np.median(found.squared_scale(pictures))) for found in (one, other)]
    assert scales[0] == pytest.approx(0.03, rel=0.1)
    assert scales[1] < 1.4 * scales[0]


def test_the_gradient_is_the_slope_of_the_energy():
    pictures = random_pictures(views=1, height=10, width=20)
    truth = even_parts(pictures, 6.0)
    squares = np.square(simulated(pictures, truth) - pictures.mean).reshape(-1)
    terms = np.stack([term.reshape(-1) for term in discrepancy._terms(pictures)])
    unit = 1e-3 / terms.mean(1)
    place = np.append(np.linspace(-1.5, 1.0, len(terms)), math.log(5.0))
    value, gradient = discrepancy._energy(place, terms, squares, unit)
    for axis in range(len(place)):
        step = 1e-5 * np.eye(len(place))[axis]
        ahead, behind = (
            discrepancy._energy(place + way * step, terms, squares, unit)[0] for way in (1, -1)
        )
        assert (ahead - behind) / 2e-5 == pytest.approx(gradient[axis], rel=1e-5, abs=1e-8)
    scale = np.sqrt(
        Discrepancy(tuple(unit * np.exp(place[:-1])), 5.0).squared_scale(pictures).reshape(-1)
    )
    errors = np.sqrt(squares)
    by_hand = -stats.t(5.0, scale=scale).logpdf(errors).mean()
    assert value == pytest.approx(by_hand, rel=1e-9)


def test_the_same_photographs_give_the_same_bits():
    pictures = random_pictures()
    observed = simulated(pictures, even_parts(pictures, 5.0))
    assert discrepancy.fit(pictures, observed) == discrepancy.fit(pictures, observed)


def test_perfect_pictures_can_be_fitted():
    pictures = random_pictures()
    found = discrepancy.fit(pictures, pictures.mean)
    assert np.isfinite(found.noise_scale(pictures)).all()
    assert found.noise_scale(pictures).max() < 0.05


def test_what_cannot_be_compared_is_refused():
    pictures = random_pictures()
    with pytest.raises(ValueError, match=r"but photographs \(2, 60, 69, 3\); give the same"):
        discrepancy.fit(pictures, pictures.mean[:, :, 1:])
    spoilt = pictures.mean.copy()
    spoilt[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        discrepancy.fit(pictures, spoilt)
    with pytest.raises(ValueError, match="not finite"):
        discrepancy.fit(pictures._replace(variance=pictures.variance * math.inf), pictures.mean)
