"""Sums and products over the runs of a flat list, the same bits for any number of threads.

A flat list of (pixel, Gaussian) pairs is grouped by pixel; each group is a *segment*. Plain
``index_add`` or fancy indexing would do, but their backward passes are slow on CPUs, and reductions
split over threads change their last bits. Here ``gather`` and ``scatter_sum`` are each other's
transpose, and the running product is a scan whose order of operations depends on the position
inside the segment alone: neither on threads nor on what else is in the list.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = table.shape[-1]
        return table.index_select(-1, index)  # several times faster than table[:, index] on a CPU

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return scatter_sum(gradient, index, ctx.size), None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        # A row is added up serially, in list order, by one thread.
        sums = values.new_zeros(len(values), size)
        return sums.scatter_add_(1, index.expand(len(values), -1), values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return gather(gradient, index), None, None


def gather(
    table: Float[Tensor, "row column"], index: Int[Tensor, " pair"]
) -> Float[Tensor, "row pair"]:
    """``table[:, index]``, differentiable in the table."""
    return _Gather.apply(table, index)  # type: ignore[no-any-return,no-untyped-call]


def scatter_sum(
    values: Float[Tensor, "row pair"], index: Int[Tensor, " pair"], size: int
) -> Float[Tensor, "row column"]:
    """Sums of the values that share an index, added in list order; zero where none does."""
    return _ScatterSum.apply(values, index, size)  # type: ignore[no-any-return,no-untyped-call]


def _scan(
    values: Tensor, position: Tensor, *, product: bool = False, backwards: bool = False
) -> Tensor:
    """Inclusive running sum or product inside segments (Hillis and Steele 1986)."""
    result = values.clone()
    longest = int(position.max()) + 1 if position.numel() else 0
    shift = 1
    while shift < longest:
        before, after = result[..., :-shift], result[..., shift:]
        source, target = (after, before) if backwards else (before, after)
        is_same_segment = position[shift:] >= shift
        if product:
            target *= torch.where(is_same_segment, source, 1.0)
        else:
            target += torch.where(is_same_segment, source, 0.0)
        shift *= 2
    return result


def cumulative_sum(
    values: Float[Tensor, "*row pair"], position: Int[Tensor, " pair"]
) -> Float[Tensor, "*row pair"]:
    """Inclusive running sums inside segments; ``position`` counts from 0 in each segment."""
    return _scan(values, position)


def later_sum(
    values: Float[Tensor, "*row pair"], position: Int[Tensor, " pair"]
) -> Float[Tensor, "*row pair"]:
    """Sums of what comes later in the same segment: 0 for a segment's last pair."""
    sums = _scan(values, position, backwards=True)
    later = torch.zeros_like(sums)
    later[..., :-1] = torch.where(position[1:] > 0, sums[..., 1:], 0.0)
    return later


class _Transmittance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alphas: Tensor, position: Tensor) -> Tensor:
        through = 1.0 - alphas
        inclusive = _scan(through, position, product=True)
        result = torch.ones_like(alphas)
        result[1:] = torch.where(position[1:] > 0, inclusive[:-1], result[1:])
        ctx.save_for_backward(through, result, position)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        through, result, position = ctx.saved_tensors
        # T_j = prod_{i<j} (1 - a_i), so dL/da_i = -sum_{j>i} g_j T_j / (1 - a_i).
        weighted = gradient * result
        return -later_sum(weighted, position) / through, None


def transmittance(
    alphas: Float[Tensor, " pair"], position: Int[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """Light that reaches each pair: the product of (1 - alpha) over its segment's earlier pairs.

    Args:
        alphas: in [0, 1).
        position: 0 for the first pair of a segment, then 1, 2, ...
    """
    return _Transmittance.apply(alphas, position)  # type: ignore[no-any-return,no-untyped-call]
