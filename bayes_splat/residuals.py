"""What residuals of held-out photographs say of the noise: how large, and how far it goes together.

Two numbers tell how far: kappa, how many pixels count as one, and what share of the residuals
changes slowly over the picture.

A likelihood of independent pixels takes every pixel for news. Residuals of neighbours are alike,
though (a surface at a wrong depth is wrong as a whole, an exposure shifts a view), and such a
posterior is too sure. What a Gaussian learns of its opacity is the sum of residuals over the pixels
that it covers, weighted by its falloff B (its score). Over what independent pixels would give, the
variance of that sum is

    kappa = sum_pq B_p B_q rho(p - q) / sum_p B_p^2 = sum_d rho(d) exp(-|d|^2 / (4 v)),

rho the correlation of residuals d apart and v the variance of the Normal falloff: the "design
effect" of samples in clusters (Kish 1965, "Survey sampling", section 5.4). A likelihood to the
power 1 / kappa is as sure as its scores vary: the magnitude adjustment of composite likelihoods
(Pauli, Racugno and Ventura 2011, "Bayesian composite marginal likelihoods", Statistica Sinica 21;
Ribatet, Cooley and Davison 2012, "Bayesian inference from composite likelihoods, with an
application to spatial extremes", Statistica Sinica 22), with one factor for all Gaussians. For
Normal noise that is a variance times kappa.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_TRIMMED = 0.1
_KEPT_VARIANCE = 0.6228
"""Variance of a standard Normal without the tenth that is farthest out."""

_NEGLIGIBLE = 1e-3
"""Weights exp(-|d|^2 / (4 v)) below this are left out."""

_SMOOTH, _LEAST_SMOOTH = 1 / 32, 2.0
"""Standard deviation of the blur that what is smooth outlasts: in widths of the picture, and at
least so many pixels. Of independent pixels 2 % outlast one of two pixels."""

_FARTHEST = 2.0
"""Residuals count as no more than so many of their scales."""


def trimmed_scale(
    residuals: Float[np.ndarray, "view height width 3"],
    is_seen: Bool[np.ndarray, "view height width"],
) -> float:
    """Standard deviation of Normal residuals, whatever a tenth of them are.

    Args:
        residuals: colour units.
        is_seen: pixels that count; all do where none is.
    """
    squares = np.square(residuals[_kept(residuals, is_seen)])
    return float(np.sqrt(max(squares.mean(), 1e-8) / _KEPT_VARIANCE))


def design_effect(
    residuals: Float[np.ndarray, "view height width 3"],
    is_seen: Bool[np.ndarray, "view height width"],
    variance: float,
) -> float:
    """kappa: how many pixels count as one in the score of a Gaussian; at least 1.

    Correlations are those of residuals as they are, no mean taken off, since a shift that all
    share misleads as much; without the tenth of largest ones.

    Args:
        residuals: colour units.
        is_seen: pixels that count; all do where none is.
        variance: of the falloff, pixels^2.
    """
    kept = _kept(residuals, is_seen)
    values = np.where(kept, residuals, 0.0)
    mean_square = np.square(values).sum() / kept.sum()
    if mean_square == 0.0:
        return 1.0
    reach = math.floor(math.sqrt(-4.0 * variance * math.log(_NEGLIGIBLE)))
    total = 1.0
    # Half of all distances; those opposite have the same correlation.
    for rows in range(reach + 1):
        for columns in range(-reach if rows else 1, reach + 1):
            weight = math.exp(-(rows**2 + columns**2) / (4.0 * variance))
            if weight >= _NEGLIGIBLE:
                product = _products(values, rows, columns).sum()
                pairs = _products(kept.astype(np.float64), rows, columns).sum()
                total += 2.0 * weight * product / max(pairs, 1.0) / mean_square
    return max(float(total), 1.0)


def smooth_share(
    ratios: Float[np.ndarray, "view height width 3"],
    is_seen: Bool[np.ndarray, "view height width"],
) -> float:
    """What part of the mean square of residuals a blur leaves, in [0, 1].

    Exposure, and light that a surface sends elsewhere, shift whole surfaces and outlast the blur;
    noise and edges that are off by a pixel do not.

    Args:
        ratios: residuals in units of their scales.
        is_seen: pixels that count; all do where none is.
    """
    counts = _counted(ratios, is_seen).astype(np.float64)
    values = counts * np.clip(ratios, -_FARTHEST, _FARTHEST)
    blur = max(_SMOOTH * ratios.shape[2], _LEAST_SMOOTH)
    widths = (0.0, blur, blur, 0.0)
    # Of pixels that count alone: those that do not are no reason for means to be smaller.
    sums, weights = (
        ndimage.gaussian_filter(part, widths, mode="constant") for part in (values, counts)
    )
    smooth = counts * sums / np.maximum(weights, 1e-6)
    whole = np.square(values).sum()
    return min(float(np.square(smooth).sum() / whole), 1.0) if whole > 0.0 else 0.0


def _kept(residuals: np.ndarray, is_seen: np.ndarray) -> Bool[np.ndarray, "view height width 3"]:
    """Which residuals count: seen, and not of the tenth that is farthest out."""
    counts = _counted(residuals, is_seen)
    squares = np.sort(np.square(residuals[counts]))
    largest = squares[max(1, int((1.0 - _TRIMMED) * squares.size)) - 1]
    return np.asarray(counts & (np.square(residuals) <= largest))


def _counted(residuals: np.ndarray, is_seen: np.ndarray) -> Bool[np.ndarray, "view height width 3"]:
    """The pixels that are seen, or all where none is, in every channel."""
    seen = is_seen if is_seen.any() else np.ones_like(is_seen)
    return np.asarray(np.broadcast_to(seen[..., None], residuals.shape))


def _products(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Every value times that so many rows below and columns to the right of it, where it is."""
    height, width = values.shape[1:3]
    left, right = max(-columns, 0), min(width - columns, width)
    here = values[:, : max(height - rows, 0), left : max(right, left)]
    return np.asarray(here * values[:, rows:, left + columns : max(right, left) + columns])
