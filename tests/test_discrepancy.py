import math

import numpy as np
import pytest
from scipy import stats

from bayes_splat import discrepancy
from bayes_splat.discrepancy import (
    ROUGH,
    TERMS,
    THINNING,
    UNSEEN,
    Discrepancy,
    Pictures,
)
from bayes_splat.error_law import FREEDOM
from tests.helpers_scenes import LIMIT

SHARE = 0.4
"""Of errors that change slowly."""

EASE = ROUGH[2] * 0.6**2 + 0.4 * 0.25
"""e of that share half-way between two context views."""


def between(views: int = 1) -> np.ndarray:
    """So remote are views half-way between two context views."""
    return np.full(views, 0.25)


def random_pictures(seed: int = 0, views: int = 2, height: int = 60, width: int = 70) -> Pictures:
    """Pictures in which the terms of the error vary, each in its own places."""
    rng = np.random.default_rng(seed)
    shape = (views, height, width)
    blocks = np.kron(rng.random((views, height // 10, width // 10, 3)), np.ones((1, 10, 10, 1)))
    patches = np.kron(rng.random((views, height // 5, width // 5, 1)), np.ones((1, 5, 5, 3)))
    return Pictures(blocks, 0.02 * patches**3, rng.random(shape) ** 2)


def even_parts(pictures: Pictures, size: float = 2e-3) -> Discrepancy:
    """Every term makes about as much of the error."""
    terms, _ = discrepancy._terms(pictures, 0.0)
    return Discrepancy(tuple(size / float(term.mean()) for term in terms), 0.01, SHARE)


def plain(pictures: Pictures, some: Discrepancy) -> np.ndarray:
    """u, the squared scale of held-out views."""
    return discrepancy._weighted(
        *discrepancy._terms(pictures, some.color_variance), some.coefficients
    )


def simulated(pictures: Pictures, truth: Discrepancy, seed: int = 1) -> np.ndarray:
    """Photographs with errors from the Student-t that ``fit`` assumes."""
    errors = np.random.default_rng(seed).standard_t(FREEDOM, pictures.mean.shape)
    return pictures.mean + np.sqrt(plain(pictures, truth)) * errors


# ----- the scale -----


@pytest.mark.parametrize("term", TERMS)
def test_terms_by_hand(term):
    """One coefficient at a time, on pictures whose terms are known."""
    shape = (1, 20, 30)
    pictures = Pictures(np.zeros((*shape, 3)), np.full((*shape, 3), 0.04), np.full(shape, 0.3))
    wanted = {"even": 1.0, "spread": 0.04, "unseen": 0.09}
    assert set(wanted) == set(TERMS)
    none = Discrepancy((0.0,) * len(TERMS), 0.2, SHARE)
    alone = none._replace(coefficients=tuple(2.0 * float(term == other) for other in TERMS))
    found = plain(pictures, none)
    np.testing.assert_allclose(found, 0.04 + 0.2 * 0.3**4, rtol=1e-4)
    more = plain(pictures, alone) - found
    np.testing.assert_allclose(more, 2.0 * wanted[term], rtol=1e-9)


def test_new_views_by_hand():
    """What is seen errs by e, what is not by t, and the light that gets through counts for more."""
    shape = (1, 20, 30)
    pictures = Pictures(np.zeros((*shape, 3)), np.full((*shape, 3), 0.04), np.full(shape, 0.3))
    some = Discrepancy((0.01, 0.5, 0.1), 0.2, SHARE)
    thinned = 0.3**THINNING
    seen, unseen = 0.01 + 1.5 * 0.04, 0.1 * thinned**2 + 0.2 * thinned**4
    wanted = EASE * seen + UNSEEN * unseen
    np.testing.assert_allclose(some.squared_scale(pictures, between()), wanted, rtol=1e-4)


def test_errors_that_change_slowly_grow_with_the_distance_and_others_do_not():
    """Linearly; the rest is that of all views alike."""
    pictures = random_pictures(views=3)
    slow, none, every = (
        even_parts(pictures)._replace(smooth_share=share) for share in (SHARE, 0.0, 1.0)
    )
    far = np.array([0.25, 1.0, 3.0])
    np.testing.assert_allclose(none.ease(far), ROUGH[2])
    np.testing.assert_allclose(every.ease(far), far)
    np.testing.assert_allclose(np.diff(slow.ease(far)), SHARE * np.diff(far))
    assert slow.ease(between())[0] == pytest.approx(EASE)
    opaque = pictures._replace(through=np.zeros((3, 60, 70)))
    near, remote = (slow.squared_scale(opaque, where) for where in (np.ones(3), far))
    for view in range(3):
        ratio = slow.ease(far)[view] / slow.ease(np.ones(1))[0]
        np.testing.assert_allclose(remote[view], ratio * near[view], rtol=1e-2)


def test_held_out_views_of_three_err_more_as_new_ones_do():
    """They have the Gaussians of two views, and new ones those of three."""
    pictures, observed = random_pictures(), np.random.default_rng(5).random((2, 60, 70, 3))
    two = discrepancy.fit(pictures, observed)
    twice = Pictures(*(np.concatenate([part, part]) for part in pictures))
    four = discrepancy.fit(twice, np.concatenate([observed, observed]))
    assert (two.num_views, four.num_views) == (2, 4)
    assert four.smooth_share == pytest.approx(two.smooth_share)
    nowhere = np.zeros(1)
    ratio = four.ease(nowhere) / two.ease(nowhere)
    np.testing.assert_allclose(ratio, ROUGH[3] / ROUGH[2], rtol=1e-6)


def test_what_is_not_seen_is_as_uncertain_as_colors_are():
    """Where all light gets through, s^2 is t times the variance of the photographs' colours."""
    nothing = np.zeros((1, 4, 5, 3))
    some = Discrepancy((0.0,) * len(TERMS), 0.07, SHARE)
    seen, half, unseen = (
        some.squared_scale(Pictures(nothing, nothing, np.full((1, 4, 5), through)), between())
        for through in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(unseen, UNSEEN * 0.07, rtol=1e-4)
    assert seen.max() < 1e-3 * unseen.min()
    assert (seen < half).all()
    assert (half < unseen).all()


def test_light_that_gets_through_is_taken_for_a_share_whatever_rounding_says():
    nothing = np.zeros((1, 4, 5, 3))
    some = Discrepancy((0.0,) * len(TERMS), 0.07, SHARE)
    below, at = (
        some.squared_scale(Pictures(nothing, nothing, np.full((1, 4, 5), through)), between())
        for through in (-1e-7, 0.0)
    )
    np.testing.assert_array_equal(below, at)


def test_the_spread_of_draws_is_blurred_inside_its_view():
    """Edges that draws disagree about may lie some pixels off; other views have no say."""
    variance = np.zeros((2, 15, 15, 3))
    variance[0, 7, 7, 1] = 1.0
    pictures = Pictures(np.zeros_like(variance), variance, np.zeros((2, 15, 15)))
    some = Discrepancy((0.0,) * len(TERMS), 0.0, SHARE)
    u, found = plain(pictures, some), some.squared_scale(pictures, between(2))
    assert found[0, 7, 7, 1] > found[0, 7, 9, 1] > found[0, 0, 0, 1]
    assert found[0, 7, 9, 1] == pytest.approx(found[0, 9, 7, 1])
    assert found[..., [0, 2]].max() == found[1].max() == found.min()
    assert u[0, ..., 1].sum() - u.min() * 225 == pytest.approx(1.0, rel=1e-3)


# ----- the fit -----


def of_fit(pictures: Pictures, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms, known part and squares, as ``_energy`` takes them."""
    parts, known = discrepancy._terms(pictures, float(observed.reshape(-1, 3).var(0).mean()))
    squares = np.square(observed - pictures.mean).reshape(-1)
    return np.stack([part.reshape(-1) for part in parts]), known.reshape(-1), squares


def test_the_fit_finds_what_errors_were_made_with():
    """Within the Monte Carlo error that the curvature of the likelihood tells.

    Photographs are of known colours, so that their variance is that which errors were made with.
    """
    pictures = random_pictures()
    truth = even_parts(pictures, 4e-3)
    for _ in range(20):  # the variance of the photographs' colours is part of their errors
        observed = simulated(pictures, truth)
        truth = truth._replace(color_variance=float(observed.reshape(-1, 3).var(0).mean()))
    observed = simulated(pictures, truth)
    found = discrepancy.fit(pictures, observed)
    assert found.color_variance == pytest.approx(truth.color_variance, rel=1e-3)
    exact = np.log(truth.coefficients)
    inputs = of_fit(pictures, observed)
    curvature = np.stack(
        [
            discrepancy._energy(exact + step, *inputs, np.ones(len(TERMS)))[1]
            - discrepancy._energy(exact - step, *inputs, np.ones(len(TERMS)))[1]
            for step in 1e-4 * np.eye(len(TERMS))
        ]
    ) / (2e-4)
    errors = np.sqrt(np.diag(np.linalg.inv(inputs[2].size * curvature)))
    assert (np.abs(np.log(found.coefficients) - exact) < LIMIT * errors + 0.02).all()
    assert errors.max() < 0.3, "the data say something of each"


def test_unseen_pixels_are_where_errors_are_found():
    """Errors in nothing but unseen pixels give a scale in nothing but unseen pixels."""
    rng = np.random.default_rng(0)
    through = (rng.random((2, 60, 70)) < 0.3).astype(float)
    flat = np.full((2, 60, 70, 3), 0.5)
    pictures = Pictures(flat, np.zeros_like(flat), through)
    size = np.where(through, 0.2, 0.02)[..., None]
    observed = pictures.mean + size * rng.standard_t(FREEDOM, flat.shape)
    scale = np.sqrt(plain(pictures, discrepancy.fit(pictures, observed)))
    seen = scale[through == 0]
    assert np.median(seen) == pytest.approx(0.02, rel=0.1)
    assert np.median(scale[through == 1]) > 8.0 * np.median(seen)


def test_the_fit_tells_errors_that_change_slowly_from_others():
    """Shifts of whole pictures, and noise of the same size, beside each other."""
    rng = np.random.default_rng(3)
    flat = np.full((2, 60, 70, 3), 0.5)
    pictures = Pictures(flat, np.zeros_like(flat), np.zeros((2, 60, 70)))
    shift, noise = (
        0.03 * np.array([1.0, -1.0])[:, None, None, None],
        0.03 * rng.normal(size=flat.shape),
    )
    shares = [
        discrepancy.fit(pictures, flat + wrong_by).smooth_share
        for wrong_by in (noise, shift + noise, shift + 0.0 * noise)
    ]
    assert shares[0] < 0.05
    assert shares[1] == pytest.approx(0.5, abs=0.05)
    assert shares[2] > 0.99
    hidden = pictures._replace(through=pictures.through + (np.arange(70) < 35))
    partly = discrepancy.fit(hidden, flat + np.where(np.arange(70)[:, None] < 35, shift, noise))
    assert partly.smooth_share < 0.05, "what no other view sees has no say"


def test_outliers_leave_the_bulk_alone():
    """One number in fifty is nowhere near: the scale hardly grows."""
    rng = np.random.default_rng(0)
    pictures = random_pictures()
    pictures = pictures._replace(
        variance=np.zeros_like(pictures.variance), through=np.zeros_like(pictures.through)
    )
    clean = pictures.mean + 0.03 * rng.standard_t(FREEDOM, pictures.mean.shape)
    spoilt = np.where(rng.random(clean.shape) < 0.02, rng.random(clean.shape), clean)
    scales = [
        np.sqrt(np.median(plain(pictures, discrepancy.fit(pictures, observed))))
        for observed in (clean, spoilt)
    ]
    assert scales[0] == pytest.approx(0.03, rel=0.1)
    assert scales[1] < 1.3 * scales[0]
    assert (spoilt - pictures.mean).std() > 1.05 * (clean - pictures.mean).std()


def test_the_gradient_is_the_slope_of_the_energy():
    pictures = random_pictures(views=1, height=10, width=20)
    observed = simulated(pictures, even_parts(pictures))
    terms, known, squares = of_fit(pictures, observed)
    unit = 1e-3 / terms.mean(1)
    place = np.linspace(-1.5, 1.0, len(TERMS))
    value, gradient = discrepancy._energy(place, terms, known, squares, unit)
    for axis, step in enumerate(1e-5 * np.eye(len(TERMS))):
        ahead, behind = (
            discrepancy._energy(place + way * step, terms, known, squares, unit)[0]
            for way in (1, -1)
        )
        assert (ahead - behind) / 2e-5 == pytest.approx(gradient[axis], rel=1e-5, abs=1e-8)

    def by_hand(coefficients: np.ndarray) -> float:
        some = Discrepancy(tuple(coefficients), float(observed.reshape(-1, 3).var(0).mean()), SHARE)
        scale = np.sqrt(plain(pictures, some).reshape(-1))
        return float(-stats.t(FREEDOM, scale=scale).logpdf(np.sqrt(squares)).mean())

    other = discrepancy._energy(place + 0.3, terms, known, squares, unit)[0]
    change = by_hand(unit * np.exp(place + 0.3)) - by_hand(unit * np.exp(place))
    assert other - value == pytest.approx(change, rel=1e-9)


def test_the_same_photographs_give_the_same_bits():
    pictures = random_pictures()
    observed = simulated(pictures, even_parts(pictures))
    assert discrepancy.fit(pictures, observed) == discrepancy.fit(pictures, observed)


def test_perfect_pictures_can_be_fitted():
    """What is left is what draws themselves are unsure of."""
    pictures = random_pictures()
    sure = pictures._replace(
        variance=np.zeros_like(pictures.variance), through=np.zeros_like(pictures.through)
    )
    found = discrepancy.fit(sure, sure.mean)
    assert np.isfinite(found.squared_scale(pictures, between(2))).all()
    assert found.squared_scale(sure, between(2)).max() < 1e-4


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
