"""The composed sampler against answers that owe nothing to it: Pyro's NUTS, and the prior weighted.

With one bucket the posterior is smooth and NUTS can sample it. With several it jumps wherever the
order changes, which gradients cannot see: there the reference is draws from the prior weighted with
their likelihood, hundreds of thousands of them on a scene of four Gaussians.
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
from bayes_splat.models import noise_gibbs, site_sweep
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.sampler_config import BlockMALAConfig, GibbsConfig, Sampler
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

SHARES = (0.1, 0.5, 0.9)


class Estimates(NamedTuple):
    """Expectations of many functions, and their standard errors."""

    mean: np.ndarray
    error: np.ndarray


class Exact(NamedTuple):
    """Quantiles of the posterior, and expectations of values and of shares below them."""

    limits: Tensor
    estimates: Estimates


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


def worst(one: Estimates, other: Estimates) -> float:
    """Largest difference in standard errors."""
    # A share that is 0 or 1 in all draws has no error that they could tell.
    error = np.hypot(np.nan_to_num(one.error), np.nan_to_num(other.error))
    return float((np.abs(one.mean - other.mean) / error)[error > 0].max())


def sampled(
    model: SplatModel, *, draws: int, warmup: int, seed: int = 0, sampler: Sampler | None = None
) -> Tensor:
    """By the default sampler, or another: [chain, draw, quantity]."""
    found = inference.sample_posterior(
        model, sampler, chains=64, draws=draws, warmup=warmup, seed=seed
    )
    flat = quantities(model, {name: value.flatten(0, 1) for name, value in found.sites.items()})
    return flat.unflatten(0, (64, draws))


# ----- one bucket: NUTS -----


def test_the_default_sampler_agrees_with_nuts():
    model, truth = photographed(1, (1, 3), noise_prior=[6.0, 0.06], baseline=1.5, renderer="cpu")
    start = PyroTarget(model, vectorized=True).unconstrain(truth)
    pyro.set_rng_seed(0)
    mcmc = MCMC(
        NUTS(model, step_size=0.15, target_accept_prob=0.6, max_tree_depth=5),
        num_samples=200,
        warmup_steps=100,
        initial_params={site: value[0] for site, value in start.items()},
        disable_progbar=True,
    )
    mcmc.run()
    nuts = quantities(model, mcmc.get_samples())
    limits = nuts.quantile(torch.tensor(SHARES, dtype=torch.float64), dim=0)
    reference = from_chains(nuts[None], limits)
    ours = sampled(model, draws=60, warmup=50)
    assert worst(from_chains(ours, limits), reference) < scenes.LIMIT
    # The test can tell: draws shifted by half of their spread disagree.
    shifted = from_chains(ours + 0.5 * nuts.std(0), limits)
    assert worst(shifted, reference) > scenes.LIMIT


# ----- several buckets: the prior, weighted -----


@pytest.fixture(scope="module")
def model() -> SplatModel:
    return photographed(3, (1, 2), noise_prior=[4.0, 0.04], baseline=0.8)[0]


@pytest.fixture(scope="module")
def exact(model) -> Exact:
    sites = scenes.prior_draws(model, 200_000, seed=5)
    values = quantities(model, sites)
    # InverseGamma(a + n/2, b + S/2) integrates the noise out, and is what it is drawn from.
    (a, b), half = model.noise_concentration, 1.5 * model.num_pixels
    squares = torch.cat(
        [
            noise_gibbs.squared_residuals(model, *piece).sum(-1)
            for piece in zip(
                sites["depth"].split(20_000), sites["opacity"].split(20_000), strict=True
            )
        ]
    )
    log_weight = -(a + half) * torch.log(b + 0.5 * squares)
    weight = torch.softmax(log_weight, 0)
    generator = torch.Generator().manual_seed(6)
    gamma = torch._standard_gamma(torch.full_like(squares, a + half), generator)
    values[:, 8] = 0.5 * torch.log((b + 0.5 * squares) / gamma)
    order = values.argsort(0)
    cumulative = weight[order].cumsum(0)
    places = [(cumulative < share).sum(0, keepdim=True) for share in SHARES]
    limits = torch.cat([values.gather(0, order.gather(0, place)) for place in places])
    functions = with_shares_below(values, limits)
    mean = weight @ functions
    error = (weight.square() @ (functions - mean).square()).sqrt()
    assert 1.0 / weight.square().sum() > 2000, "effective draws"
    return Exact(limits, Estimates(mean.numpy(), error.numpy()))


def wrong_proposal(model: SplatModel) -> DepthProposal:
    """Nearly certain of a bucket that the posterior hardly visits, or of any other."""
    wrong = torch.tensor([2, 0, 0, 2])
    probabilities = torch.full((4, 3), 0.02).scatter(1, wrong[:, None], 0.96)
    return scenes.with_probabilities(model.proposal, probabilities)


def test_the_default_sampler_agrees_with_the_weighted_prior(model, exact):
    ours = sampled(model, draws=50, warmup=30)
    assert worst(from_chains(ours, exact.limits), exact.estimates) < scenes.LIMIT


def test_a_wrong_proposal_leads_to_the_same_posterior(model, exact):
    astray = scenes.replaced(model, wrong_proposal(model))
    ours = sampled(astray, draws=50, warmup=30, seed=1)
    assert worst(from_chains(ours, exact.limits), exact.estimates) < scenes.LIMIT


def sure_proposal(model: SplatModel) -> DepthProposal:
    """Nearly certain of the buckets that the photographs were made from."""
    truth = model.proposal.bucket(scenes.prior_draws(model, 1, seed=3)["depth"])[0]
    probabilities = torch.full((4, 3), 0.02).scatter(1, truth[:, None], 0.96)
    return scenes.with_probabilities(model.proposal, probabilities)


def uniform_proposal(model: SplatModel) -> DepthProposal:
    """Knows nothing."""
    return scenes.with_probabilities(model.proposal, torch.full((4, 3), 1.0 / 3.0))


@pytest.mark.parametrize(
    ("sampler", "propose", "warmup", "draws"),
    [
        (GibbsConfig(), sure_proposal, 30, 40),
        (GibbsConfig(), uniform_proposal, 30, 40),
        (GibbsConfig(), wrong_proposal, 30, 40),
        # Global jumps from a wrong proposal are few: the way from the start takes longer.
        (BlockMALAConfig(block_size=8, step_size=0.3), wrong_proposal, 100, 50),
    ],
    ids=["gibbs-sure", "gibbs-uniform", "gibbs-wrong", "block_mala-wrong"],
)
def test_any_proposal_leads_to_the_same_posterior_compiled(
    model, exact, sampler, propose, warmup, draws
):
    """Every sampler that jumps by the proposal, with the compiled engine."""
    compiled = replace(scenes.replaced(model, propose(model)), renderer=make_renderer("cpu"))
    ours = sampled(compiled, draws=draws, warmup=warmup, seed=2, sampler=sampler)
    assert worst(from_chains(ours, exact.limits), exact.estimates) < scenes.LIMIT


def test_a_wrong_proposal_as_prior_does_not(model, exact):
    """So the two proposals do differ, and this check sees it."""
    astray = scenes.replaced(model, wrong_proposal(model))
    believed = replace(astray, config=replace(model.config, prior="proposal"))
    ours = sampled(believed, draws=20, warmup=20)
    assert worst(from_chains(ours, exact.limits), exact.estimates) > 3 * scenes.LIMIT


def test_jumps_without_their_reverse_density_are_caught(model, exact, monkeypatch):
    """Of the default's site sweep, and of the moves beside gradients."""

    def symmetric(self, generators, depth, chosen):
        offered, log_ratio = right(self, generators, depth, chosen)
        return offered, torch.zeros_like(log_ratio)

    right = DepthMoves._offer
    monkeypatch.setattr(DepthMoves, "_offer", symmetric)
    monkeypatch.setattr(site_sweep, "_log_jump", lambda proposal, depth: torch.zeros_like(depth))
    astray = scenes.replaced(model, wrong_proposal(model))
    by_gradients = GibbsConfig(
        sites=False, patch_sizes=[], mala_steps=2, jump_fraction=0.25, opacity_fraction=0.5
    )
    for sampler in (None, by_gradients):
        ours = sampled(astray, draws=30, warmup=20, sampler=sampler)
        assert worst(from_chains(ours, exact.limits), exact.estimates) > 3 * scenes.LIMIT
