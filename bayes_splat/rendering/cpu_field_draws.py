"""Draws from the smooth prior alone, given neighbours, compiled; no picture is looked at.

Given its neighbours a disparity r has the density exp(-sum_j a_j |r - r_j|) on [0, 1]: exponential
between neighbours, so that its distribution function F is inverted piece by piece in closed form
(``smoothness.conditional_quantile`` is the same in torch).

Beside draws by inversion there are mirror images, r to F^-1(1 - F(r)): an involution that keeps the
prior given the neighbours. Moves made of it go on in the direction of the last one, so that fields
relax in about as many sweeps as they are pixels wide where draws take the square of it (ordered
overrelaxation, Adler 1981; Neal 1998).
"""

# mypy: disable-error-code="no-untyped-def"
import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.rendering import cpu_live_lists
from bayes_splat.rendering.cpu_compile import kernel, leaf
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)

LEAST = 1e-12
"""Relative disparities keep so far from 0 and 1."""

_FLAT = 1e-6
"""Pieces whose log density changes by less count as even; the error is below rounding's reach."""


class Fresh(NamedTuple):
    """Draws of single Gaussians from the prior given their neighbours.

    Attributes:
        relative_disparities: drawn; of those that were not chosen, as they were.
        log_ratios: log prior density given the neighbours there, minus that before.
    """

    relative_disparities: Float[Tensor, "chain gaussian"]
    log_ratios: Float[Tensor, "chain gaussian"]


def draw_singly(
    relative_disparities: Float[Tensor, "chain gaussian"],
    is_chosen: Bool[Tensor, "chain gaussian"],
    neighbours: tuple[float, Tensor, Tensor, tuple[int, int]],
    shares: Float[Tensor, "chain gaussian"],
    threads: int,
) -> Fresh:
    """Draw each chosen Gaussian given all others as they are.

    Args:
        relative_disparities: in [0, 1].
        is_chosen: which; the others are as they were in the result.
        neighbours: strength, weights to the right and below, and the shape of the pictures that
            the Gaussians are numbered by, (view, row, column).
        shares: of the distribution functions, in [0, 1), or -1 for mirror images.
        threads: chains drawn at the same time; results do not depend on it.
    """
    here = relative_disparities.double().contiguous()
    found, ratios = here.clone(), torch.zeros_like(here)
    run_items(
        _draw_chains,
        len(found),
        min(threads, len(found)),
        here.numpy(),
        is_chosen.contiguous().numpy(),
        cpu_live_lists.edge_arrays(neighbours),
        shares.double().contiguous().numpy(),
        found.numpy(),
        ratios.numpy(),
    )
    return Fresh(found, ratios)


@kernel
def _draw_chains(progress, thread, relative, is_chosen, neighbours, shares, found, ratios):
    while True:
        chain = take_item(progress, 0)
        if chain >= num_items(progress, 0):
            break
        here = relative[chain]
        for g in range(len(here)):
            if is_chosen[chain, g]:
                drawn = _draw(here, g, neighbours, shares[chain, g])
                drawn = min(max(drawn, LEAST), 1.0 - LEAST)
                change = roughness(neighbours, here, g, here[g])
                change -= roughness(neighbours, here, g, drawn)
                found[chain, g], ratios[chain, g] = drawn, neighbours[0] * change
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@leaf
def _draw(relative, g, neighbours, share):
    """One Gaussian given its neighbours."""
    strength, right, below, (height, width) = neighbours
    x, y = g % width, (g // width) % height
    # Beyond a border there is no neighbour: one of weight 0, anywhere.
    o0 = o1 = o2 = o3 = w0 = w1 = w2 = w3 = 0.0
    if x > 0:
        o0, w0 = relative[g - 1], strength * right[g - 1]
    if x < width - 1:
        o1, w1 = relative[g + 1], strength * right[g]
    if y > 0:
        o2, w2 = relative[g - width], strength * below[g - width]
    if y < height - 1:
        o3, w3 = relative[g + width], strength * below[g]
    return _quantile(o0, w0, o1, w1, o2, w2, o3, w3, share, relative[g])


@leaf
def _quantile(o0, w0, o1, w1, o2, w2, o3, w3, share, here):
    """F^-1 of a share, for neighbours with their weights; of share -1 the mirror image of here."""
    if o0 > o1:
        o0, o1, w0, w1 = o1, o0, w1, w0
    if o2 > o3:
        o2, o3, w2, w3 = o3, o2, w3, w2
    if o0 > o2:
        o0, o2, w0, w2 = o2, o0, w2, w0
    if o1 > o3:
        o1, o3, w1, w3 = o3, o1, w3, w1
    if o1 > o2:
        o1, o2, w1, w2 = o2, o1, w2, w1
    # Slopes of the log density between neighbours, and itself at the ends of these pieces.
    s0 = w0 + w1 + w2 + w3
    s1 = s0 - 2.0 * w0
    s2 = s1 - 2.0 * w1
    s3 = s2 - 2.0 * w2
    s4 = s3 - 2.0 * w3
    t1 = s0 * o0
    t2 = t1 + s1 * (o1 - o0)
    t3 = t2 + s2 * (o2 - o1)
    t4 = t3 + s3 * (o3 - o2)
    t5 = t4 + s4 * (1.0 - o3)
    top = max(max(t1, t2), max(t3, t4))  # it rises up to the first and falls from the last
    e0, e1, e2 = math.exp(-top), math.exp(t1 - top), math.exp(t2 - top)
    e3, e4, e5 = math.exp(t3 - top), math.exp(t4 - top), math.exp(t5 - top)
    m0, m1, m2 = _mass(e0, e1, s0, o0), _mass(e1, e2, s1, o1 - o0), _mass(e2, e3, s2, o2 - o1)
    m3, m4 = _mass(e3, e4, s3, o3 - o2), _mass(e4, e5, s4, 1.0 - o3)
    total = m0 + m1 + m2 + m3 + m4
    if share < 0.0:
        below = _part(e0, s0, 0.0, o0, m0, here) + _part(e1, s1, o0, o1, m1, here)
        below += _part(e2, s2, o1, o2, m2, here) + _part(e3, s3, o2, o3, m3, here)
        share = 1.0 - (below + _part(e4, s4, o3, 1.0, m4, here)) / total
    wanted = max(share, 0.0) * total
    if wanted < m0:
        return _place(e0, e1, s0, o0, wanted, m0)
    wanted -= m0
    if wanted < m1:
        return o0 + _place(e1, e2, s1, o1 - o0, wanted, m1)
    wanted -= m1
    if wanted < m2:
        return o1 + _place(e2, e3, s2, o2 - o1, wanted, m2)
    wanted -= m2
    if wanted < m3:
        return o2 + _place(e3, e4, s3, o3 - o2, wanted, m3)
    return o3 + _place(e4, e5, s4, 1.0 - o3, min(wanted - m3, m4), m4)


@leaf
def roughness(neighbours, depths, g, here):
    """Sum of w |r - r_j| over the neighbours of a Gaussian at relative disparity r."""
    _, right, below, (height, width) = neighbours
    column, row = g % width, (g // width) % height
    total = 0.0
    if column > 0:
        total += right[g - 1] * abs(here - depths[g - 1])
    if column < width - 1:
        total += right[g] * abs(here - depths[g + 1])
    if row > 0:
        total += below[g - width] * abs(here - depths[g - width])
    if row < height - 1:
        total += below[g] * abs(here - depths[g + width])
    return total


@leaf
def _mass(low, high, slope, length):
    """Of a piece with these densities at its ends."""
    if abs(slope) * length < _FLAT:
        return 0.5 * (low + high) * length
    return (high - low) / slope


@leaf
def _part(low, slope, start, end, mass, here):
    """How much of a piece's mass lies below."""
    if here <= start:
        return 0.0
    if here >= end:
        return mass
    rise = slope * (here - start)
    if abs(rise) < _FLAT:
        return low * (here - start)
    return low * math.expm1(rise) / slope


@leaf
def _place(low, high, slope, length, wanted, mass):
    """How far into the piece that much mass reaches; from the denser end, where nothing cancels."""
    if mass <= 0.0:
        return 0.0
    if abs(slope) * length < _FLAT:
        return length * wanted / mass
    if low >= high:
        far = math.log1p(max(wanted * slope / low, -1.0 + 1e-16)) / slope
    else:
        far = length + math.log1p(max((wanted - mass) * slope / high, -1.0 + 1e-16)) / slope
    return min(max(far, 0.0), length)
