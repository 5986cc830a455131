"""Simulation-based calibration: are a sampler's draws from the posterior that they claim to be?

Values drawn from the prior, data drawn from them, and posterior draws given the data: then the rank
of the value among its draws is uniform (Talts et al. 2018, "Validating Bayesian inference
algorithms with simulation-based calibration", theorem 1). Uniformity is judged by the empirical
distribution function of the ranks, with a band that all of it leaves with a known probability
(Sailynoja, Burkner and Vehtari 2022, "Graphical test for discrete uniformity").
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Uniformity(NamedTuple):
    """What the ranks of one quantity say.

    Attributes:
        chi_square: of the histogram; its expectation is ``bins - 1``.
        p_value: of ``chi_square``.
        worst: how far the empirical distribution function goes, in units of the band: above 1 it
            leaves it.
        bins: of the histogram.
    """

    chi_square: float
    p_value: float
    worst: float
    bins: int


def ranks(
    truth: Float[np.ndarray, "replication *quantity"],
    draws: Float[np.ndarray, "replication draw *quantity"],
    seed: int = 0,
) -> Int[np.ndarray, "replication *quantity"]:
    """How many draws lie below the truth, 0 to L; ties are broken at random.

    Args:
        truth: what the data of each replication were made from.
        draws: L draws of its posterior, thinned until nearly independent: correlated ones make
            ranks that are not uniform though the sampler be right (section 5.1 of the paper).
        seed: for ties.
    """
    below = (draws < truth[:, None]).sum(1)
    equal = (draws == truth[:, None]).sum(1)
    return np.asarray(below + np.random.default_rng(seed).integers(0, equal + 1))


def uniformity(
    found: Int[np.ndarray, " replication"], num_draws: int, bins: int = 8, miss: float = 0.05
) -> Uniformity:
    """Judge ranks between 0 and ``num_draws``.

    Args:
        found: ranks of independent replications.
        num_draws: L; ``num_draws + 1`` must be a multiple of ``bins``.
        bins: of the histogram.
        miss: probability that uniform ranks leave the band somewhere.

    Raises:
        ValueError: bins would hold different numbers of ranks.
    """
    if (num_draws + 1) % bins:
        raise ValueError(
            f"{num_draws} draws give {num_draws + 1} ranks, which {bins} bins do not share equally;"
            f" take for example {bins * ((num_draws + 1) // bins + 1) - 1} draws"
        )
    counts = np.bincount(np.asarray(found) * bins // (num_draws + 1), minlength=bins)
    expected = len(found) / bins
    chi_square = float(np.square(counts - expected).sum() / expected)
    distance = np.abs(ecdf_difference(found, num_draws))
    band = ecdf_band(len(found), num_draws, miss)
    with np.errstate(invalid="ignore", divide="ignore"):
        worst = float(np.nanmax(np.where(distance > 0, distance / band, 0.0)))
    return Uniformity(chi_square, float(stats.chi2.sf(chi_square, bins - 1)), worst, bins)


def ecdf_difference(
    found: Int[np.ndarray, " replication"], num_draws: int
) -> Float[np.ndarray, " rank"]:
    """Share of the ranks at or below 0 .. L - 1, minus what it is for uniform ones."""
    counts = np.bincount(found, minlength=num_draws + 1)
    shares = counts.cumsum()[:-1] / len(found)
    return np.asarray(shares - np.arange(1, num_draws + 1) / (num_draws + 1))


def ecdf_band(replications: int, num_draws: int, miss: float = 0.05) -> Float[np.ndarray, " rank"]:
    """Half widths that uniform ranks leave anywhere with probability ``miss``.

    The binomial standard deviation at every rank times one factor, which is found by simulation
    (the paper, section 2.4, with a fixed seed).
    """
    share = np.arange(1, num_draws + 1) / (num_draws + 1)
    width = np.sqrt(share * (1.0 - share) / replications)
    return np.asarray(_factor(replications, num_draws, miss) * width)


@cache
def _factor(replications: int, num_draws: int, miss: float) -> float:
    """The largest distance in binomial standard deviations, exceeded with probability ``miss``."""
    share = np.arange(1, num_draws + 1) / (num_draws + 1)
    width = np.sqrt(share * (1.0 - share) / replications)
    drawn = np.random.default_rng(0).multinomial(
        replications,
        np.full(num_draws + 1, 1.0 / (num_draws + 1)),
        size=max(4000, math.ceil(20 / miss)),  # twenty of them lie beyond
    )
    distance = np.abs(drawn.cumsum(1)[:, :-1] / replications - share) / width
    return float(np.quantile(distance.max(1), 1.0 - miss))
