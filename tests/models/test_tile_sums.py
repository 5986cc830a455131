"""Sums over blocks, by hand."""

import torch

from bayes_splat.models import tile_sums


def test_sums_by_owner():
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0], [16.0, 32.0, 64.0, 128.0]]).double()
    owner = torch.tensor([[1, -1, 1, 0], [-1, -1, 2, 2]])
    sums = tile_sums.block_sums(values, owner, 3)
    assert sums.tolist() == [[8.0, 5.0, 0.0, 2.0], [0.0, 0.0, 192.0, 48.0]]
