"""Scores of a distribution over depth buckets where the depth is known.

How far the best depth is off is measured by ``metrics.absolute_relative_error`` and
``metrics.depth_inliers``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

LEVELS = (*(round(0.1 * i, 1) for i in range(1, 10)), 0.95)
"""Probabilities 0.1, 0.2, ..., 0.9, 0.95 of the sets of buckets in ``reliability``."""

_ROUNDING = 1e-6  # of sums of single-precision probabilities


def nll_over_disparity(
    log_prob: Shaped[np.ndarray, "*shape"],
    depth: Shaped[np.ndarray, "*shape"],
    near: Shaped[np.ndarray, "*shape"],
    far: Shaped[np.ndarray, "*shape"],
) -> float:
    """Mean negative log density of the true depths, over relative disparity, in nats a pixel.

    Relative disparity is u = (1/near - 1/depth) / (1/near - 1/far), so that the number does not
    depend on the unit of depth and 0 is what a distribution even in u between near and far gets;
    the density over u is the one over depth divided by du/ddepth = 1 / (depth^2 (1/near - 1/far)).

    Args:
        log_prob: log density over depth at the true depth (``DepthProposal.log_prob``).
        depth: true depths; NaN where unknown, which leaves the pixel out.
        near, far: the range that relative disparity is told in. It must be the same for whatever
            is compared, and may be another than the range of the buckets.
    """
    depth, near, far = (np.asarray(a, dtype=np.float64) for a in (depth, near, far))
    slope = 1.0 / (np.square(depth) * (1.0 / near - 1.0 / far))
    nats = np.log(slope) - log_prob
    known = nats[~np.isnan(nats)]
    return float(known.mean()) if known.size else float("nan")


def mass_before(
    probabilities: Float[np.ndarray, "pixel bucket"], bucket: Int[np.ndarray, " pixel"]
) -> Float[np.ndarray, " pixel"]:
    """Probability of all buckets that come before the true one in falling order of probability.

    Of equally probable buckets the nearer comes first.

    Args:
        probabilities: rows sum to one.
        bucket: that the true depth lies in; -1 where it lies in none, which gives infinity.
    """
    order, cumulative = _sorted(probabilities)
    place = (order == bucket[:, None]).argmax(-1)
    rows = np.arange(len(bucket))
    before = cumulative[rows, place] - probabilities[rows, bucket]
    return np.where(bucket < 0, np.inf, before)


class Reliability(NamedTuple):
    """Whether true depths lie where a distribution says, one number a level.

    The set of a level p is the smallest number of most probable buckets that hold p or more.

    Attributes:
        levels: p.
        inside: share of true depths in the pixel's set.
        mass: mean probability of the sets, p or more: the share that a calibrated one would have.
    """

    levels: tuple[float, ...]
    inside: Float[np.ndarray, " level"]
    mass: Float[np.ndarray, " level"]


def reliability(
    probabilities: Float[np.ndarray, "pixel bucket"],
    bucket: Int[np.ndarray, " pixel"],
    levels: Sequence[float] = LEVELS,
) -> Reliability:
    """Count true depths inside the most probable buckets.

    Args:
        probabilities: rows sum to one.
        bucket: that the true depth lies in; -1 where it lies in none and so is never inside.
        levels: p, each in (0, 1).

    Returns:
        NaN where there is no pixel.
    """
    if not len(bucket):
        nothing = np.full(len(levels), np.nan)
        return Reliability(tuple(levels), nothing, nothing)
    before = mass_before(probabilities, bucket)
    _, cumulative = _sorted(probabilities)
    inside, mass = [], []
    for level in levels:
        wanted = level - _ROUNDING
        inside.append(np.mean(before < wanted))
        last = (cumulative >= wanted).argmax(-1)  # argmax finds the first
        mass.append(cumulative[np.arange(len(last)), last].mean())
    return Reliability(tuple(levels), np.array(inside), np.array(mass))


def _sorted(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Buckets in falling order of probability, and cumulative sums in that order."""
    exact = probabilities.astype(np.float64)
    order = np.argsort(-exact, axis=-1, kind="stable")
    return order, np.cumsum(np.take_along_axis(exact, order, -1), axis=-1)
