from dataclasses import replace

import pytest
import torch

from bayes_splat.models import cross_views, smoothness
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Cameras, Views
from tests import helpers_scenes as scenes

SHAPE = (3, 4)


def three_views(**config: object) -> SplatModel:
    """A third camera beside the two of the tiny scene, with a photograph of its own."""
    two = scenes.tiny_model(renderer="cpu", **config)
    cameras: Cameras = two.views.cameras[[0, 1, 1]]
    extrinsics = cameras.extrinsics.clone()
    extrinsics[2, 0, 3], extrinsics[2, 1, 3] = -0.3, 0.1
    cameras = replace(cameras, extrinsics=extrinsics)
    generator = torch.Generator().manual_seed(9)
    third = torch.rand((1, 3, *SHAPE), generator=generator)
    views = Views(cameras, torch.cat([two.views.images, third]), ("left", "right", "third"))
    return replace(two, proposal=scenes.random_proposal(cameras), views=views)


def rows_of(views: list[int]) -> list[int]:
    pixels = SHAPE[0] * SHAPE[1]
    return [view * pixels + place for view in views for place in range(pixels)]


@pytest.mark.parametrize("view", [0, 1, 2])
def test_one_photograph_and_the_gaussians_of_all_others(view):
    model = three_views()
    part = cross_views.held_out(model, view)
    others = [other for other in range(3) if other != view]
    assert part.views.names == (model.views.names[view],)
    assert torch.equal(part.views.images[0], model.views.images[view])
    assert torch.equal(
        part.views.cameras.extrinsics, model.views.cameras.extrinsics[view : view + 1]
    )
    assert part.num_views == 1
    for name in ("origins", "directions", "probabilities", "harmonics", "opacities", "near"):
        wanted = getattr(model.proposal, name)[rows_of(others)]
        assert torch.equal(getattr(part.proposal, name), wanted), name
    assert torch.equal(part.proposal.cameras.extrinsics, model.proposal.cameras.extrinsics[others])
    height_last = cross_views.photograph(part)
    assert torch.equal(height_last[2, 3], model.views.images[view, :, 2, 3])
    assert part.observed()[0].shape == (12, 3)


@pytest.mark.parametrize("background", ["black", "mean"])
def test_its_pictures_are_those_without_the_views_own_gaussians(background):
    model = three_views(background=background)
    part = cross_views.held_out(model, 1)
    sites = scenes.prior_draws(model, 2)
    kept = rows_of([0, 2])
    opacity = torch.zeros_like(sites["opacity"])
    opacity[:, kept] = sites["opacity"][:, kept]
    cameras = model.views.cameras[[1]]
    wanted = model.render(sites["depth"], opacity, cameras)
    found = part.render(sites["depth"][:, kept], sites["opacity"][:, kept], cameras)
    torch.testing.assert_close(found.colors, wanted.colors)
    torch.testing.assert_close(found.alphas, wanted.alphas)
    assert float((1.0 - found.alphas).max()) > 0.1, "the background shows"


def test_a_smooth_prior_takes_its_contrast_from_where_the_gaussians_are_born():
    smooth = {"prior": "smooth", "smoothness": 7.0, "contrast": 0.5}
    model = three_views(**smooth)
    part = cross_views.held_out(model, 1)
    wanted = smoothness.contrast_weights(model.views.images[[0, 2]], 7.0, 0.5)
    assert part.smoothness is not None
    assert part.smoothness.strength == 7.0
    assert torch.equal(part.smoothness.right, wanted.right)
    assert torch.equal(part.smoothness.below, wanted.below)
    images = model.views.images.clone()
    images[1] = 0.0
    blind = replace(model, views=replace(model.views, images=images))
    again = cross_views.held_out(blind, 1).smoothness
    assert again is not None
    assert torch.equal(part.smoothness.right, again.right), "the held-out photograph has no say"


@pytest.mark.parametrize("prior", ["scanline_hmm", "ihmm"])
def test_markov_priors_become_smooth(prior):
    part = cross_views.held_out(three_views(prior=prior), 0)
    assert part.config.prior == "smooth"
    assert not part.is_markov
    assert part.smoothness is not None


def test_everything_else_that_is_sampled_is_held():
    rich = {"colors": "sampled", "noise": "per_view", "prior": "proposal", "count": "variable"}
    model = three_views(**rich)
    config = cross_views.held_out(model, 0).config
    assert (config.colors, config.noise, config.count) == ("fixed", "global", "fixed")
    assert config.prior == "proposal"
    assert config.opacity_prior == model.config.opacity_prior


@pytest.mark.parametrize("config", [{}, {"prior": "smooth"}, {"background": "mean"}])
def test_it_is_a_model_like_any_other(config):
    part = cross_views.held_out(three_views(**config), 2)
    target = PyroTarget(part, vectorized=True)
    energy, gradient = target.potential_and_gradient(
        target.unconstrain(scenes.prior_draws(part, 3))
    )
    assert energy.isfinite().all()
    assert gradient["depth"].shape == (3, 24)
    assert (gradient["depth"] != 0).any()


def test_one_view_has_no_other():
    model = scenes.tiny_model()
    with pytest.raises(ValueError, match="no other to predict it from; take two"):
        cross_views.held_out(replace(model, views=model.views[:1]), 0)
