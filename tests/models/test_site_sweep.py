from dataclasses import replace

import pytest
import torch

from bayes_splat.models import blocks, site_sweep
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.smoothness import local_log_prior_ratio
from bayes_splat.rendering import cpu_site_sweep
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

LEANING = {"opacity_prior": [2.0, 0.7], "noise": "per_view"}


def alone(chains: int, **scene: object):
    """A scene in which only the first Gaussian is seen, and its prior draw in every chain."""
    both = scenes.tiny_model(image_shape=(1, 1), baseline=50.0, renderer="cpu", **scene)
    model = replace(both, views=both.views[:1])
    target = PyroTarget(model, vectorized=True)
    one = target.unconstrain(scenes.prior_draws(model, 1))
    return model, target, {s: v.expand(chains, *v.shape[1:]) for s, v in one.items()}


@pytest.mark.parametrize(
    ("kind", "jumps", "steps"),
    [
        ({}, 0.5, 15),
        ({"background": "mean"}, 0.5, 15),
        ({"prior": "proposal"}, 0.0, 60),
        (LEANING, 1.0, 15),
    ],
)
def test_many_sweeps_draw_from_the_integrated_posterior(kind, jumps, steps):
    """Depth and opacity of one Gaussian on a fine grid of the exact log joint, noise held."""
    chains, cells = 1000, 80
    model, target, position = alone(chains, noise_prior=[4.0, 0.1], **kind)
    block, generators = SiteSweep(model, jumps), make_generators(1, chains)
    moved = position
    for _ in range(steps):
        moved, _, info = block.step(generators, moved, None, is_warmup=False)
    assert 0.05 < info.acceptance_rate.mean() < 1.0

    middle = (torch.arange(cells) + 0.5) / cells
    relative, share = (grid.flatten() for grid in torch.meshgrid(middle, middle, indexing="ij"))
    rows = {s: v[:1].expand(cells**2, *v.shape[1:]).clone() for s, v in position.items()}
    to = blocks.coordinates(model)
    depth = model.proposal.depth_at(relative[:, None].double().expand(-1, 2))
    rows["depth"][:, 0] = to.depth.inv(depth)[:, 0]
    rows["opacity"][:, 0] = torch.logit(share.double())
    slopes = sum(
        torch.log(x.double() * (1.0 - x.double())) for x in (relative, share)
    )  # from the density over coordinates to that over the grid
    log_density = -target.potential_energy(rows) - slopes
    density = (log_density - log_density.max()).exp().reshape(cells, cells)
    found = (
        model.proposal.relative_disparity(to.depth(moved["depth"]))[:, 0],
        torch.sigmoid(moved["opacity"][:, 0]),
    )
    for axis, draws in enumerate(found):
        marginal = density.sum(1 - axis)
        cumulative = torch.cat([torch.zeros(1).double(), marginal.cumsum(0)]) / marginal.sum()
        at = scenes.GridDistribution(
            torch.linspace(0, 1, cells + 1).double(), torch.zeros(cells + 1)
        )
        at.cumulative = cumulative
        assert scenes.kolmogorov_smirnov(at(draws)) < scenes.LIMIT
        assert scenes.kolmogorov_smirnov(at(draws + 0.15)) > scenes.LIMIT
    product = ((relative - 0.5) * (share - 0.5)).reshape(cells, cells).double()
    mean = float((density * product).sum() / density.sum())
    products = (found[0] - 0.5) * (found[1] - 0.5)
    assert abs(float(products.mean()) - mean) * chains**0.5 < scenes.LIMIT * float(products.std())


def test_gaussians_that_nobody_sees_are_drawn_from_the_prior():
    chains = 400
    model, target, position = alone(chains)
    block, generators = SiteSweep(model), make_generators(2, chains)
    for _ in range(30):
        position, _, _ = block.step(generators, position, None, is_warmup=False)
    sites = target.constrain(position)
    relative = model.proposal.relative_disparity(sites["depth"])
    assert scenes.kolmogorov_smirnov(relative[:, 1]) < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(sites["opacity"][:, 1] / 0.999) < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(sites["opacity"][:, 0] / 0.999) > scenes.LIMIT


@pytest.mark.parametrize("kind", [{}, LEANING, {"order": "center"}, {"prior": "smooth"}])
def test_chains_and_threads_do_not_matter(kind):
    model = scenes.tiny_model(image_shape=(6, 8), renderer="cpu", **kind)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    runs = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            runs.append(SiteSweep(model).step(make_generators(4, 3), position, None, False))
    lone = {site: value[1:2] for site, value in position.items()}
    one, _, rate = SiteSweep(model).step(make_generators(4, 3)[1:2], lone, None, False)
    for site, value in runs[0][0].items():
        assert torch.equal(value, runs[1][0][site])
        assert torch.equal(value, runs[2][0][site])
        assert torch.equal(value[1:2], one[site])
    assert torch.equal(rate.acceptance_rate, runs[0][2].acceptance_rate[1:2])
    stay = runs[0][0]["depth"] == position["depth"]
    assert 0.1 < stay.double().mean() < 0.95, "those that stay keep their bits"
    assert isinstance(SiteSweep(model), base.Block)


def test_candidates_have_the_density_that_is_claimed():
    """Jumps: histogram of candidates against the density over relative disparity."""
    model = scenes.tiny_model(image_shape=(1, 1))
    sure = torch.full((2, 4), 0.01).index_fill(1, torch.tensor([2]), 0.97)
    model = replace(model, proposal=scenes.with_probabilities(model.proposal, sure))
    chains = 4000
    depth = scenes.prior_draws(model, 1)["depth"].expand(chains, -1)
    plan = SiteSweep(model, 1.0)._plan(make_generators(3, chains), depth)
    assert not plan.is_fresh.any()
    relative = plan.offered
    grid = torch.linspace(0.0, 1.0, 4001).double()[:, None].expand(-1, 2)
    at = model.proposal.depth_at(grid.clamp(1e-9, 1 - 1e-9))
    log_density = site_sweep._log_jump(model.proposal, at)
    for g in range(2):
        cdf = scenes.GridDistribution(grid[:, g], log_density[:, g])
        assert cdf.cumulative[-1] == pytest.approx(1.0)
        assert scenes.kolmogorov_smirnov(cdf(relative[:, g])) < scenes.LIMIT
    ends = model.proposal.depth_at(torch.stack([plan.here, plan.offered], 1))
    assert (plan.log_density - site_sweep._log_jump(model.proposal, ends)).abs().max() < 1e-9
    plan = SiteSweep(model, 0.0)._plan(make_generators(3, chains), depth)
    assert (plan.log_density == 0.0).all()
    step = plan.offered - plan.here
    assert 0.3 < (step > 0).double().mean() < 0.7
    assert (step.abs() * 4 < 0.25).double().mean() > 0.3
    assert (step.abs() * 4 > 1.0).double().mean() > 0.05


def test_the_smooth_prior_is_offered_to_one_half_after_the_other(monkeypatch):
    """No two neighbours are visited together, and all Gaussians are, once."""
    model = scenes.tiny_model(image_shape=(4, 5), renderer="cpu", prior="smooth", smoothness=8.0)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    calls, sweep = [], cpu_site_sweep.sweep_sites

    def watched(*arguments, **given):
        calls.append(given)
        return sweep(*arguments, **given)

    monkeypatch.setattr(cpu_site_sweep, "sweep_sites", watched)
    SiteSweep(model).step(make_generators(4, 3), position, None, False)
    first, second = (call["is_visited"] for call in calls)
    assert torch.equal(first, ~second)
    grid = first.reshape(3, 2, 4, 5)
    assert (grid[..., 1:] != grid[..., :-1]).all()
    assert (grid[..., 1:, :] != grid[..., :-1, :]).all()
    here, there = calls[1]["relative_disparities"].unbind(1)
    assert torch.equal(here[first], there[first])
    fresh = calls[1]["log_weights"][:, 1] - calls[1]["log_weights"][:, 0]
    ratio = local_log_prior_ratio(model.smoothness, here, there)
    is_fresh = second & ((fresh + ratio).abs() < 1e-9)
    assert 0.8 < is_fresh[second].double().mean() < 1.0, "of these the prior cancels"


@pytest.mark.parametrize("renderer", [None, RenderSettings(cutoff="alpha")])
def test_models_that_are_not_affine_are_refused(renderer):
    model = scenes.tiny_model()
    inside = object() if renderer is None else ReferenceRenderer(renderer)
    words = "no `settings`" if renderer is None else "cutoff='alpha'; use"
    with pytest.raises(ValueError, match=words):
        SiteSweep(replace(model, renderer=inside))
    with pytest.raises(ValueError, match=r"jumps is 1\.5"):
        SiteSweep(model, jumps=1.5)


def test_neighbours_are_those_of_a_smooth_model():
    model = scenes.tiny_model()
    none = site_sweep.neighbours(model)
    assert none.strength == 0.0
    assert none.image_shape == (3, 4)

    model = replace(model, config=ModelConfig(prior="smooth"))
    assert site_sweep.neighbours(model) is model.smoothness


@pytest.mark.parametrize("prior", ["scanline_hmm", "ihmm"])
def test_markov_priors_are_refused(prior):
    with pytest.raises(ValueError, match=f"SiteSweep does not know prior='{prior}'"):
        SiteSweep(scenes.tiny_model(prior=prior))
