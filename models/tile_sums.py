"""Sums of pixels over tiles, and of tiles and Gaussians over blocks, in a fixed order."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def cell_squared_errors(
    colors: Float[Tensor, "chain view height width 3"],
    images: Float[Tensor, "*chain view height width 3"],
    cell: int,
) -> Float[Tensor, "chain view row column"]:
    """Squared colour errors summed over square cells, float64; the last ones may be cut."""
    squares = (colors.double() - images).square().sum(-1)
    height, width = squares.shape[-2:]
    padded = torch.nn.functional.pad(squares, (0, -width % cell, 0, -height % cell))
    return rearrange(padded, "c v (r a) (k b) -> c v r k a b", a=cell, b=cell).sum((-2, -1))


def block_sums(
    values: Float[Tensor, "chain term"], owner: Int[Tensor, "chain term"], num_blocks: int
) -> Float[Tensor, "chain blocks_and_one"]:
    """Sums by owner, one term after another; those of nobody (-1) in one more column."""
    chains, columns = len(values), num_blocks + 1
    column = torch.where(owner < 0, num_blocks, owner)
    index = column + columns * torch.arange(chains, device=owner.device)[:, None]
    return torch.bincount(index.flatten(), values.flatten(), chains * columns).reshape(chains, -1)
