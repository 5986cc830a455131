"""On made-up residuals whose scale and correlation are known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bayes_splat import residuals
from tests.helpers_scenes import LIMIT

EVERYWHERE = np.ones((2, 40, 50), dtype=bool)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def signs(blur: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Correlated residuals of -0.05 and 0.05: none of them is farther out than the others."""
    smooth = ndimage.gaussian_filter(noise(seed, *shape), (0.0, blur, blur, 0.0), mode="wrap")
    return 0.05 * np.sign(smooth)


# ----- the scale -----


def test_the_trimmed_scale_of_normal_residuals_is_their_own():
    normal = 0.04 * noise(0, 2, 40, 50, 3)
    found = residuals.trimmed_scale(normal, EVERYWHERE)
    assert found == pytest.approx(0.04, rel=LIMIT * 1.5 / np.sqrt(2 * normal.size))
    spoilt = normal.copy()
    spoilt[:, ::15, :, :] = 0.8
    assert spoilt.std() > 0.15
    assert residuals.trimmed_scale(spoilt, EVERYWHERE) == pytest.approx(0.04, rel=0.25)


def test_only_pixels_that_are_seen_count():
    partly = np.full((1, 4, 5, 3), 0.9)
    partly[0, :, :3] = 0.01
    is_seen = np.zeros((1, 4, 5), dtype=bool)
    is_seen[0, :, :3] = True
    assert residuals.trimmed_scale(partly, is_seen) < 0.02
    nowhere = np.zeros_like(is_seen)
    assert residuals.trimmed_scale(partly, nowhere) > 0.3, "then all do"
    assert residuals.trimmed_scale(0.0 * partly, is_seen) > 0.0


# ----- how many pixels count as one -----


def test_independent_pixels_count_for_themselves():
    independent = noise(1, 2, 80, 90, 3)
    found = residuals.design_effect(independent, np.ones((2, 80, 90), dtype=bool), 0.46)
    # Twice the sum over half of all distances of weight times a correlation of n^-1/2.
    weights = [
        math.exp(-(y * y + x * x) / 1.84) for y in range(4) for x in range(-4, 5) if y > 0 or x > 0
    ]
    error = 2.0 * math.sqrt(sum(w * w for w in weights) / (0.9 * independent.size))
    assert 1.0 <= found < 1.0 + LIMIT * error


@pytest.mark.parametrize("variance", [0.34, 0.46, 1.5])
def test_a_shift_of_a_whole_view_counts_as_one_pixel_under_a_falloff(variance):
    """kappa is then sum B sum B / sum B^2, 4 pi v for a Normal's falloff."""
    shifted = np.full((1, 60, 70, 3), 0.02)
    found = residuals.design_effect(shifted, np.ones((1, 60, 70), dtype=bool), variance)
    assert found == pytest.approx(4.0 * math.pi * variance, rel=0.03)


@pytest.mark.parametrize(("blur", "least"), [(0.5, 1.3), (1.0, 2.8), (2.0, 4.0)])
def test_it_is_by_how_much_scores_vary_more_than_those_of_independent_pixels(blur, least):
    """The score is the sum of residuals under a falloff, here at quarters of pixels everywhere."""
    variance = 0.46
    wrong_by = signs(blur, 4, 120, 120, 3)
    found = residuals.design_effect(wrong_by, np.ones((4, 120, 120), dtype=bool), variance)
    varied = alone = 0.0
    for shift in itertools.product((0.0, 0.25, 0.5, 0.75), repeat=2):
        y, x = (np.exp(-0.5 * np.square(np.arange(-5, 6) - at) / variance) for at in shift)
        falloff = y[:, None] * x
        scores = ndimage.convolve(wrong_by, falloff[None, :, :, None], mode="wrap")
        varied += np.square(scores).mean()
        alone += np.square(falloff).sum() * 0.05**2
    assert varied / alone > least
    assert found == pytest.approx(varied / alone, rel=0.01)


def test_what_is_not_seen_or_far_out_does_not_count():
    wrong_by = signs(1.0, 2, 40, 50, 3)
    right = residuals.design_effect(wrong_by[:, :, :30], EVERYWHERE[:, :, :30], 0.46)
    is_seen = EVERYWHERE.copy()
    is_seen[:, :, 30:] = False
    hidden = wrong_by.copy()
    hidden[:, :, 30:] = 0.9
    assert residuals.design_effect(hidden, is_seen, 0.46) == pytest.approx(right, rel=1e-12)
    far_out = wrong_by.copy()
    far_out[:, 5:8, :] = 0.9
    found = residuals.design_effect(far_out, EVERYWHERE, 0.46)
    assert found == pytest.approx(residuals.design_effect(wrong_by, EVERYWHERE, 0.46), rel=0.06)


def test_a_likelihood_is_never_made_surer():
    board = np.indices((1, 20, 20)).sum(0)[..., None] % 2 * 0.1 - 0.05
    is_seen = np.ones((1, 20, 20), dtype=bool)
    assert residuals.design_effect(np.repeat(board, 3, -1), is_seen, 0.46) == 1.0
    assert residuals.design_effect(np.zeros((1, 20, 20, 3)), is_seen, 0.46) == 1.0


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.05, 30.0))
def test_pictures_may_be_smaller_than_the_falloff(height, width, variance):
    wrong_by = noise(height + 10 * width, 1, height, width, 3)
    found = residuals.design_effect(wrong_by, np.ones((1, height, width), dtype=bool), variance)
    assert math.isfinite(found)
    assert found >= 1.0


@given(st.floats(0.01, 100.0))
def test_it_does_not_depend_on_the_unit(unit):
    wrong_by = noise(3, 1, 12, 14, 3)
    is_seen = np.ones((1, 12, 14), dtype=bool)
    here, there = (residuals.design_effect(x, is_seen, 0.46) for x in (wrong_by, unit * wrong_by))
    assert here == pytest.approx(there, rel=1e-6)


# ----- what changes slowly -----


def test_of_independent_pixels_little_outlasts_the_blur():
    """1 / (4 pi b^2) of them, b the blur: 2 pixels here, and a 32nd of the width there."""
    for width, blur in ((50, 2.0), (160, 5.0)):
        ratios = noise(3, 2, width, width, 3)
        found = residuals.smooth_share(ratios, np.ones((2, width, width), dtype=bool))
        # Windows are cut at the border, where means are of fewer pixels.
        assert found == pytest.approx(1.0 / (4.0 * np.pi * blur**2), rel=0.35)


def test_shifts_and_waves_outlast_it():
    one = np.ones((2, 40, 50), dtype=bool)
    shift = np.broadcast_to(np.array([0.7, -0.9])[:, None, None, None], (2, 40, 50, 3))
    assert residuals.smooth_share(shift, one) == pytest.approx(1.0)
    places = np.arange(50)[:, None]
    slow, fast = (
        np.broadcast_to(np.sin(2.0 * np.pi * places / period), (2, 40, 50, 3))
        for period in (50.0, 4.0)
    )
    assert residuals.smooth_share(slow, one) > 0.8
    assert residuals.smooth_share(fast, one) < 0.05
    both = residuals.smooth_share(slow + fast, one)
    assert both == pytest.approx(0.5, abs=0.08)


def test_what_is_not_seen_and_what_is_far_out_has_no_say():
    ratios = noise(4, 2, 40, 50, 3)
    is_seen = np.ones((2, 40, 50), dtype=bool)
    is_seen[:, :, 30:] = False
    alone = residuals.smooth_share(np.where(is_seen[..., None], ratios, 0.0), is_seen)
    shifted = np.where(is_seen[..., None], ratios, 9.0)
    assert residuals.smooth_share(shifted, is_seen) == alone
    assert residuals.smooth_share(shifted, EVERYWHERE) > 0.3
    spoilt = ratios.copy()
    spoilt[0, 10:13, 10:13] = 60.0
    assert residuals.smooth_share(spoilt, EVERYWHERE) < 0.08


def test_where_nothing_is_wrong_nothing_is_smooth():
    nothing = np.zeros((1, 5, 6, 3))
    assert residuals.smooth_share(nothing, np.ones((1, 5, 6), dtype=bool)) == 0.0
    nowhere = np.zeros((1, 5, 6), dtype=bool)
    assert residuals.smooth_share(nothing + 1.0, nowhere) == pytest.approx(1.0), "then all count"


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 50))
def test_it_is_a_share(height, width, seed):
    rng = np.random.default_rng(seed)
    is_seen = rng.random((2, height, width)) < 0.7
    found = residuals.smooth_share(noise(seed, 2, height, width, 3), is_seen)
    assert 0.0 <= found <= 1.0
