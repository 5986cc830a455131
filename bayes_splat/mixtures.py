"""Scores of a Normal mixture at every pixel: distribution function, density, CRPS, intervals.

A predictive distribution is a mixture of equal weights over draws. ``means`` and ``stds`` have the
draws in front; a NaN in ``means`` is a draw that says nothing of that number and is left out. All
functions return one float64 number for every observation, NaN where the observation, or every
draw, is unknown.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from bayes_splat.uncertainty import mixture_quantiles

_CHUNK = 2**21  # numbers worked on at once


def mean(means: Float[np.ndarray, "draw *pixel"]) -> Float[np.ndarray, " *pixel"]:
    """Mean of the mixture."""
    known = np.isfinite(means)
    count = known.sum(0)
    total = np.where(known, means, 0).sum(0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def spread(means: Float[np.ndarray, "draw *pixel"]) -> Float[np.ndarray, " *pixel"]:
    """Standard deviation of the components' means: the epistemic part."""
    known = np.isfinite(means)
    count = known.sum(0)
    residual = np.where(known, means - mean(means), 0)
    total = np.square(residual, dtype=np.float64).sum(0)
    return np.where(count > 0, np.sqrt(total / np.maximum(count, 1)), np.nan)


def std(
    means: Float[np.ndarray, "draw *pixel"], stds: Float[np.ndarray, "draw *#pixel"]
) -> Float[np.ndarray, " *pixel"]:
    """Standard deviation of the mixture."""
    known = np.isfinite(means)
    noise = np.where(known, np.square(stds), 0).sum(0, dtype=np.float64)
    noise /= np.maximum(known.sum(0), 1)
    return np.asarray(np.sqrt(np.square(spread(means)) + noise))


def pit(
    means: Float[np.ndarray, "draw *pixel"],
    stds: Float[np.ndarray, "draw *#pixel"],
    observed: Shaped[np.ndarray, " *pixel"],
) -> Float[np.ndarray, " *pixel"]:
    """Distribution function at the observation (probability integral transform)."""
    return _map(_pit, means, stds, observed)


def nll(
    means: Float[np.ndarray, "draw *pixel"],
    stds: Float[np.ndarray, "draw *#pixel"],
    observed: Shaped[np.ndarray, " *pixel"],
) -> Float[np.ndarray, " *pixel"]:
    """Minus the log density at the observation, nats."""
    return _map(_nll, means, stds, observed)


def crps(
    means: Float[np.ndarray, "draw *pixel"],
    stds: Float[np.ndarray, "draw *#pixel"],
    observed: Shaped[np.ndarray, " *pixel"],
) -> Float[np.ndarray, " *pixel"]:
    """Continuous ranked probability score, in the unit of the observations; exact.

    With A(m, s^2) = E|X| for X ~ Normal(m, s^2) it is mean_i A(y - m_i, s_i^2) minus half of
    mean_ij A(m_i - m_j, s_i^2 + s_j^2) (Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5). Time
    grows with the square of the draws.
    """
    return _map(_crps, means, stds, observed)


def quantiles(
    means: Float[np.ndarray, "draw *pixel"],
    stds: Float[np.ndarray, "draw *#pixel"],
    levels: Sequence[float],
) -> Float[np.ndarray, "level *pixel"]:
    """Quantiles by bisection, to 2e-5 of the bracket; NaN where any draw is unknown."""
    found = mixture_quantiles(
        torch.from_numpy(np.ascontiguousarray(means)),
        torch.from_numpy(np.ascontiguousarray(stds, dtype=means.dtype)),
        tuple(levels),
        num_steps=16,
    )
    return np.asarray(found.double().numpy())


def _map(
    score: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    means: np.ndarray,
    stds: np.ndarray,
    observed: np.ndarray,
) -> np.ndarray:
    """The score at every number, some numbers at a time."""
    draws = len(means)
    flat_means = means.reshape(draws, -1)
    flat_stds = np.broadcast_to(stds, means.shape)
    is_plain = stds.ndim == means.ndim and all(size == 1 for size in stds.shape[1:])
    flat_stds = stds.reshape(draws, 1) if is_plain else flat_stds.reshape(draws, -1)
    flat_observed = np.asarray(observed, dtype=means.dtype).reshape(-1)
    result = np.empty(len(flat_observed))
    width = max(1, _CHUNK // draws)
    for first in range(0, len(result), width):
        part = slice(first, first + width)
        mean_part = torch.from_numpy(flat_means[:, part].copy())
        std_part = torch.from_numpy(flat_stds[:, part if not is_plain else slice(None)].copy())
        weights = mean_part.isfinite().to(mean_part.dtype)
        weights = weights / weights.sum(0)  # NaN where nothing is known
        found = score(
            mean_part.nan_to_num(0.0),
            std_part.to(mean_part.dtype),
            torch.from_numpy(flat_observed[part].copy()),
            weights,
        )
        result[part] = found.double().numpy()
    return result.reshape(observed.shape)


def _pit(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr((observed - means) / stds)
    return (weights * below).sum(0)


def _nll(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    log_normal = -0.5 * ((observed - means) / stds).square() - stds.log()
    return 0.5 * math.log(2 * math.pi) - torch.logsumexp(log_normal + weights.log(), dim=0)


def _crps(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    near = (weights * _mean_absolute(observed - means, stds)).sum(0)
    variances = stds.square()
    own = (weights.square() * stds).sum(0) * (2.0 / math.sqrt(math.pi))
    others = torch.zeros_like(near)
    for i in range(1, len(means)):
        apart = _mean_absolute(means[:i] - means[i], (variances[:i] + variances[i]).sqrt())
        others += weights[i] * (weights[:i] * apart).sum(0)
    return near - 0.5 * own - others


def _mean_absolute(mean: Tensor, std: Tensor) -> Tensor:
    """E|X| for X ~ Normal(mean, std^2)."""
    z = mean / (std * math.sqrt(2.0))
    return mean * torch.erf(z) + std * math.sqrt(2.0 / math.pi) * torch.exp(-z.square())
