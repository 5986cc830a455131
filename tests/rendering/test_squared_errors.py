import pytest
import torch
from torch import Tensor

from bayes_splat.rendering import squared_errors
from tests import helpers_scenes as scenes

SHAPES = [(1, 1, 1, 1), (2, 3, 7, 5), (3, 2, 16, 33), (1, 2, 40, 64)]
CELLS = [1, 2, 5, 16, 100]


def pictures(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand((*shape, 3), generator=generator, dtype=torch.float64)
    images = torch.rand((*shape[1:], 3), generator=generator, dtype=torch.float64)
    return colors.to(dtype).requires_grad_(), images.to(dtype)


def by_hand(colors: Tensor, images: Tensor, cell: int) -> Tensor:
    """Cell after cell, in float64."""
    squares = (colors.detach().double() - images.double()) ** 2
    height, width = squares.shape[2:4]
    return torch.stack(
        [
            torch.stack(
                [
                    squares[:, :, y : y + cell, x : x + cell].sum((2, 3, 4))
                    for x in range(0, width, cell)
                ],
                dim=-1,
            )
            for y in range(0, height, cell)
        ],
        dim=-2,
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_and_gradients_by_hand(shape, cell, dtype):
    colors, images = pictures(shape, dtype)
    sums = squared_errors.cell_squared_errors(colors, images, cell)
    assert sums.dtype == torch.float64
    torch.testing.assert_close(sums.detach(), by_hand(colors, images, cell), rtol=1e-12, atol=0)
    weights = torch.rand(sums.shape, generator=torch.Generator().manual_seed(1)).double()
    (gradient,) = torch.autograd.grad((weights * sums).sum(), colors)
    wide = weights.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    wide = wide[:, :, : shape[2], : shape[3], None]
    wanted = 2.0 * wide * (colors.detach().double() - images.double())
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.double(), wanted, rtol=3e-7, atol=1e-9)


def test_large_sums_keep_the_digits_of_float64():
    colors, images = pictures((1, 1, 200, 300), torch.float32)
    exact = by_hand(colors, images, 300)
    found = squared_errors.cell_squared_errors(colors, images, 300)
    torch.testing.assert_close(found.detach(), exact, rtol=1e-13, atol=0)


def test_bits_do_not_depend_on_threads_or_on_other_chains():
    colors, images = pictures((3, 2, 50, 41), torch.float32)
    results = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            sums = squared_errors.cell_squared_errors(colors, images, 8)
            results.append((sums.detach(), torch.autograd.grad(sums.sum(), colors)[0]))
    for sums, gradient in results[1:]:
        assert torch.equal(sums, results[0][0])
        assert torch.equal(gradient, results[0][1])
    alone = squared_errors.cell_squared_errors(colors[1:2], images, 8)
    assert torch.equal(alone[0].detach(), results[0][0][1])


def test_pictures_need_not_be_contiguous():
    colors, images = pictures((2, 2, 9, 6), torch.float32)
    turned, photographs = colors.transpose(2, 3), images.transpose(1, 2)
    sums = squared_errors.cell_squared_errors(turned, photographs, 4)
    assert sums.detach() == pytest.approx(by_hand(turned, photographs, 4))
    (gradient,) = torch.autograd.grad(sums.sum(), colors)
    assert gradient == pytest.approx(2.0 * (colors - images).detach())


def test_a_picture_of_nan_spoils_its_own_sums_only():
    colors, images = pictures((2, 1, 8, 8), torch.float32)
    with torch.no_grad():
        colors[1, 0, 2, 3, 1] = torch.nan
    found = squared_errors.cell_squared_errors(colors, images, 4)[:, 0]
    assert found[0].isfinite().all()
    assert found[1].isnan().tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("cell", [0, -3])
def test_cells_have_a_size(cell):
    with pytest.raises(ValueError, match=f"cell is {cell}"):
        squared_errors.cell_squared_errors(*pictures((1, 1, 2, 2), torch.float32), cell)


def test_chosen_pixels_by_view():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(2, 4, 3, generator=generator, requires_grad=True)
    images = torch.rand(2, 4, 3, generator=generator)
    view = torch.tensor([[0, 2, 2, 0], [1, 1, 1, 1]])
    sums, counts = squared_errors.chosen_squared_errors(colors, images, view, 3)
    squares = (colors - images).detach().double().square().sum(-1)
    wanted = [
        [squares[0, 0] + squares[0, 3], 0.0, squares[0, 1] + squares[0, 2]],
        [0.0, squares[1].sum(), 0.0],
    ]
    assert sums.detach() == pytest.approx(torch.tensor(wanted).double())
    assert counts.tolist() == [[2, 0, 2], [0, 4, 0]]
    (gradient,) = torch.autograd.grad(sums[:, 1:].sum(), colors)
    kept = (view > 0)[..., None]
    assert gradient == pytest.approx(2.0 * (colors - images).detach() * kept)
