"""Two ordinary Pyro models, and what long runs of Pyro's NUTS say about them.

The numbers were printed by ``python benchmarks/nuts_reference.py``.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

SCHOOLS_EFFECT = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]).double()
SCHOOLS_ERROR = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]).double()


def eight_schools() -> None:
    """Rubin (1981), not centred: effect_j = mu + tau z_j, y_j ~ Normal(effect_j, known error)."""
    zero = torch.zeros((), dtype=torch.float64)
    mu = pyro.sample("mu", dist.Normal(zero, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(zero + 5.0))
    with pyro.plate("school", 8):
        z = pyro.sample("z", dist.Normal(zero, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, SCHOOLS_ERROR), obs=SCHOOLS_EFFECT)


def _regression_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    x[:, 1] += 0.8 * x[:, 0]
    chance = torch.sigmoid(0.5 + x @ torch.tensor([1.5, -1.0]).double())
    return x, (torch.rand(40, generator=generator, dtype=torch.float64) < chance).double()


REGRESSORS, LABELS = _regression_data()


def logistic_regression() -> None:
    """Forty labels, two correlated regressors and an intercept, Normal(0, 2^2) priors."""
    zero = torch.zeros((), dtype=torch.float64)
    intercept = pyro.sample("intercept", dist.Normal(zero, 2.0))
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2).double(), 2.0).to_event(1))
    with pyro.plate("label", 40):
        # Not matmul: its rounding depends on how many chains there are.
        logits = intercept + (slope * REGRESSORS).sum(-1)
        pyro.sample("y", dist.Bernoulli(logits=logits), obs=LABELS)


def schools_functions(sites: dict[str, Tensor]) -> Tensor:
    """Of draws [..., site]: means, spreads and quantiles in one [..., function]."""
    mu, tau, z = sites["mu"], sites["tau"], sites["z"]
    first = mu + tau * z[..., 0]
    values = [mu / 5.0, mu.square() / 25.0, tau.log(), first / 10.0, z[..., 0], z[..., 2]]
    shares = [tau < 2.0, tau < 6.0, first < 5.0, first < 15.0, mu < 4.0]
    return torch.stack([*values, *(share.double() for share in shares)], dim=-1)


def regression_functions(sites: dict[str, Tensor]) -> Tensor:
    """Of draws [..., site]: first and second moments and quantiles in one [..., function]."""
    b = torch.cat([sites["intercept"][..., None], sites["slope"]], dim=-1)
    moments = torch.cat([b, b.square(), b[..., :1] * b[..., 1:], b[..., 1:2] * b[..., 2:]], dim=-1)
    limits = torch.tensor([0.5, 1.5, -1.0]).double()
    return torch.cat([moments, (b < limits).double()], dim=-1)


# (mean, Monte Carlo error) of each function, from 10,000 draws of NUTS.
SCHOOLS_REFERENCE = (
    (0.86782, 0.00712),
    (1.18631, 0.01486),
    (0.77845, 0.01747),
    (0.61035, 0.00575),
    (0.30600, 0.00980),
    (-0.09161, 0.00865),
    (0.38920, 0.00599),
    (0.82550, 0.00409),
    (0.45100, 0.00490),
    (0.94240, 0.00257),
    (0.45770, 0.00503),
)
REGRESSION_REFERENCE = (
    (0.28762, 0.00505),
    (1.87362, 0.00976),
    (-1.11037, 0.00629),
    (0.23903, 0.00444),
    (3.93989, 0.04056),
    (1.40255, 0.01618),
    (0.50881, 0.01061),
    (-0.33066, 0.00677),
    (-2.28431, 0.02478),
    (0.70590, 0.00561),
    (0.29740, 0.00614),
    (0.58490, 0.00656),
)
