"""Squared differences of pictures and photographs, summed in float64: what Normal noise looks at.

At a noise of 0.02 the energy of one photograph is about 1e5, of which a float32 sum would lose the
digits that decide an acceptance. No float64 picture is made, and no picture of residuals is kept:
the backward pass computes them again.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

STRIP = 32
"""A good cell side for going over whole pictures, pixels: enough strips for all threads."""


class ChosenErrors(NamedTuple):
    """Of chosen pixels, by view.

    Attributes:
        sums: squared differences over pixels and channels, float64.
        counts: how many pixels of the view were chosen.
    """

    sums: Float[Tensor, "chain view"]
    counts: Float[Tensor, "chain view"]


def cell_squared_errors(
    colors: Float[Tensor, "chain view height width 3"],
    images: Float[Tensor, "view height width 3"],
    cell: int,
) -> Float[Tensor, "chain view rows columns"]:
    """Sums of (color - image)^2 over the channels of every cell x cell pixels, float64.

    Differentiable in ``colors``, once. Each cell has one order of summation: the result does not
    depend on the number of threads or chains. NaN colours make NaN sums of their cells.

    Args:
        colors: pictures of every chain.
        images: photographs of the same views.
        cell: side of a cell, pixels; cells at the right and lower edge may be smaller.

    Raises:
        ValueError: the side is less than one pixel.
    """
    if cell < 1:
        raise ValueError(f"cell is {cell} pixels; give at least 1")
    if all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (colors, images)):
        from bayes_splat.rendering import cpu_squared_errors  # late: loading numba takes a second

        return cpu_squared_errors.cell_squared_errors(colors, images, cell)
    return reference_cell_squared_errors(colors, images, cell)


def chosen_squared_errors(
    colors: Float[Tensor, "chain pixel 3"],
    images: Float[Tensor, "chain pixel 3"],
    view: Int[Tensor, "chain pixel"],
    num_views: int,
) -> ChosenErrors:
    """Sums of (color - image)^2 over chosen pixels, float64, differentiable in ``colors``.

    Args:
        colors, images: of the chosen pixels.
        view: of every chosen pixel.
        num_views: how many views there are.
    """
    squares = (colors.double() - images.double()).square()
    nothing = squares.new_zeros(len(colors), num_views)
    # A row is added up by one thread in the order of the pixels.
    sums = nothing.scatter_add(1, view, squares[..., 0] + squares[..., 1] + squares[..., 2])
    counts = nothing.scatter_add(1, view, torch.ones_like(squares[..., 0]))
    return ChosenErrors(sums, counts)


def reference_cell_squared_errors(
    colors: Float[Tensor, "chain view height width 3"],
    images: Float[Tensor, "view height width 3"],
    cell: int,
) -> Float[Tensor, "chain view rows columns"]:
    """:func:`cell_squared_errors` in plain PyTorch, any precision and device: its specification."""
    squares = (colors.double() - images.double()).square().sum(-1)
    height, width = squares.shape[-2:]
    padded = torch.nn.functional.pad(squares, (0, -width % cell, 0, -height % cell))
    # Columns first, then rows: sums down to one number would depend on threads.
    by_column: Tensor = padded.unflatten(-1, (-1, cell)).sum(-1)
    sums: Tensor = by_column.unflatten(-2, (-1, cell)).sum(-2)
    return sums
