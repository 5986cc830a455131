"""How wrong pictures of new views are beyond the spread of draws: noise that depends on where.

A photograph of a new view differs from the rendered mean by a Student-t error whose squared scale,
pixel by pixel and channel by channel, is made of what can be seen in the draws themselves,

    u = a_0 + (1 + a_1) V + a_2 T^2 + c T^4,   a >= 0:

V the variance of the draws' pictures, blurred, since draws that are wrong together move edges by
pixels; T the light that gets through all Gaussians; c the variance of colours in the context
photographs, since nothing is known of what lies behind. The coefficients are those under which the
held-out context photographs (``models.cross_views``) are most likely; no target view is looked at.
A discrepancy term in the sense of Kennedy and O'Hagan (2001), "Bayesian calibration of computer
models", section 4.

From held-out views to new ones leads

    s^2 = e (a_0 + (1 + a_1) V) + t (a_2 T^2q + c T^4q),   e = r (1 - l)^2 + l E,

e for every new view: the share l of errors that changes slowly over the picture
(``residuals.smooth_share``) grows with the distance of cameras, E (``bayes_splat.remoteness``),
the rest does not.

The draws' own variance is part of s^2, so errors are those of the mean picture
(``bayes_splat.error_law``).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage, optimize

from bayes_splat.error_law import FREEDOM
from bayes_splat.residuals import smooth_share

ROUGH = {2: 1.9, 3: 2.8}
"""r by the number of context views, that of the last for more of them: with two, a held-out view
has the Gaussians of one, and a new one those of both, which is more of a gain."""

UNSEEN = 0.75
"""t: what nobody saw is as unknown from anywhere."""

THINNING = 0.6
"""q: where only some context views see a surface, all of their Gaussians together let less light
through than those of all but one do, so T of a new view stands for a greater T of a held-out one.
All are constants for all scenes; docs/uncertainty.md says where they come from and what
``benchmarks/constants.py`` finds on random scenes."""

SEEN = 0.5
"""Less light than this gets through where a pixel counts as seen from other views."""

BLUR = 1.5
"""Standard deviation of the blur of V, pixels."""

TERMS = ("even", "spread", "unseen")
"""Names of a_0 to a_2."""

_LEAST_VARIANCE = 1e-6
_MOST_NUMBERS = 30000


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
        coefficients: a_0 to a_2, see ``TERMS``; a_0 and a_2 in squared colour units.
        color_variance: c, squared colour units.
        smooth_share: l, what part of the residuals of held-out views changes slowly.
        num_views: how many were held out, one after another: all context views.
    """

    coefficients: tuple[float, ...]
    color_variance: float
    smooth_share: float
    num_views: int = 2

    def ease(self, remoteness: Float[np.ndarray, " view"]) -> Float[np.ndarray, " view"]:
        """e: by how much more, in squares, new views err than held-out ones where they see.

        Args:
            remoteness: E of every view, see ``bayes_splat.remoteness``.
        """
        rough = ROUGH[min(self.num_views, max(ROUGH))]
        share = self.smooth_share
        return np.asarray(rough * (1.0 - share) ** 2 + share * remoteness)

    def squared_scale(
        self, pictures: Pictures, remoteness: Float[np.ndarray, " view"]
    ) -> Float[np.ndarray, "view height width 3"]:
        """s^2 of every pixel and channel of new views."""
        thinned = pictures._replace(through=np.power(pictures.through.clip(0.0, 1.0), THINNING))
        (_, variance, through), _ = _terms(thinned, self.color_variance)
        even, spread, unseen = self.coefficients
        seen = even + (1.0 + spread) * variance
        nothing = unseen * through + self.color_variance * np.square(through)
        ease = self.ease(remoteness)[:, None, None, None]
        return np.asarray(ease * seen + UNSEEN * nothing + _LEAST_VARIANCE)


def fit(pictures: Pictures, observed: Float[np.ndarray, "view height width 3"]) -> Discrepancy:
    """The discrepancy under which held-out photographs are most likely, u their squared scale.

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
    color_variance = float(observed.reshape(-1, 3).var(0).mean())
    parts, given = _terms(pictures, color_variance)
    terms, known = np.stack([part.reshape(-1) for part in parts]), given.reshape(-1)
    wrong_by = observed - pictures.mean
    squares = np.square(wrong_by).reshape(-1)
    if not (np.isfinite(terms).all() and np.isfinite(squares).all()):
        raise ValueError("pictures or photographs have numbers that are not finite")
    step = max(1, squares.size // _MOST_NUMBERS)
    terms, known, squares = terms[:, ::step], known[::step], squares[::step]
    unit = max(float(squares.mean()), _LEAST_VARIANCE) / (terms.mean(1) + 1e-12)
    found = optimize.minimize(
        lambda x: _energy(x, terms, known, squares, unit),
        np.full(len(terms), -1.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-14.0, 5.0)] * len(terms),
    )
    coefficients = tuple(map(float, unit * np.exp(found.x)))
    scale = _weighted(parts, given, coefficients)
    return Discrepancy(
        coefficients,
        color_variance,
        smooth_share=smooth_share(wrong_by / np.sqrt(scale), pictures.through < SEEN),
        num_views=len(observed),
    )


def _energy(
    x: np.ndarray, terms: np.ndarray, known: np.ndarray, squares: np.ndarray, unit: np.ndarray
) -> tuple[float, np.ndarray]:
    """Minus the mean log density of Student-t errors up to a constant, and its gradient.

    Args:
        x: logs of the coefficients over ``unit``.
        terms: what they are multiplied with, [term number].
        known: the part of u without coefficients.
        squares: of the errors.
        unit: of every coefficient.
    """
    weights = unit * np.exp(x)
    variance = known + sum(w * t for w, t in zip(weights, terms, strict=True))
    ratio = squares / variance
    grown = (FREEDOM + 1.0) * np.log1p(ratio / FREEDOM)
    value = 0.5 * np.mean(np.log(variance) + grown)
    pull = 0.5 / variance * (1.0 - (FREEDOM + 1.0) * ratio / (FREEDOM + ratio))
    slopes = [w * np.mean(pull * t) for w, t in zip(weights, terms, strict=True)]
    return float(value), np.array(slopes)


def _weighted(
    terms: list[np.ndarray], known: np.ndarray, coefficients: tuple[float, ...]
) -> np.ndarray:
    """u: the squared scale of errors of held-out views, from what ``_terms`` gives."""
    scale = known
    for coefficient, term in zip(coefficients, terms, strict=True):
        scale = scale + coefficient * term
    return scale


def _terms(pictures: Pictures, color_variance: float) -> tuple[list[np.ndarray], np.ndarray]:
    """What a_0 to a_2 are multiplied with, and the rest of u: [view height width 3] each."""
    shape = pictures.mean.shape
    widths = (0.0, BLUR, BLUR, 0.0)
    variance = np.asarray(pictures.variance, dtype=np.float64)
    spread = ndimage.gaussian_filter(variance, widths, mode="nearest")
    through = np.broadcast_to(np.square(pictures.through)[..., None], shape).astype(np.float64)
    known = spread + color_variance * np.square(through) + _LEAST_VARIANCE
    return [np.ones(shape), spread, through], known
