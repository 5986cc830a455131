"""Sums over tiles and blocks, against loops."""

import torch

from bayes_splat.models import tile_sums


def test_squared_errors_of_cut_tiles():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(2, 3, 5, 7, 3, generator=generator)
    images = torch.rand(3, 5, 7, 3, generator=generator, dtype=torch.float64)
    sums = tile_sums.cell_squared_errors(colors, images, 3)
    assert sums.shape == (2, 3, 2, 3)
    assert sums.dtype == torch.float64
    for row in range(2):
        for column in range(3):
            down, along = slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3)
            expected = (colors.double() - images)[:, :, down, along].square().sum((2, 3, 4))
            torch.testing.assert_close(sums[:, :, row, column], expected)


def test_sums_by_owner():
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0], [16.0, 32.0, 64.0, 128.0]]).double()
    owner = torch.tensor([[1, -1, 1, 0], [-1, -1, 2, 2]])
    sums = tile_sums.block_sums(values, owner, 3)
    assert sums.tolist() == [[8.0, 5.0, 0.0, 2.0], [0.0, 0.0, 192.0, 48.0]]
