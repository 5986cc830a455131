"""Squared errors of float32 pictures summed in float64, compiled.

Rows of a strip of cells are added up column by column, which LLVM turns into vector instructions
without reordering anything; a cell's columns are added last. So every cell has one order of
summation, whatever the threads and whatever else is in the pictures.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.rendering.cpu_compile import kernel
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)


def cell_squared_errors(
    colors: Float[Tensor, "chain view height width 3"],
    images: Float[Tensor, "view height width 3"],
    cell: int,
) -> Float[Tensor, "chain view rows columns"]:
    """See ``squared_errors.cell_squared_errors``; float32 tensors on the CPU only."""
    return _CellSquaredErrors.apply(colors, images, cell)  # type: ignore[no-any-return,no-untyped-call]


@kernel
def sum_cells(progress, thread, colors, images, cell, columns, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` [chain view rows cells]; an item is one strip of cells.

    Args:
        colors: [chain view height entry], float32; an entry is one channel of one pixel.
        images: [view height entry], float32.
        cell: side in pixels.
        columns: float64 scratch [thread entry].
    """
    views, rows, across = sums.shape[1], sums.shape[2], sums.shape[3]
    height, entries = images.shape[1], images.shape[2]
    column = columns[thread]
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        strip, image = item % rows, item // rows
        chain, view = image // views, image % views
        for entry in range(entries):
            column[entry] = 0.0
        for y in range(strip * cell, min((strip + 1) * cell, height)):
            color, photograph = colors[chain, view, y], images[view, y]
            for entry in range(entries):
                error = np.float64(color[entry]) - np.float64(photograph[entry])
                column[entry] += error * error
        for x in range(across):
            total = 0.0
            for entry in range(3 * cell * x, min(3 * cell * (x + 1), entries)):
                total += column[entry]
            sums[chain, view, strip, x] = total
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def sum_cells_backward(  # type: ignore[no-untyped-def]
    progress, thread, colors, images, cell, factors, gradients
):
    """Fill ``gradients``, of the colours: ``factors`` [chain view rows cells] times the errors.

    Args:
        factors: float32, twice the gradients of the sums.
        colors, images, cell: as in ``sum_cells``; an item is one strip of cells.
    """
    views, rows, across = factors.shape[1], factors.shape[2], factors.shape[3]
    height, entries = images.shape[1], images.shape[2]
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        strip, image = item % rows, item // rows
        chain, view = image // views, image % views
        for y in range(strip * cell, min((strip + 1) * cell, height)):
            color, photograph = colors[chain, view, y], images[view, y]
            gradient = gradients[chain, view, y]
            for x in range(across):
                factor = factors[chain, view, strip, x]
                for entry in range(3 * cell * x, min(3 * cell * (x + 1), entries)):
                    gradient[entry] = factor * (color[entry] - photograph[entry])
        finish_item(progress, 0)
    wait_for_items(progress, 0)


class _CellSquaredErrors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, colors: Tensor, images: Tensor, cell: int) -> Tensor:
        ctx.pictures, ctx.cell = _entries(colors, images), cell
        ctx.shape = colors.shape
        chains, views, height, width, _ = colors.shape
        rows, columns = -(-height // cell), -(-width // cell)
        sums = torch.empty((chains, views, rows, columns), dtype=torch.float64)
        threads = torch.get_num_threads()
        run_items(
            sum_cells,
            chains * views * rows,
            threads,
            *ctx.pictures,
            cell,
            np.empty((threads, 3 * width)),
            sums.numpy(),
        )
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        result = torch.empty(ctx.shape)
        run_items(
            sum_cells_backward,
            gradient[..., 0].numel(),
            torch.get_num_threads(),
            *ctx.pictures,
            ctx.cell,
            (2.0 * gradient).float().contiguous().numpy(),
            result.flatten(-2).numpy(),
        )
        return result, None, None


def _entries(*pictures: Tensor) -> tuple[np.ndarray[Any, Any], ...]:
    """Pictures as arrays whose last axis runs over pixels and their channels."""
    return tuple(p.detach().contiguous().flatten(-2).numpy() for p in pictures)
