import math

import numba
import numpy as np
import pytest
import torch

from bayes_splat.models import logistic
from bayes_splat.rendering import cpu_logistic
from tests import helpers_scenes as scenes

HIGH, WEIGHT, TILT = 0.999, 1.35, -0.65
DTYPES = [torch.float32, torch.float64]


def coordinates(size: int = 9001, chains: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return 4.0 * torch.randn(chains, size, generator=generator, dtype=torch.float64)


def ends(size: int = 9001) -> tuple[torch.Tensor, torch.Tensor]:
    near = torch.linspace(0.5, 2.0, size, dtype=torch.float64)
    return 1.0 / near, 1.0 / (near + torch.linspace(0.1, 50.0, size, dtype=torch.float64))


def test_exponential_is_exact_to_the_last_bits():
    exponential = numba.njit(lambda x: cpu_logistic.exponential(x))
    for x in [*np.linspace(-708.0, 0.0, 4001), *-(10.0 ** np.linspace(-300, 0, 31)), -0.0]:
        assert exponential(x) == pytest.approx(math.exp(x), rel=3e-16, abs=0.0)


def test_reciprocal_line_is_that_of_the_model():
    u, (first, last) = coordinates().requires_grad_(), ends()
    values, density = cpu_logistic.reciprocal_line(u, first, last)
    torch.testing.assert_close(
        values, logistic.reciprocal_line(u, first, last), rtol=1e-14, atol=0.0
    )
    wanted = logistic.log_density(u).sum(-1)
    torch.testing.assert_close(density, wanted, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stretched_is_that_of_the_model(dtype):
    u = coordinates()
    values, density = cpu_logistic.stretched(u, HIGH, WEIGHT, TILT, dtype)
    assert values.dtype == dtype
    rounding = torch.finfo(dtype).eps
    wanted = HIGH * logistic.sigmoid(u)
    torch.testing.assert_close(values.double(), wanted, rtol=4.0 * rounding, atol=0.0)
    wanted = (WEIGHT * logistic.log_density(u) + TILT * u).sum(-1)
    torch.testing.assert_close(density, wanted, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_those_of_the_model(dtype):
    u, (first, last) = coordinates().requires_grad_(), ends()
    towards = torch.randn(2, *u.shape, generator=torch.Generator().manual_seed(0)).double()
    along = torch.tensor([1.0, -2.0, 0.0]).double()

    def slope(one, one_density, other, other_density):
        total = (one * towards[0] + other.double() * towards[1]).sum()
        total = total + (along * (one_density + 3.0 * other_density)).sum()
        return torch.autograd.grad(total, u)[0]

    found = slope(
        *cpu_logistic.reciprocal_line(u, first, last),
        *cpu_logistic.stretched(u, HIGH, WEIGHT, TILT, dtype),
    )
    density = logistic.log_density(u)
    wanted = slope(
        logistic.reciprocal_line(u, first, last),
        density.sum(-1),
        logistic.StretchedLogistic(HIGH)(u),
        (WEIGHT * density + TILT * u).sum(-1),
    )
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)


def test_far_coordinates_have_the_density_of_their_size():
    u = torch.linspace(705.0, 20_000.0, 501, dtype=torch.float64)
    for far, end in ((-u, 0.0), (u, HIGH)):
        placed = cpu_logistic.stretched(far[:, None], HIGH, 1.0, 0.0, torch.float64)
        assert placed.log_density == pytest.approx(-u, rel=1e-15)
        assert placed.values[:, 0] == pytest.approx(torch.full_like(u, end), abs=1e-300)


def test_far_coordinates_have_a_density_and_endless_ones_have_none():
    u = torch.tensor([[-1e4, -700.0, 40.0, 1e4], [0.0, torch.nan, 0, 0], [0, 0, torch.inf, 0]])
    placed = cpu_logistic.stretched(u.double(), 1.0, 1.0, 0.0, torch.float64)
    assert placed.log_density[0].item() == pytest.approx(-20740.0)
    assert not placed.log_density[1:].isfinite().any()
    assert placed.values[0].tolist() == pytest.approx([0.0, math.exp(-700.0), 1.0, 1.0])
    assert placed.values[1, 1].isnan()


def test_bits_do_not_depend_on_threads_or_on_other_chains():
    u = coordinates()

    def everything(rows):
        leaf = rows.clone().requires_grad_()
        line = cpu_logistic.reciprocal_line(leaf, *ends())
        opacity = cpu_logistic.stretched(leaf, HIGH, WEIGHT, TILT, torch.float32)
        total = line.values.sum() + opacity.values.sum() + (line[1] + opacity[1]).sum()
        return (*line, *opacity, *torch.autograd.grad(total, leaf))

    results = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            results.append(everything(u))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    alone = everything(u[1:2])
    assert all(torch.equal(a[0], b[1]) for a, b in zip(alone, results[0], strict=True))
