"""The composed sampler against answers that owe nothing to it: Pyro's NUTS, and the prior weighted.

With one bucket the posterior is smooth and NUTS can sample it. With several it jumps wherever the
order changes, which gradients cannot see: there the reference is half a million draws from the prior
weighted with their likelihood, on a scene of four Gaussians.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from bayes_splat import convergence, geometry, inference
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

SHARES = (0.1, 0.5, 0.9)


class Estimates(NamedTuple):
    """Expectations of many functions, and their standard errors."""

    mean: np.ndarray
    error: np.ndarray


def photographed(num_buckets: int, image_shape: tuple[int, int], **config: object):
    """A tiny scene with photographs of itself, and the sites that they were made from."""
    model = scenes.tiny_model(num_buckets, image_shape=image_shape, **config)
    sites = scenes.prior_draws(model, 1, seed=3)
    return scenes.observing(model, sites, seed=4), sites


def quantities(model: SplatModel, sites: dict[str, Tensor]) -> Tensor:
    """What is compared, of draws [draw, ...]: disparities, opacities, noise and some pixels."""
    proposal = model.proposal
    depth, opacity = sites["depth"].double(), sites["opacity"].double()
    pieces = depth.split(20_000), opacity.split(20_000)
    colors = torch.cat([model.predict_pixels(*piece) for piece in zip(*pieces, strict=True)])
    return torch.cat(
        [
            geometry.depth_to_relative_disparity(depth, proposal.near, proposal.far),
            opacity,
            sites["noise_scale"].double().log().reshape(len(depth), -1),
            colors.flatten(1)[:, :12],
        ],
        dim=1,
    )


def with_shares_below(values: Tensor, limits: Tensor) -> Tensor:
    """The values, and for each whether it lies below every limit: their mean is the quantile's."""
    return torch.cat([values, *(values < limit for limit in limits)], dim=-1)


def from_chains(values: Tensor, limits: Tensor) -> Estimates:
    """Of draws [chain, draw, quantity]."""
    functions = with_shares_below(values, limits).numpy()
    return Estimates(functions.mean((0, 1)), convergence.mcse_mean(functions))


def scores(one: Estimates, other: Estimates) -> np.ndarray:
    return (one.mean - other.mean) / np.hypot(one.error, other.error)


def sampled(model: SplatModel, *, draws: int, warmup: int, seed: int = 0) -> Tensor:
    """By the default sampler: [chain, draw, quantity]."""
    found = inference.sample_posterior(model, chains=64, draws=draws, warmup=warmup, seed=seed)
    flat = quantities(model, {name: value.flatten(0, 1) for name, value in found.sites.items()})
    return flat.unflatten(0, (64, draws))


# ----- one bucket -----


def test_the_default_sampler_agrees_with_nuts():
    model, truth = photographed(1, (2, 2), noise_prior=[6.0, 0.06])
    start = PyroTarget(model, vectorized=True).unconstrain(truth)
    pyro.set_rng_seed(0)
    mcmc = MCMC(
        NUTS(model, step_size=0.25, adapt_step_size=False, adapt_mass_matrix=False),
        num_samples=300,
        warmup_steps=0,
        initial_params={site: value[0] for site, value in start.items()},
        disable_progbar=True,
    )
    mcmc.run()
    nuts = quantities(model, mcmc.get_samples())
    limits = nuts.quantile(torch.tensor(SHARES, dtype=torch.float64), dim=0)
    reference = from_chains(nuts[None], limits)
    ours = sampled(model, draws=80, warmup=60)
    difference = scores(from_chains(ours, limits), reference)
    print(np.abs(difference).max(), reference.error / nuts.std(0).repeat(4).numpy())
    assert np.abs(difference).max() < scenes.LIMIT
    # The test can tell: shifted by a third of their spread, the same draws disagree.
    shifted = from_chains(ours + 0.35 * nuts.std(0), limits)
    assert np.abs(scores(shifted, reference)).max() > scenes.LIMIT


# ----- several buckets -----


@pytest.fixture(scope="module")
def bucketed() -> SplatModel:
    return photographed(3, (1, 2), noise_prior=[4.0, 0.02])[0]


@pytest.fixture(scope="module")
def exact(bucketed) -> tuple[Tensor, Estimates]:
    """Quantiles of the posterior and expectations from them, from the prior weighted."""
    num_draws = 400_000
    sites = scenes.prior_draws(bucketed, num_draws, seed=5)
    values = quantities(bucketed, sites)
    return weighted(bucketed, values)
