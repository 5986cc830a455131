import numba
import numpy as np
import torch
from scipy import special

from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering import cpu_truncated_normal

UPPER = 0.999


@numba.njit
def quantiles(shares, values):
    for i in range(len(shares)):
        values[i] = cpu_truncated_normal.quantile(shares[i])


@numba.njit
def shares_below(values, shares):
    for i in range(len(shares)):
        shares[i] = cpu_truncated_normal.distribution_function(values[i])


@numba.njit
def draws(weighted, precision, current, uniform, found):
    for i in range(len(weighted)):
        found[0, i], found[1, i] = cpu_truncated_normal.draw_truncated(
            weighted[i], precision[i], current[i], UPPER, uniform[i]
        )


def test_quantiles_hold_their_relative_precision_in_both_tails():
    left = 10.0 ** np.linspace(-300, -1, 500)
    shares = np.concatenate([left, np.linspace(0.01, 0.99, 500), 1 - 10.0 ** np.linspace(-15, -1)])
    found = np.empty_like(shares)
    quantiles(shares, found)
    assert np.allclose(found, special.ndtri(shares), rtol=1e-13, atol=1e-15)
    ends = np.array([0.0, 1.0])
    quantiles(ends, ends)
    assert ends[0] == -np.inf
    assert ends[1] == np.inf


def test_distribution_function_is_never_rounded_to_zero():
    values = np.linspace(-37.0, 8.0, 200)
    found = np.empty_like(values)
    shares_below(values, found)
    assert np.allclose(np.log(found), special.log_ndtr(values), rtol=1e-12, atol=1e-15)


def test_draws_are_those_of_the_torch_function():
    """In the bulk, both tails, far outside, and where there is no information at all."""
    generator = np.random.default_rng(0)
    size = 20000
    precision = 10.0 ** generator.uniform(-3, 8, size)
    precision[:100] = 0.0
    deviations = np.where(
        generator.uniform(size=size) < 0.5,
        generator.normal(size=size) * 3.0,
        generator.uniform(-60, 60, size),
    )
    weighted = precision * generator.uniform(0, UPPER, size) + deviations * np.sqrt(precision)
    uniform, current = generator.uniform(size=size), generator.uniform(0, UPPER, size)
    uniform[::50] = 0.0
    found = np.empty((2, size))
    draws(weighted, precision, current, uniform, found)
    given = [torch.from_numpy(x) for x in (weighted, precision, current, uniform)]
    wanted = sample_truncated_normal(given[0], given[1], given[2], UPPER, given[3])
    assert np.abs(found[0] - wanted[0].numpy()).max() < 1e-10
    assert np.allclose(found[1], wanted[1], rtol=1e-6, atol=1e-9)
    assert (found[1] != 0).sum() > 1000
    assert (found[0] >= 0).all()
    assert (found[0] <= UPPER).all()


@numba.njit
def masses(weighted, precision, found):
    for i in range(len(weighted)):
        found[i] = cpu_truncated_normal.log_truncated_mass(weighted[i], precision[i], UPPER)


@numba.njit
def exact_draws(weighted, precision, uniform, found):
    for i in range(len(weighted)):
        found[i] = cpu_truncated_normal.draw_truncated_exactly(
            weighted[i], precision[i], UPPER, uniform[i]
        )


def conditionals(size: int, seed: int = 0):
    """Means in the support, near its ends, and up to 200 deviations beyond either."""
    generator = np.random.default_rng(seed)
    precision = 10.0 ** generator.uniform(-8, 6, size)
    deviations = generator.uniform(0, 200, size) ** generator.uniform(0, 1, size)
    ends = generator.choice([0.0, UPPER], size)
    outward = np.where(ends == 0.0, -1.0, 1.0) * generator.choice([-1.0, 1.0, 1.0], size)
    return precision * ends + outward * deviations * np.sqrt(precision), precision


def integral(weighted, precision, start, end):
    """Log of the integral of the density over [start, end], by Gauss and Legendre in pieces."""
    nodes, shares = np.polynomial.legendre.leggauss(40)
    mode = np.clip(weighted / precision, start, end)
    slope = max(abs(weighted - precision * mode), np.sqrt(precision))
    steps = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 60)]) / slope
    edges = np.clip(np.concatenate([mode - steps[::-1], mode + steps]), start, end)
    edges = np.unique(np.concatenate([[start], edges, [end]]))
    at = 0.5 * (edges[1:] + edges[:-1])[:, None] + 0.5 * np.diff(edges)[:, None] * nodes
    top = weighted * mode - 0.5 * precision * mode**2
    inside = np.exp((at - mode) * (weighted - 0.5 * precision * (at + mode)))
    return top + np.log((inside * shares * 0.5 * np.diff(edges)[:, None]).sum())


def test_masses_are_the_integrated_densities():
    weighted, precision = conditionals(2000)
    found = np.empty_like(weighted)
    masses(weighted, precision, found)
    wanted = [integral(*pair, 0.0, UPPER) for pair in zip(weighted, precision, strict=True)]
    scale = np.maximum(np.abs(wanted), 1.0)
    assert (np.abs(found - wanted) / scale).max() < 1e-9
    masses(np.zeros(1), np.zeros(1), found[:1])
    assert found[0] == np.log(UPPER)


def test_exact_draws_invert_the_integrated_densities():
    """Far outside too, where ``draw_truncated`` has to be corrected."""
    weighted, precision = conditionals(500, seed=1)
    precision = np.maximum(precision, 1e-2)
    uniform = np.random.default_rng(2).uniform(size=500)
    found, whole = np.empty_like(weighted), np.empty_like(weighted)
    exact_draws(weighted, precision, uniform, found)
    masses(weighted, precision, whole)
    for i in range(500):
        below = np.exp(integral(weighted[i], precision[i], 0.0, found[i]) - whole[i])
        is_reflected = weighted[i] > 0.5 * UPPER * precision[i]
        share = 1.0 - uniform[i] if is_reflected else uniform[i]
        near_end = is_reflected and found[i] == UPPER
        assert near_end or abs(below - share) < 1e-6, (weighted[i], precision[i])


def test_many_are_drawn_as_each_alone():
    """Draws by the distribution function, masses by quadrature."""
    weighted = torch.tensor([[0.0, 3.0, -40.0], [200.0, 5.0, 0.0]], dtype=torch.float64)
    precision = torch.tensor([[0.0, 4.0, 10.0], [150.0, 100.0, 1e-14]], dtype=torch.float64)
    uniform = torch.tensor([[0.2, 0.5, 0.9], [0.1, 0.7, 0.4]], dtype=torch.float64)
    found = cpu_truncated_normal.draw_with_mass(weighted, precision, UPPER, uniform)
    grid = torch.linspace(0.0, UPPER, 400_001, dtype=torch.float64)[:, None, None]
    density = (weighted * grid - 0.5 * precision * grid**2).exp()
    mass = torch.trapezoid(density, grid, dim=0)
    assert torch.allclose(found.log_mass, mass.log(), atol=1e-6)
    below = torch.where(grid <= found.values, density, torch.zeros_like(density))
    # Where the mean lies in the upper half, uniform numbers count from above.
    shares = torch.where(weighted > 0.5 * UPPER * precision, 1.0 - uniform, uniform)
    assert torch.allclose(torch.trapezoid(below, grid, dim=0) / mass, shares, atol=1e-3)
