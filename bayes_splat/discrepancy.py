"""How wrong pictures of new views are beyond the spread of draws: noise that depends on where.

A photograph of a new view differs from the rendered mean by a Student-t error whose squared scale,
pixel by pixel and channel by channel, is a sum of what can be seen in the draws themselves,

    s^2 = a_0 + a_1 V + a_2 T^2 + a_3 E + a_4 m^2,   a >= 0:

V the variance of the draws' pictures, blurred, since draws that are wrong together move edges by
pixels; T the light that gets through all Gaussians, behind which the colour is unknown; E the
squared slope of the mean picture, blurred, as a shift of it makes an error of that size; m the mean
colour, which differences of exposure scale. The coefficients and the degrees of freedom are those
under which the held-out context photographs (``models.cross_views``) are most likely; no target
view is looked at. A discrepancy term in the sense of Kennedy and O'Hagan (2001), "Bayesian
calibration of computer models", section 4.

The draws' own variance is part of s^2. A mixture over draws of Normal(render_k, noise_k) has it
already, so ``noise_scales`` gives the components what is left of s^2, times multipliers that make
the mixture's tails those of a Student-t: its scale mixture of Normals, one multiplier a draw.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage, optimize, special

BLUR = 1.5
"""Standard deviation of the blur of V and E, pixels."""

LEAST_FREEDOM = 3.0
"""Degrees of freedom that are fitted are no fewer: below, a standard deviation says nothing."""

_MOST_FREEDOM = 100.0
_LEAST_VARIANCE = 1e-6
_MOST_NUMBERS = 30000
_FLOOR = 0.05
"""Share of s^2 that a component keeps at least: draws that spread as widely as the error are no
reason for intervals of width zero around each."""

TERMS = ("even", "spread", "unseen", "edges", "exposure")
"""Names of a_0 to a_4."""


class Pictures(NamedTuple):
    """What draws show of some views, summarised.

    Attributes:
        mean: of the pictures, colours in [0, 1].
        variance: of the pictures over draws.
        through: mean share of light that gets through all Gaussians, in [0, 1].
    """

    mean: Float[np.ndarray, "view height width 3"]
    variance: Float[np.ndarray, "view height width 3"]
    through: Float[np.ndarray, "view height width"]


class Discrepancy(NamedTuple):
    """The fitted error of pictures of new views.

    Attributes:
        coefficients: a_0 to a_4, see ``TERMS``; squared colour units, or none.
        freedom: degrees of freedom of the Student-t.
    """

    coefficients: tuple[float, ...]
    freedom: float

    def squared_scale(self, pictures: Pictures) -> Float[np.ndarray, "view height width 3"]:
        """s^2 of every pixel and channel."""
        total = np.full(pictures.mean.shape, _LEAST_VARIANCE)
        for coefficient, term in zip(self.coefficients, _terms(pictures), strict=True):
            total += coefficient * term
        return total

    def noise_scale(self, pictures: Pictures) -> Float[np.ndarray, "view height width 3"]:
        """Scale of the noise around every draw: what is left of s^2 beside the draws' variance."""
        total = self.squared_scale(pictures)
        own = pictures.variance * (self.freedom - 2.0) / self.freedom
        return np.asarray(np.sqrt(np.maximum(total - own, _FLOOR * total)))

    def multipliers(self, number: int) -> Float[np.ndarray, " number"]:
        """By what the noise scale is multiplied in each of so many draws.

        1 / sqrt(w) at evenly spaced quantiles of w ~ Gamma(f/2, rate f/2), in an order that gives
        any run of draws all sizes (multiples of the golden ratio). Nothing is random.
        """
        golden = 0.5 * (math.sqrt(5.0) - 1.0)
        levels = (np.argsort(np.argsort((np.arange(number) * golden) % 1.0)) + 0.5) / number
        half = 0.5 * self.freedom
        return np.asarray(np.sqrt(half / special.gammaincinv(half, levels)))


def fit(pictures: Pictures, observed: Float[np.ndarray, "view height width 3"]) -> Discrepancy:
    """The discrepancy under which held-out photographs are most likely.

    Args:
        pictures: of views that the draws' Gaussians are not born in.
        observed: their photographs.

    Raises:
        ValueError: shapes differ, or numbers are not finite.
    """
    if pictures.mean.shape != observed.shape:
        raise ValueError(
            f"pictures are {pictures.mean.shape} but photographs {observed.shape}; give the same"
        )
    terms = np.stack([term.reshape(-1) for term in _terms(pictures)])
    squares = np.square(observed - pictures.mean).reshape(-1)
    if not (np.isfinite(terms).all() and np.isfinite(squares).all()):
        raise ValueError("pictures or photographs have numbers that are not finite")
    step = max(1, squares.size // _MOST_NUMBERS)
    terms, squares = terms[:, ::step], squares[::step]
    unit = max(float(squares.mean()), _LEAST_VARIANCE) / (terms.mean(1) + 1e-12)
    start = np.append(np.full(len(terms), -1.5), math.log(8.0))
    bounds = [(-14.0, 5.0)] * len(terms) + [(math.log(LEAST_FREEDOM), math.log(_MOST_FREEDOM))]
    found = optimize.minimize(
        lambda x: _energy(x, terms, squares, unit),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
    )
    coefficients = unit * np.exp(found.x[:-1])
    return Discrepancy(tuple(map(float, coefficients)), float(np.exp(found.x[-1])))


def _energy(
    x: np.ndarray, terms: np.ndarray, squares: np.ndarray, unit: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus the mean log density of Student-t errors, and its gradient in the logs."""
    weights, freedom = unit * np.exp(x[:-1]), math.exp(x[-1])
    variance = _LEAST_VARIANCE + sum(w * t for w, t in zip(weights, terms, strict=True))
    ratio = squares / variance
    grown = np.log1p(ratio / freedom)
    constant = (
        special.gammaln(0.5 * freedom)
        - special.gammaln(0.5 * (freedom + 1.0))
        + 0.5 * math.log(freedom * math.pi)
    )
    value = constant + np.mean(0.5 * np.log(variance) + 0.5 * (freedom + 1.0) * grown)
    pull = 0.5 / variance * (1.0 - (freedom + 1.0) * ratio / (freedom + ratio))
    of_terms = [w * np.mean(pull * t) for w, t in zip(weights, terms, strict=True)]
    of_freedom = 0.5 * (
        special.digamma(0.5 * freedom)
        - special.digamma(0.5 * (freedom + 1.0))
        + 1.0 / freedom
        + np.mean(grown - (freedom + 1.0) / freedom * ratio / (freedom + ratio))
    )
    return float(value), np.append(of_terms, freedom * of_freedom)


def _terms(pictures: Pictures) -> list[np.ndarray]:
    """What a_0 to a_4 are multiplied with, [view height width 3] each."""
    mean = np.asarray(pictures.mean, dtype=np.float64)
    down, across = (np.gradient(mean, axis=axis) for axis in (1, 2))
    return [
        np.ones_like(mean),
        _blurred(pictures.variance),
        np.broadcast_to(np.square(pictures.through)[..., None], mean.shape),
        _blurred(np.square(down) + np.square(across)),
        np.square(mean),
    ]


def _blurred(values: np.ndarray) -> np.ndarray:
    widths = (0.0, BLUR, BLUR, 0.0)
    return np.asarray(ndimage.gaussian_filter(values.astype(np.float64), widths, mode="nearest"))
