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
