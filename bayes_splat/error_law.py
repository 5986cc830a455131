"""The law of errors in units of their scale: a Student-t, as a mixture of Normals.

t = z / sqrt(w) with w ~ Gamma(f/2, rate f/2); in place of all w stand evenly spaced quantiles of
that law. So many Normals end the tails where colours, which lie in [0, 1], end theirs: a Student-t
of these few degrees of freedom has a standard deviation that is made in its far tails, about
1.5 times what errors of random scenes have. Nothing is random.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats

FREEDOM = 2.5
"""f: degrees of freedom."""

NUMBER = 128
"""Of Normals, where nothing else says how many."""


def multipliers(number: int = NUMBER) -> Float[np.ndarray, " number"]:
    """Standard deviations of so many Normals, in units of the scale.

    In an order that gives any run of them all sizes (multiples of the golden ratio).
    """
    golden = 0.5 * (math.sqrt(5.0) - 1.0)
    levels = (np.argsort(np.argsort((np.arange(number) * golden) % 1.0)) + 0.5) / number
    half = 0.5 * FREEDOM
    return np.asarray(np.sqrt(half / special.gammaincinv(half, levels)))


def std() -> float:
    """Standard deviation."""
    return float(np.sqrt(np.square(multipliers()).mean()))


def cdf(errors: Float[np.ndarray, "*pixel"]) -> Float[np.ndarray, "*pixel"]:
    """Distribution function."""
    total = np.zeros(errors.shape)
    for size in multipliers():
        total += special.ndtr(errors / size)
    return np.asarray(total / NUMBER)


def log_density(errors: Float[np.ndarray, "*pixel"]) -> Float[np.ndarray, "*pixel"]:
    """Log of the density."""
    sizes = np.sort(multipliers())
    total = np.zeros(errors.shape)
    for size in sizes[:-1]:
        total += np.exp(-0.5 * np.square(errors / size)) / (size * math.sqrt(2.0 * math.pi))
    # The widest apart: far out all others are zero in float64.
    widest = stats.norm.logpdf(errors, scale=sizes[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.logaddexp(np.log(total), widest) - math.log(NUMBER))


def quantile(level: float) -> float:
    """Where the distribution function has that level."""
    far = 10.0 * multipliers().max()
    place = optimize.brentq(lambda x: float(cdf(np.array(x))) - level, -far, far, xtol=1e-10)
    return float(place)
