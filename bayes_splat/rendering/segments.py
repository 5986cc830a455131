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


def _scatter_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    # bincount adds serially in list order: deterministic, and fast for a handful of rows.
    rows = [torch.bincount(index, weights=row, minlength=size) for row in values]
    return torch.stack(rows).to(values.dtype) if rows else values.new_zeros(0, size)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = table.shape[-1]
        # Column by column: rows of a wide table are several times slower to fetch on a CPU.
        return torch.stack([row[index] for row in table])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return scatter_sum(gradient, index, ctx.size), None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return _scatter_sum(values.detach(), index, size)

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


def _scan(values: Tensor, position: Tensor, product: bool) -> Tensor:
    """Inclusive running product or sum inside segments (Hillis and Steele 1986)."""
    result = values
    longest = int(position.max()) + 1 if position.numel() else 0
    shift = 1
    while shift < longest:
        earlier = result[..., :-shift]
        later = result[..., shift:]
        combined = later * earlier if product else later + earlier
        tail = torch.where(position[shift:] >= shift, combined, later)
        result = torch.cat([result[..., :shift], tail], dim=-1)
        shift *= 2
    return result


def cumulative_sum(
    values: Float[Tensor, "*row pair"], position: Int[Tensor, " pair"]
) -> Float[Tensor, "*row pair"]:
    """Inclusive running sums inside segments; ``position`` counts from 0 in each segment."""
    return _scan(values, position, product=False)


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
        reverse = _segment_end_distance(position)
        suffix = _scan(weighted.flip(-1), reverse.flip(-1), product=False).flip(-1)
        return -(suffix - weighted) / through, None


def _segment_end_distance(position: Tensor) -> Tensor:
    """How many pairs of the same segment come after each pair."""
    starts = torch.nonzero(position == 0).squeeze(-1)
    ends = torch.cat([starts[1:], starts.new_tensor([position.numel()])]) - 1
    which = torch.cumsum((position == 0).long(), dim=0) - 1
    return ends[which] - torch.arange(position.numel(), device=position.device)


def transmittance(
    alphas: Float[Tensor, " pair"], position: Int[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """Light that reaches each pair: the product of (1 - alpha) over its segment's earlier pairs.

    Args:
        alphas: in [0, 1).
        position: 0 for the first pair of a segment, then 1, 2, ...
    """
    return _Transmittance.apply(alphas, position)  # type: ignore[no-any-return,no-untyped-call]
