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

_CHUNK = 2**18  # numbers worked on at once


def mean(means: Float[np.ndarray, "draw *pixel"]) -> Float[np.ndarray, " *pixel"]:
    """Mean of the mixture."""
    return _over_draws(means, lambda values, weights: (values * weights).sum(0))


def spread(means: Float[np.ndarray, "draw *pixel"]) -> Float[np.ndarray, " *pixel"]:
    """Standard deviation of the components' means: the epistemic part."""

    def deviation(values: Tensor, weights: Tensor) -> Tensor:
        residual = values - (values * weights).sum(0)
        return (residual.square() * weights).sum(0).sqrt()

    return _over_draws(means, deviation)


def std(
    means: Float[np.ndarray, "draw *pixel"], stds: Float[np.ndarray, "draw *#pixel"]
) -> Float[np.ndarray, " *pixel"]:
    """Standard deviation of the mixture."""
    known = np.isfinite(means)
    if known.all():
        noise = np.square(stds, dtype=np.float64).mean(0)
    else:
        noise = np.where(known, np.square(stds), 0).sum(0, dtype=np.float64)
        noise = noise / np.maximum(known.sum(0), 1)
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
    """Continuous ranked probability score, in the unit of the observations; to 1e-6 of it.

    Mean distance of the mixture to the observation, minus half of that between two of its draws
    (Gneiting and Raftery 2007, eq. 21; Grimit, Gneiting, Berrocal and Johnson 2006, eq. 5). Time
    grows with the square of the draws.
    """
    return distance_to(means, stds, observed) - 0.5 * distance_within(means, stds)


def distance_to(
    means: Float[np.ndarray, "draw *pixel"],
    stds: Float[np.ndarray, "draw *#pixel"],
    observed: Shaped[np.ndarray, " *pixel"],
) -> Float[np.ndarray, " *pixel"]:
    """E|X - observed| for X from the mixture."""
    return _map(_distance_to, means, stds, observed)


def distance_within(
    means: Float[np.ndarray, "draw *pixel"], stds: Float[np.ndarray, "draw *#pixel"]
) -> Float[np.ndarray, " *pixel"]:
    """E|X - X'| for two independent draws of the mixture; it grows as the mixture's scale."""
    from bayes_splat import mixture_distance  # late: loading numba takes a second

    draws, shape = len(means), means.shape[1:]
    flat = means.reshape(draws, -1)
    is_plain = stds.size == draws  # a copy of every number would be large
    wide = stds.reshape(draws, 1) if is_plain else np.broadcast_to(stds, means.shape)
    found = np.empty(flat.shape[1])
    width = max(1, _CHUNK // draws)
    for first in range(0, len(found), width):
        part = slice(first, first + width)
        centres = np.ascontiguousarray(flat[:, part].T)
        of_part = wide if is_plain else wide.reshape(draws, -1)[:, part]
        noise = np.ascontiguousarray(np.broadcast_to(of_part.T, centres.shape))
        found[part] = mixture_distance.mean_distance(centres, noise)
    return found.reshape(shape)


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
        chunk=_CHUNK,
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


def _over_draws(means: np.ndarray, summarise: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    """A summary of float64 values and weights [draw number], some numbers at a time."""
    flat = means.reshape(len(means), -1)
    result = np.empty(flat.shape[1])
    width = max(1, _CHUNK // len(means))
    for first in range(0, len(result), width):
        part = slice(first, first + width)
        values = torch.from_numpy(flat[:, part].astype(np.float64))
        weights = values.isfinite().double()
        result[part] = summarise(values.nan_to_num(0.0), weights / weights.sum(0)).numpy()
    return result.reshape(means.shape[1:])


def _pit(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    below: Tensor = torch.special.ndtr((observed - means) / stds)
    return (weights * below).sum(0)


def _nll(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    log_normal = -0.5 * ((observed - means) / stds).square() - stds.log()
    return 0.5 * math.log(2 * math.pi) - torch.logsumexp(log_normal + weights.log(), dim=0)


def _distance_to(means: Tensor, stds: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    return (weights * _mean_absolute(observed - means, stds)).sum(0)


def _mean_absolute(mean: Tensor, std: Tensor) -> Tensor:
    """E|X| for X ~ Normal(mean, std^2)."""
    z = mean / (std * math.sqrt(2.0))
    return mean * torch.erf(z) + std * math.sqrt(2.0 / math.pi) * torch.exp(-z.square())
