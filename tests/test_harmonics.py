import math

import numpy as np
import pytest
import torch
from gsplat.cuda import _torch_impl as gsplat

from bayes_splat import harmonics

DEGREES = range(harmonics.MAX_DEGREE + 1)


def unit_vectors(number: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(number, 3, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("degree", DEGREES)
def test_orthonormal_on_the_sphere(degree):
    # Gauss-Legendre in z and equal angles around it: exact for polynomials to degree 9.
    z, weights = np.polynomial.legendre.leggauss(5)
    angle = 2 * math.pi * np.arange(10) / 10
    radius = np.sqrt(1 - z**2)[:, None]
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    directions = np.stack(np.broadcast_arrays(x, y, z[:, None]), axis=-1).reshape(-1, 3)
    basis = harmonics.evaluate(degree, torch.from_numpy(directions)).numpy()
    area = np.repeat(weights, 10) * 2 * math.pi / 10
    assert area.sum() == pytest.approx(4 * math.pi)
    np.testing.assert_allclose(basis.T * area @ basis, np.eye((degree + 1) ** 2), atol=1e-13)


@pytest.mark.parametrize("degree", DEGREES)
def test_same_order_and_signs_as_gsplat(degree):
    directions = torch.cat([unit_vectors(50), torch.eye(3), -torch.eye(3)])
    expected = gsplat._eval_sh_bases_fast((degree + 1) ** 2, directions)
    torch.testing.assert_close(harmonics.evaluate(degree, directions), expected, rtol=0, atol=1e-14)


def test_differentiable_at_the_poles_too():
    directions = torch.cat([unit_vectors(2), torch.tensor([[0.0, 0, 1], [0, 0, -1]])])
    directions = directions.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: harmonics.evaluate(4, d), directions)


@pytest.mark.parametrize("degree", DEGREES)
def test_colors_are_those_of_gsplat(degree):
    directions = unit_vectors(40)
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(40, 3, (degree + 1) ** 2, generator=generator, dtype=torch.float64)
    expected = gsplat._spherical_harmonics(degree, directions, coefficients.mT) + 0.5
    assert (expected < 0).any(), "some colours have to be clipped"
    torch.testing.assert_close(harmonics.to_colors(coefficients, directions), expected.clamp_min(0))


@pytest.mark.parametrize("degree", DEGREES)
def test_colors_may_be_clipped_elsewhere_or_not_at_all(degree):
    directions = unit_vectors(40)
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(40, 3, (degree + 1) ** 2, generator=generator, dtype=torch.float64)
    linear = harmonics.to_colors(coefficients, directions, -torch.inf)
    assert (linear < -0.1).any()
    basis = harmonics.evaluate(degree, directions)
    torch.testing.assert_close(linear, 0.5 + torch.einsum("nck,nk->nc", coefficients, basis))
    for least in (0.0, -0.1):
        found = harmonics.to_colors(coefficients, directions, least)
        torch.testing.assert_close(found, linear.clamp_min(least))
        if degree == 0:
            torch.testing.assert_close(harmonics.plain_colors(coefficients, least), found)


def test_plain_colors_look_the_same_from_everywhere():
    colors = torch.rand(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    back = harmonics.to_colors(harmonics.from_colors(colors), unit_vectors(6))
    torch.testing.assert_close(back, colors)
    assert pytest.approx(0.28209479177387814) == harmonics.ZEROTH


@pytest.mark.parametrize(("d_sh", "degree"), [(1, 0), (4, 1), (9, 2), (16, 3), (25, 4)])
def test_degree_of_a_number_of_coefficients(d_sh, degree):
    assert harmonics.degree_of(d_sh) == degree


@pytest.mark.parametrize("d_sh", [0, 2, 3, 24, 36])
def test_other_numbers_of_coefficients_are_refused(d_sh):
    with pytest.raises(ValueError, match=f"d_sh is {d_sh}; .* 1, 4, 9, 16 or 25"):
        harmonics.degree_of(d_sh)
