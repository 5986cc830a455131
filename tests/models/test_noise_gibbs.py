import pytest
import torch
from scipy import stats

from bayes_splat.models import blocks, noise_gibbs
from bayes_splat.models.noise_gibbs import NoiseGibbs
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHAINS = 3000


def drawn(model, chains=CHAINS):
    """Noise scales drawn given the same depths and opacities in every chain, and these sites."""
    target = PyroTarget(model, vectorized=True)
    sites = {
        name: value.expand(chains, *value.shape[1:])
        for name, value in scenes.prior_draws(model, 1).items()
    }
    position = target.unconstrain(sites)
    moved, tuning, info = NoiseGibbs(model).step(
        make_generators(0, chains), position, None, is_warmup=False
    )
    assert tuning is None
    assert (info.acceptance_rate == 1).all()
    for site in ("depth", "opacity"):
        assert torch.equal(moved[site], position[site])
    return target, position, moved


@pytest.mark.parametrize("noise", ["global", "per_view"])
def test_draws_follow_the_integrated_density(noise):
    """The exact log joint on a grid of one scale, the rest held."""
    model = scenes.tiny_model(noise=noise)
    target, position, moved = drawn(model)
    draws = moved["noise_scale"].reshape(CHAINS, -1)
    for view in range(draws.shape[1]):
        grid = torch.linspace(-4, 1, 1501, dtype=torch.float64)
        rows = {site: value[:1].expand(1501, *value.shape[1:]) for site, value in position.items()}
        scale = rows["noise_scale"].clone().reshape(1501, -1)
        scale[:, view] = grid
        rows["noise_scale"] = scale.reshape(rows["noise_scale"].shape)
        cdf = scenes.GridDistribution(grid, -target.potential_energy(rows))
        assert scenes.kolmogorov_smirnov(cdf(draws[:, view])) < scenes.LIMIT
        assert scenes.kolmogorov_smirnov(cdf(draws[:, view] + 0.02)) > scenes.LIMIT


def test_draws_are_inverse_gamma():
    model = scenes.tiny_model(noise="per_view")
    _, position, moved = drawn(model)
    to = blocks.coordinates(model)
    squares = noise_gibbs.squared_residuals(
        model, to.depth(position["depth"][:1]), to.opacity(position["opacity"][:1])
    )[0]
    variance = to.noise_scale(moved["noise_scale"]).square()
    for view in range(2):
        exact = stats.invgamma(4.0 + 0.5 * 36, scale=0.05 + 0.5 * float(squares[view]))
        uniform = torch.from_numpy(exact.cdf(variance[:, view]))
        assert scenes.kolmogorov_smirnov(uniform) < scenes.LIMIT
    together = torch.corrcoef(variance.log().T)[0, 1]
    assert abs(together) * CHAINS**0.5 < scenes.LIMIT


def test_squared_residuals_by_hand():
    model = scenes.tiny_model(dtype=torch.float64, image_shape=(2, 70))
    sites = scenes.prior_draws(model, 2)
    gaussians = model.proposal.gaussians(sites["depth"], sites["opacity"])
    keys = model.proposal.sort_depths(sites["depth"], model.views.cameras)
    colors = model.renderer.render(gaussians, model.views.cameras, sort_depths=keys).colors
    wanted = (colors - model.views.images.movedim(1, -1)).square().sum((-1, -2, -3))
    found = noise_gibbs.squared_residuals(model, sites["depth"], sites["opacity"])
    assert found == pytest.approx(wanted)


def test_chains_use_their_own_streams():
    model = scenes.tiny_model()
    _, position, moved = drawn(model, chains=3)
    last = {site: value[2:] for site, value in position.items()}
    alone, _, _ = NoiseGibbs(model).step(make_generators(0, 3)[2:], last, None, is_warmup=False)
    assert torch.equal(alone["noise_scale"], moved["noise_scale"][2:])
    assert isinstance(NoiseGibbs(model), base.Block)


@pytest.mark.parametrize("prior", ["uniform", "smooth", "proposal", "scanline_hmm", "ihmm"])
@pytest.mark.parametrize("noise", ["global", "per_view"])
def test_the_reported_energy_is_that_of_the_joint(prior, noise):
    colors = "sampled" if noise == "per_view" else "fixed"
    model = scenes.tiny_model(prior=prior, noise=noise, opacity_prior=[2.0, 0.7], colors=colors)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 5))
    moved, _, info = NoiseGibbs(model).step(make_generators(0, 5), position, None, is_warmup=False)
    assert info.potential_energy == pytest.approx(target.potential_energy(moved), rel=1e-9)
    assert info.potential_energy != pytest.approx(target.potential_energy(position), rel=1e-3)
