"""Scores of pictures, depths and their uncertainties, on target views.

Every function takes arrays of any shape, pairs them number by number and leaves out pairs in which
either is NaN (a pixel without truth). Colours lie in [0, 1]; depths are in scene units.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from scipy import integrate, special, stats

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Levels 0.05, 0.10, ..., 0.95 of the central intervals in ``expected_calibration_error``."""

FRACTIONS = tuple(round(0.01 * i, 2) for i in range(100))
"""Removed shares 0, 0.01, ..., 0.99 of the sparsification curves in ``ause``."""

Metric = Literal["mae", "rmse"]


def psnr(image: Shaped[np.ndarray, "*shape"], truth: Shaped[np.ndarray, "*shape"]) -> float:
    """Peak signal-to-noise ratio in decibels, -10 log10 of the mean squared error.

    The image is clipped to [0, 1] first, as a screen would; infinite for equal pictures.
    """
    image, truth = _known(image, truth)
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(np.square(np.clip(image, 0, 1) - truth))))


def coverage_from_pit(pit: Shaped[np.ndarray, "*shape"], level: float) -> float:
    """Share of observations inside the central interval of the given level.

    Args:
        pit: predictive distribution function at each observation (``Prediction.pit``).
        level: nominal probability of the interval, such as 0.9.
    """
    (pit,) = _known(pit)
    return float(np.mean(np.abs(pit - 0.5) <= 0.5 * level))


def expected_calibration_error(
    pit: Shaped[np.ndarray, "*shape"], levels: Sequence[float] = LEVELS
) -> float:
    """Mean absolute gap between coverage and level (Kuleshov, Fenner and Ermon 2018)."""
    return float(np.mean([abs(coverage_from_pit(pit, level) - level) for level in levels]))


def ause(
    error: Shaped[np.ndarray, "*shape"],
    std: Shaped[np.ndarray, "*shape"],
    metric: Metric = "mae",
    fractions: Sequence[float] = FRACTIONS,
) -> float:
    """Area under the sparsification error (Ilg et al. 2018), over the error at share 0.

    Remove pixels from the most to the least uncertain and follow the error of those that remain;
    do the same from the greatest to the least error; the area is between the two curves. 0 is
    perfect, ``random_ause`` is what an uninformative std gets.

    Args:
        error: absolute error of each pixel (signs are dropped).
        std: predicted standard deviation. Equal ones are removed in random order, in expectation.
        metric: mean absolute error, or root mean squared error, of the remaining pixels.
        fractions: increasing removed shares in [0, 1).

    Returns:
        The area, in shares of the error of all pixels; NaN if that error is 0.
    """
    error, std = _known(np.abs(error), std)
    if not error.any():
        return float("nan")
    given = sparsification_curve(error, std, metric, fractions)
    oracle = sparsification_curve(error, error, metric, fractions)
    return float(integrate.trapezoid(given - oracle, fractions) / given[0])


def random_ause(
    error: Shaped[np.ndarray, "*shape"],
    metric: Metric = "mae",
    fractions: Sequence[float] = FRACTIONS,
) -> float:
    """``ause`` of a removal in random order, in expectation: the value to beat."""
    (error,) = _known(np.abs(error))
    return ause(error, np.zeros_like(error), metric, fractions)


def sparsification_curve(
    error: Float[np.ndarray, " n"],
    order: Float[np.ndarray, " n"],
    metric: Metric = "mae",
    fractions: Sequence[float] = FRACTIONS,
) -> Float[np.ndarray, " fraction"]:
    """Error of what remains after the given shares with the greatest ``order`` are removed.

    Pixels of equal ``order`` count with their mean, which is what a random order among them gives
    in expectation (for "rmse": the squares are averaged).
    """
    powered = np.square(error) if metric == "rmse" else np.abs(error)
    _, group, sizes = np.unique(order, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, powered) / sizes)[group]
    sums = np.cumsum(expected[np.argsort(order, kind="stable")])
    removed = np.floor(np.asarray(fractions) * len(error) + 1e-9).astype(int)
    kept = np.maximum(len(error) - removed, 1)
    curve = sums[kept - 1] / kept
    return np.asarray(np.sqrt(curve) if metric == "rmse" else curve)


def spearman(a: Shaped[np.ndarray, "*shape"], b: Shaped[np.ndarray, "*shape"]) -> float:
    """Spearman rank correlation, ties with their mean rank; NaN if either is constant."""
    a, b = _known(a, b)
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def nll_gaussian_mixture(
    means: Float[np.ndarray, "draw ..."],
    stds: Float[np.ndarray, "draw ..."],
    observed: Shaped[np.ndarray, "..."],
) -> float:
    """Mean over observations of -log mean over draws of Normal(observed; mean, std), in nats."""
    residual = (observed - means) / stds
    log_normal = -0.5 * np.square(residual) - np.log(stds) - 0.5 * np.log(2 * np.pi)
    return float(np.nanmean(np.log(len(means)) - special.logsumexp(log_normal, axis=0)))


def crps_gaussian_mixture(
    means: Float[np.ndarray, "draw ..."],
    stds: Float[np.ndarray, "draw ..."],
    observed: Shaped[np.ndarray, "..."],
) -> float:
    """Mean continuous ranked probability score of the mixture, in the unit of the observations.

    Exact (Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5): with A(m, s^2) the mean of |X| for
    X ~ Normal(m, s^2), mean_i A(y - m_i, s_i^2) - mean_ij A(m_i - m_j, s_i^2 + s_j^2) / 2. Time
    grows with the square of the draws: thin them to a few hundred.
    """
    near = _mean_absolute(observed - means, stds).mean(0)
    spread = np.zeros(np.shape(observed))
    for mean, std in zip(means, stds, strict=True):
        spread += _mean_absolute(means - mean, np.hypot(stds, std)).mean(0) / len(means)
    return float(np.nanmean(near - 0.5 * spread))


def absolute_relative_error(
    depth: Shaped[np.ndarray, "*shape"], truth: Shaped[np.ndarray, "*shape"]
) -> float:
    """Mean of |depth - truth| / truth (Eigen, Puhrsch and Fergus 2014)."""
    depth, truth = _known(depth, truth)
    return float(np.mean(np.abs(depth - truth) / truth))


def depth_inliers(
    depth: Shaped[np.ndarray, "*shape"],
    truth: Shaped[np.ndarray, "*shape"],
    threshold: float = 1.25,
) -> float:
    """Share of pixels with max(depth / truth, truth / depth) below the threshold ("delta < 1.25").

    A depth that is not positive is never an inlier.
    """
    depth, truth = _known(depth, truth)
    is_near = (depth < threshold * truth) & (truth < threshold * depth)
    return float(np.mean(is_near & (depth > 0)))


def _known(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The arrays as flat float64, without the places where any is NaN."""
    flat = [np.asarray(array, dtype=np.float64).ravel() for array in arrays]
    is_known = ~np.any([np.isnan(array) for array in flat], axis=0)
    return tuple(array[is_known] for array in flat)


def _mean_absolute(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E|X| for X ~ Normal(mean, std^2)."""
    z = mean / std
    density = np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
    return np.asarray(2 * std * density + mean * (2 * special.ndtr(z) - 1))
