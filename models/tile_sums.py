"""Sums of tiles and Gaussians over blocks, in a fixed order."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def block_sums(
    values: Float[Tensor, "chain term"], owner: Int[Tensor, "chain term"], num_blocks: int
) -> Float[Tensor, "chain blocks_and_one"]:
    """Sums by owner, one term after another; those of nobody (-1) in one more column."""
    chains, columns = len(values), num_blocks + 1
    column = torch.where(owner < 0, num_blocks, owner)
    index = column + columns * torch.arange(chains, device=owner.device)[:, None]
    return torch.bincount(index.flatten(), values.flatten(), chains * columns).reshape(chains, -1)
