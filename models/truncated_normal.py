"""Draws from a Normal cut to an interval, exact in the far tails and for flat densities."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_FAR = 25.0
"""Standard deviations beyond which the tail is drawn as an exponential and corrected."""


def sample_truncated_normal(
    weighted: Float[Tensor, " site"],
    precision: Float[Tensor, " site"],
    current: Float[Tensor, " site"],
    upper: float,
    uniform: Float[Tensor, " site"],
) -> tuple[Float[Tensor, " site"], Float[Tensor, " site"]]:
    """Candidates for densities exp(weighted * o - precision * o^2 / 2) / const. on (0, upper).

    Args:
        weighted: precision times mean.
        precision: zero or positive.
        current: present values, needed only where the candidate is approximate.
        upper: right end of the support; the left end is 0.
        uniform: in [0, 1), one a draw.

    Returns:
        candidate: by inverting the distribution function: an exact draw, except where the mean lies
            more than 25 standard deviations outside the support.
        log_correction: Metropolis-Hastings log ratio of target over candidate densities, to be
            added to the log acceptance ratio; zero for exact draws.
    """
    flat = precision < 1e-12
    scale = torch.where(flat, torch.ones_like(precision), precision).rsqrt()
    mean = torch.where(flat, torch.zeros_like(weighted), weighted * scale**2)
    # Standardised ends; reflected so that the mean is never to the left of the support's middle.
    reflect = mean > 0.5 * upper
    low = torch.where(reflect, (mean - upper) / scale, -mean / scale)
    high = low + upper / scale
    start = _distribution_function(low)
    # In the reflected frame low > 0 means the whole support lies in the right tail; the left tail
    # of the mirrored Normal keeps full relative precision there.
    tail_start, tail_end = _distribution_function(-high), _distribution_function(-low)
    in_tail = low > 0.0
    bulk = torch.special.ndtri(start + uniform * (_distribution_function(high) - start))
    tail = -torch.special.ndtri(tail_end - uniform * (tail_end - tail_start))
    far_rate = low.clamp_min(1.0)
    span = -torch.expm1(-far_rate * (high - low))
    far = low - torch.log1p(-uniform * span) / far_rate
    is_far = low > _FAR
    standard = torch.where(is_far, far, torch.where(in_tail, tail, bulk))
    standard = torch.minimum(torch.maximum(standard, low), high)
    position = (standard - low) * scale
    candidate = torch.where(reflect, upper - position, position)
    candidate = torch.where(flat, uniform * upper, candidate).clamp(0.0, upper)

    here = torch.where(reflect, upper - current, current) / scale
    correction = 0.5 * (here**2 - (standard - low) ** 2)
    return candidate, torch.where(is_far & ~flat, correction, torch.zeros_like(correction))


def _distribution_function(x: Tensor) -> Tensor:
    """Of the standard Normal. ``torch.special.ndtr`` is rounded to zero below -9; this is not."""
    complement: Tensor = torch.special.erfc(-x * math.sqrt(0.5))
    return 0.5 * complement
