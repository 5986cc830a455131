"""A Normal cut to an interval, compiled: its mass, and draws from it.

``draw_truncated`` is the same as ``models.truncated_normal``.
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.rendering.cpu_compile import inner, kernel

_FAR = 25.0
"""Standard deviations beyond which the tail is drawn as an exponential and corrected."""

_FLAT = 1e-12
"""Precision below which the density is taken for constant."""

_ROOT_HALF = math.sqrt(0.5)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@inner
def draw_truncated(weighted, precision, current, upper, uniform):
    """A candidate for the density exp(weighted o - precision o^2 / 2) / const. on (0, upper).

    Args:
        weighted: precision times mean.
        precision: zero or positive.
        current: the present value, needed only where the candidate is approximate.
        upper: right end of the support.
        uniform: in [0, 1).

    Returns:
        The candidate, and the Metropolis-Hastings log ratio of target over candidate densities: 0
        where the candidate is an exact draw, that is unless the mean lies more than 25 standard
        deviations outside the support.
    """
    if precision < _FLAT:
        return uniform * upper, 0.0
    reflect, low, high, scale = _standardised(weighted, precision, upper)
    correction = 0.0
    if low > _FAR:
        span = -math.expm1(-low * (high - low))
        standard = low - math.log1p(-uniform * span) / low
        here = (upper - current if reflect else current) / scale
        standard = min(max(standard, low), high)
        correction = 0.5 * (here * here - (standard - low) * (standard - low))
    elif low > 0.0:
        # The left tail of the mirrored Normal keeps full relative precision.
        start, end = distribution_function(-high), distribution_function(-low)
        standard = -quantile(end - uniform * (end - start))
    else:
        start = distribution_function(low)
        standard = quantile(start + uniform * (distribution_function(high) - start))
    standard = min(max(standard, low), high)
    position = (standard - low) * scale
    candidate = upper - position if reflect else position
    return min(max(candidate, 0.0), upper), correction


@inner
def draw_truncated_exactly(weighted, precision, upper, uniform):
    """As :func:`draw_truncated`, by inverting the distribution function wherever the mean lies."""
    candidate, _ = draw_truncated(weighted, precision, 0.0, upper, uniform)
    if precision < _FLAT:
        return candidate
    reflect, low, high, scale = _standardised(weighted, precision, upper)
    if low <= _FAR:
        return candidate
    # Newton's method on the log of the survival function, whose slope is -1 / mills.
    start = mills_ratio(low)
    share = math.exp(-0.5 * (high - low) * (high + low)) * mills_ratio(high) / start
    wanted = -math.log1p(-uniform * (1.0 - share))
    step = 2.0 * wanted / (low + math.sqrt(low * low + 2.0 * wanted))
    for _ in range(3):
        here = mills_ratio(low + step)
        step -= here * (step * (low + 0.5 * step) - math.log(here / start) - wanted)
    position = min(max(step * scale, 0.0), upper)
    return upper - position if reflect else position


@inner
def log_truncated_mass(weighted, precision, upper):
    """log of the integral of exp(weighted o - precision o^2 / 2) over (0, upper)."""
    if precision < _FLAT:
        return math.log(upper)
    reflect, low, high, scale = _standardised(weighted, precision, upper)
    # In units of the density at the end of the support that is nearer to the mean.
    edge = (weighted - 0.5 * precision * upper) * upper if reflect else 0.0
    if low > _FAR:
        beyond = math.exp(-0.5 * (high - low) * (high + low)) * mills_ratio(high)
        return edge + math.log(scale * (mills_ratio(low) - beyond))
    if low > 0.0:
        mass = distribution_function(-low) - distribution_function(-high)
    else:
        mass = distribution_function(high) - distribution_function(low)
    return edge + 0.5 * low * low + math.log(_ROOT_TWO_PI * scale * mass)


@inner
def _standardised(weighted, precision, upper):
    """Whether the support is reflected, its ends in standard deviations from the mean, and those.

    Reflected so that the mean is never to the right of the middle of the support.
    """
    scale = 1.0 / math.sqrt(precision)
    mean = weighted * scale * scale
    reflect = mean > 0.5 * upper
    low = (mean - upper) / scale if reflect else -mean / scale
    return reflect, low, low + upper / scale, scale


@inner
def mills_ratio(x):
    """Survival function over density of the standard Normal for x > 25, from its asymptotic series.

    Abramowitz & Stegun 1964, 26.2.12; the relative error is below 1e-14.
    """
    y = 1.0 / (x * x)
    series = 1.0 - y * (1.0 - 3.0 * y * (1.0 - 5.0 * y * (1.0 - 7.0 * y * (1.0 - 9.0 * y))))
    return (series + 10395.0 * y**6) / x


@inner
def distribution_function(x):
    """Of the standard Normal, to full relative precision in the left tail."""
    return 0.5 * math.erfc(-x * _ROOT_HALF)


@inner
def _ratio(x, top, bottom):
    above, below = top[7], bottom[7]
    for i in range(6, -1, -1):
        above, below = above * x + top[i], below * x + bottom[i]
    return above / below


@inner
def quantile(p):
    """Inverse of the distribution function: algorithm AS 241 (Wichura 1988), PPND16."""
    q = p - 0.5
    if abs(q) <= 0.425:
        return q * _ratio(0.180625 - q * q, _CENTRE_TOP, _CENTRE_BOTTOM)
    tail = p if q < 0.0 else 1.0 - p
    if tail <= 0.0:
        return -math.inf if q < 0.0 else math.inf
    r = math.sqrt(-math.log(tail))
    if r <= 5.0:
        value = _ratio(r - 1.6, _NEAR_TOP, _NEAR_BOTTOM)
    else:
        value = _ratio(r - 5.0, _FAR_TOP, _FAR_BOTTOM)
    return -value if q < 0.0 else value


_CENTRE_TOP = (
    3.3871328727963666080,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
_CENTRE_BOTTOM = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
_NEAR_TOP = (
    1.42343711074968357734,
    4.63033784615654529590,
    5.76949722146069140550,
    3.64784832476320460504,
    1.27045825245236838258,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
_NEAR_BOTTOM = (
    1.0,
    2.05319162663775882187,
    1.67638483018380384940,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
_FAR_TOP = (
    6.65790464350110377720,
    5.46378491116411436990,
    1.78482653991729133580,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
_FAR_BOTTOM = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)


class TruncatedDraws(NamedTuple):
    """Draws of many truncated Normals.

    Attributes:
        values: exact draws.
        log_mass: log of the integrals of exp(weighted o - precision o^2 / 2).
    """

    values: Float[Tensor, "*shape"]
    log_mass: Float[Tensor, "*shape"]


def draw_with_mass(
    weighted: Float[Tensor, "*shape"],
    precision: Float[Tensor, "*shape"],
    upper: float,
    uniform: Float[Tensor, "*shape"],
) -> TruncatedDraws:
    """:func:`draw_truncated_exactly` and :func:`log_truncated_mass` of many, float64."""
    given = [v.double().contiguous().numpy().ravel() for v in (weighted, precision, uniform)]
    found = np.empty((2, weighted.numel()))
    _draw_all(given[0], given[1], upper, given[2], found)
    values, log_mass = torch.from_numpy(found).reshape(2, *weighted.shape)
    return TruncatedDraws(values, log_mass)


@kernel
def _draw_all(weighted, precision, upper, uniform, found):
    for i in range(weighted.shape[0]):
        found[0, i] = draw_truncated_exactly(weighted[i], precision[i], upper, uniform[i])
        found[1, i] = log_truncated_mass(weighted[i], precision[i], upper)
