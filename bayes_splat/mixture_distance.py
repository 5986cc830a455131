"""Mean distance of two draws from a Normal mixture, compiled: the part of CRPS that is quadratic.

With A(m, s^2) = E|m + s Z| = s g(|m| / s), where g(z) = z erf(z / sqrt 2) + sqrt(2 / pi)
exp(-z^2 / 2), E|X - X'| of two independent draws is the mean over all pairs of components of
A(m_i - m_j, s_i^2 + s_j^2). g(z) - z is smooth and vanishes: it is read off a table by quadratic
interpolation. In float32, which leaves an error of 1e-6 of the distance.
"""

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from jaxtyping import Float
from scipy import special

_STEP = 1.0 / 128.0
_LAST = 6.0  # beyond, g(z) - z is below 1e-9


def mean_distance(
    means: Float[np.ndarray, "number draw"], stds: Float[np.ndarray, "number draw"]
) -> Float[np.ndarray, " number"]:
    """E|X - X'| of the mixture of every row; components whose mean is NaN are left out.

    Args:
        means, stds: of the components; NaN in every mean of a row gives NaN.
    """
    found = np.empty(len(means))
    known = ~np.isnan(means)  # compiled code that reorders sums may not ask for NaN
    filled = np.where(known, means, 0).astype(np.float32)
    _compiled()(filled, stds.astype(np.float32), known, _table(), found)
    return np.where(known.any(1), found, np.nan)


@cache
def _table() -> np.ndarray:
    """g(z) - z at multiples of ``_STEP`` from minus one of them on, even about 0, 0 at the end."""
    z = np.abs(np.arange(-1, round(_LAST / _STEP) + 2) * _STEP)
    density = math.sqrt(2 / math.pi) * np.exp(-0.5 * np.square(z))
    beyond = density - z * special.erfc(z / math.sqrt(2))
    # Of -z the even function g(z) - z would be g(z) + z: the point before 0 continues it smoothly.
    beyond[0] = density[0] + z[0] * special.erf(z[0] / math.sqrt(2)) + z[0]
    beyond[-3:] = 0.0
    return np.asarray(beyond, dtype=np.float32)


@cache
def _compiled() -> Callable[..., None]:
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "boundscheck": False,
        "fastmath": True,
    }
    plain = inspect.unwrap(_mean_distance)  # without the shape checks that tests wrap around it
    try:
        found: Callable[..., None] = numba.njit(cache=True, **options)(plain)
    except RuntimeError:  # no folder to keep it in
        found = numba.njit(**options)(plain)
    return found


def _mean_distance(
    means: np.ndarray,
    stds: np.ndarray,
    known: np.ndarray,
    table: np.ndarray,
    found: np.ndarray,
) -> None:
    """Loops that the compiler turns into vector instructions: no branch inside the innermost."""
    rows, draws = means.shape
    mean, variance = np.empty(draws, np.float32), np.empty(draws, np.float32)
    for row in range(rows):
        count, total = 0, 0.0
        for i in range(draws):
            if known[row, i]:
                mean[count] = means[row, i]
                variance[count] = stds[row, i] * stds[row, i]
                total += stds[row, i] / math.sqrt(math.pi)  # a component with itself, halved
                count += 1
        for i in range(count):
            own, own_variance, part = mean[i], variance[i], np.float32(0.0)
            for j in range(i):
                std = np.sqrt(own_variance + variance[j])
                apart = abs(own - mean[j])
                place = min(apart / std, np.float32(_LAST)) * np.float32(1.0 / _STEP)
                low = np.int32(place + np.float32(0.5))
                t = place - np.float32(low)
                before, here, after = table[low], table[low + 1], table[low + 2]
                bend = after - np.float32(2.0) * here + before
                g = here + np.float32(0.5) * t * (after - before + t * bend)
                part += apart + std * g
            total += float(part)
        found[row] = 2.0 * total / max(count * count, 1)
