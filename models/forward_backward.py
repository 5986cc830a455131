"""Forward filtering, backward sampling: exact draws of stretches of a Markov chain.

Chib (1996), "Calculating posterior distributions and modal estimates in Markov mixture models";
Fruehwirth-Schnatter (2006), algorithm 11.5. Sums over states are added one state after the other,
so that a chain's digits depend neither on threads nor on how many chains run beside it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NOTHING = -1
"""Stands for the state beyond an end of the line."""


class Stretches(NamedTuple):
    """What was drawn.

    Attributes:
        states: of every place.
        is_possible: False where all probabilities underflowed; the states there mean nothing. That
            depends on weights and ends alone, never on what was drawn.
    """

    states: Int[Tensor, "chain stretch place"]
    is_possible: Bool[Tensor, "chain stretch"]


def sample_stretches(
    weights: Float[Tensor, "chain stretch place state"],
    transition: Float[Tensor, "chain state state"],
    before: Int[Tensor, "chain stretch"],
    after: Int[Tensor, "chain stretch"],
    uniform: Float[Tensor, "chain stretch place"],
) -> Stretches:
    """Draw z_1..z_L with probability proportional to

        P(before, z_1) prod_j P(z_{j-1}, z_j) prod_j weights_j(z_j) P(z_L, after).

    Args:
        weights: of the states at every place, not negative, in any unit.
        transition: rows from a state, columns to a state.
        before, after: the fixed states at both ends; ``NOTHING`` where the line begins (the first
            state is then uniform) or ends.
        uniform: in [0, 1), one number a place.
    """
    length, size = weights.shape[-2:]
    entering = _rows(transition, before)
    entering = entering.masked_fill(before[..., None] == NOTHING, 1 / size)
    leaving = _rows(transition.mT, after)
    leaving = leaving.masked_fill(after[..., None] == NOTHING, 1.0)

    filtered: list[Tensor] = []
    totals: list[Tensor] = []
    for place in range(length):
        ahead = entering if place == 0 else _advance(filtered[-1], transition)
        joint = ahead * weights[..., place, :]
        if place == length - 1:
            joint = joint * leaving
        total = joint.sum(-1, keepdim=True)
        filtered.append(joint / total)
        totals.append(total)
    is_possible = ((torch.cat(totals, -1) > 0) & torch.cat(totals, -1).isfinite()).all(-1)

    states = torch.empty(weights.shape[:-1], dtype=torch.long, device=weights.device)
    backward = filtered[-1]
    for place in reversed(range(length)):
        if place < length - 1:
            backward = filtered[place] * _rows(transition.mT, states[..., place + 1])
        states[..., place] = _draw(backward, uniform[..., place])
    return Stretches(states, is_possible)


def _rows(matrix: Tensor, index: Tensor) -> Tensor:
    """Chain by chain, the rows of a matrix: [chain stretch state]."""
    rows = index.clamp_min(0)[..., None].expand(*index.shape, matrix.shape[-1])
    return matrix.gather(1, rows)


def _advance(filtered: Tensor, transition: Tensor) -> Tensor:
    """sum_i filtered_i P(i, .), added in the order of i."""
    ahead = filtered[..., :1] * transition[:, None, 0]
    for state in range(1, transition.shape[1]):
        ahead = ahead + filtered[..., state : state + 1] * transition[:, None, state]
    return ahead


def _draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """An index with these relative weights."""
    cumulative = weights.cumsum(-1)
    threshold = uniform[..., None] * cumulative[..., -1:]
    return (cumulative <= threshold).sum(-1).clamp_max(weights.shape[-1] - 1)
