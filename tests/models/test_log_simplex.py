import torch
from scipy import stats
from torch.distributions import biject_to, transforms

from bayes_splat.models.log_simplex import (
    LogDirichlet,
    LogStickBreaking,
    log_dirichlet,
    log_simplex,
)
from tests import helpers_scenes as scenes

CONCENTRATION = torch.tensor([0.3, 2.0, 1.0, 5.0], dtype=torch.float64)


def coordinates(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3.0 * torch.randn(shape, generator=generator, dtype=torch.float64)


def test_stick_breaking_is_the_logarithm_of_torchs_own():
    x = coordinates(5, 7)
    log_p = LogStickBreaking()(x)
    assert torch.allclose(log_p.exp(), transforms.StickBreakingTransform()(x), rtol=1e-12)
    assert log_simplex.check(log_p).all()
    assert isinstance(biject_to(log_simplex), LogStickBreaking)


def test_the_inverse_gives_back_what_would_underflow():
    x = torch.tensor([[900.0, -2000.0, 3.0, -1e5], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    to = LogStickBreaking()
    assert torch.allclose(to.inv(to(x)), x, rtol=1e-12, atol=1e-12)
    assert torch.allclose(to(x[1]), torch.full((5,), 0.2).double().log())


def test_determinant_and_slopes_are_those_of_autograd():
    to, x = LogStickBreaking(), coordinates(4)
    jacobian = torch.autograd.functional.jacobian(lambda x: to(x)[:-1], x)
    wanted = torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(to.log_abs_det_jacobian(x, to(x)), wanted)
    zero = torch.zeros(3, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda x: to(x), zero)
    ahead, behind = to(zero + 1e-6), to(zero - 1e-6)
    assert torch.allclose(slopes.sum(-1), (ahead - behind) / 2e-6, atol=1e-8)


def test_density_is_that_of_dirichlet():
    """p(log p) = p(p) times the product of the first K - 1 probabilities."""
    log_p = LogStickBreaking()(coordinates(3, 3))
    found = LogDirichlet(CONCENTRATION).log_prob(log_p)
    wanted = torch.distributions.Dirichlet(CONCENTRATION).log_prob(log_p.exp())
    assert torch.allclose(found, wanted + log_p[:, :-1].sum(-1))


def test_draws_have_the_moments_of_dirichlet():
    draws = 20_000
    torch.manual_seed(0)
    p = LogDirichlet(CONCENTRATION).expand(torch.Size((draws,))).sample().exp()
    total = CONCENTRATION.sum()
    mean = CONCENTRATION / total
    deviation = (mean * (1 - mean) / (total + 1)).sqrt()
    assert ((p.mean(0) - mean) / deviation).abs().max() < scenes.LIMIT / draws**0.5
    for column, a in zip(p.T, CONCENTRATION, strict=True):
        cumulative = torch.from_numpy(stats.beta(float(a), float(total - a)).cdf(column.numpy()))
        assert scenes.kolmogorov_smirnov(cumulative) < scenes.LIMIT


def test_sparse_draws_stay_finite():
    """Of Gamma(a) with a small, log U / a is nearly all."""
    a = torch.full((2000, 2), 1e-4, dtype=torch.float64)
    log_p = log_dirichlet(a, torch.Generator().manual_seed(0))
    assert log_p.isfinite().all()
    assert log_p.min() < -1e4
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(2000, dtype=torch.float64), atol=1e-9)
    # min over both of -log p, times a, is the difference of two exponential numbers: Exp(1).
    uniform = 1 - torch.exp(log_p.min(-1).values * 1e-4)
    assert scenes.kolmogorov_smirnov(uniform) < scenes.LIMIT
    assert log_dirichlet(torch.zeros(1, 3), torch.Generator()).isfinite().all()
