import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from bayes_splat.models import blocks, colors
from bayes_splat.models.harmonics_gibbs import HarmonicsGibbs
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

exact_model = partial(
    scenes.tiny_model,
    dtype=torch.float64,
    image_shape=(2, 3),
    noise="per_view",
    colors="sampled",
    color_scale=0.2,
)


def same_state(model: SplatModel, chains: int) -> tuple[PyroTarget, dict[str, Tensor]]:
    target = PyroTarget(model, vectorized=True)
    one = target.unconstrain(scenes.prior_draws(model, 1))
    return target, {site: value.expand(chains, *value.shape[1:]) for site, value in one.items()}


@pytest.mark.parametrize("background", ["black", "mean"])
@pytest.mark.parametrize("sharpness", [0.05, 0.002])
def test_first_draws_follow_the_integrated_conditional(sharpness, background):
    """Each channel of the first Gaussian on a grid of the exact log joint, all others held."""
    chains = 800
    model = exact_model(noise_prior=[4.0, sharpness], background=background)
    target, position = same_state(model, chains)
    moved, _, _ = HarmonicsGibbs(model).step(make_generators(1, chains), position, None, False)
    for channel in range(3):
        draws = moved["harmonics"][:, 0, channel, 0]
        grid = draws.mean() + draws.std() * torch.linspace(-9, 9, 801, dtype=torch.float64)
        rows = {site: value[:1].expand(801, *value.shape[1:]) for site, value in position.items()}
        rows["harmonics"] = position["harmonics"][:1].repeat(801, 1, 1, 1)
        rows["harmonics"][:, 0, channel, 0] = grid
        cdf = scenes.GridDistribution(grid, -target.potential_energy(rows))
        assert scenes.kolmogorov_smirnov(cdf(draws)) < scenes.LIMIT
        assert scenes.kolmogorov_smirnov(cdf(draws + 0.25 * draws.std())) > scenes.LIMIT


@pytest.mark.parametrize(("degree", "background"), [(0, "black"), (1, "black"), (1, "mean")])
def test_sweeps_lead_to_the_posterior_of_a_linear_regression(degree, background):
    """Of all colours together, the rest held: mean and covariance in closed form."""
    chains, sweeps = 1200, 25
    model = exact_model(noise_prior=[4.0, 0.3], background=background)
    model = scenes.with_degree(model, degree)
    _, position = same_state(model, chains)
    moved, generators = position, make_generators(2, chains)
    for _ in range(sweeps):
        moved, _, _ = HarmonicsGibbs(model).step(generators, moved, None, False)
    to = blocks.coordinates(model)
    depth, opacity = to.depth(position["depth"][:1]), to.opacity(position["opacity"][:1])
    size, d_sh = len(model.proposal), (degree + 1) ** 2
    units = torch.eye(size * d_sh, dtype=torch.float64).reshape(-1, size, 1, d_sh)
    values = torch.cat([torch.zeros_like(units[:1]), units]).expand(-1, -1, 3, -1)
    many = len(values)
    seen = model.given({"harmonics": values}).predict_pixels(
        depth.expand(many, -1), opacity.expand(many, -1)
    )
    noise = to.noise_scale(position["noise_scale"][:1])
    weight = scenes.noise_per_pixel(model, {"depth": depth, "noise_scale": noise})[0, :, 0] ** -2
    of_prior = colors.prior_scales(d_sh, 0.2).repeat(size) ** -2
    observed, _ = model.observed()
    for channel in range(3):
        design = (seen[1:, :, channel] - seen[0, :, channel]).T
        precision = torch.diag(of_prior) + design.T @ (weight[:, None] * design)
        centre = model.proposal.harmonics[:, channel].flatten()
        weighted = of_prior * centre + design.T @ (
            weight * (observed[:, channel] - seen[0, :, channel])
        )
        draws = moved["harmonics"][:, :, channel].flatten(1)
        factor = torch.linalg.cholesky(precision)
        white = (draws - torch.linalg.solve(precision, weighted)) @ factor
        assert (white.mean(0).abs() * math.sqrt(chains)).max() < scenes.LIMIT
        covariance = white.T @ white / chains
        spread = torch.where(torch.eye(len(factor)).bool(), 2.0**0.5, 1.0)
        away = (covariance - torch.eye(len(factor))).abs() / spread * math.sqrt(chains)
        assert away.max() < scenes.LIMIT + 0.5


def test_a_background_shifts_the_problem_and_nothing_else():
    """The same numbers over black, all colours and photographs less the background."""
    model = exact_model(background="mean")
    assert model.background is not None
    _, position = same_state(model, 3)
    taken = model.background_harmonics
    images = model.views.images - model.background[:, None, None]
    shifted = replace(
        model,
        proposal=replace(model.proposal, harmonics=model.proposal.harmonics - taken),
        views=replace(model.views, images=images),
        background=None,
    )
    found, _, _ = HarmonicsGibbs(model).step(make_generators(0, 3), position, None, False)
    there = {**position, "harmonics": position["harmonics"] - taken}
    wanted, _, _ = HarmonicsGibbs(shifted).step(make_generators(0, 3), there, None, False)
    torch.testing.assert_close(found["harmonics"], wanted["harmonics"] + taken)


def test_chains_do_not_depend_on_each_other_and_other_sites_stay():
    model = exact_model(renderer="cpu")
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    block = HarmonicsGibbs(model)
    together, tuning, info = block.step(make_generators(4, 3), position, None, False)
    alone, _, _ = block.step(
        make_generators(4, 3)[1:2], {s: v[1:2] for s, v in position.items()}, None, False
    )
    assert torch.equal(alone["harmonics"], together["harmonics"][1:2])
    for site in ("depth", "opacity", "noise_scale"):
        assert torch.equal(together[site], position[site])
    assert tuning is None
    assert torch.equal(info.acceptance_rate, torch.ones(3, dtype=torch.float64))
    assert isinstance(block, base.Block)


@pytest.mark.parametrize("degree", [0, 1])
def test_any_number_of_threads_gives_the_same_bits(degree):
    model = scenes.tiny_model(image_shape=(40, 60), renderer="cpu", colors="sampled")
    model = scenes.with_degree(model, degree)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    found = []
    for number in (1, 2):
        with scenes.threads(number):
            moved, _, _ = HarmonicsGibbs(model).step(make_generators(0, 3), position, None, False)
            found.append((moved["harmonics"], target.potential_energy(moved)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_models_without_linear_colors_are_refused():
    model = exact_model()
    with pytest.raises(ValueError, match="colors='sampled'"):
        HarmonicsGibbs(scenes.tiny_model())
    with pytest.raises(ValueError, match=r"least_color=0.0; use"):
        HarmonicsGibbs(replace(model, renderer=ReferenceRenderer()))
    with pytest.raises(ValueError, match="cutoff='alpha'"):
        HarmonicsGibbs(replace(model, renderer=ReferenceRenderer(RenderSettings(cutoff="alpha"))))
