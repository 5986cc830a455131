from dataclasses import replace

import pytest
import torch

from bayes_splat.models import cross_views, smoothness, unseen_redraws
from bayes_splat.models.unseen_redraws import EVERY, FIRST, TIMES, UnseenRedraws
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

SMOOTH = {"prior": "smooth", "smoothness": 30.0, "contrast": 1e3, "renderer": "cpu"}


def scene(**options: object):
    model = scenes.tiny_model(image_shape=(8, 10), **{**SMOOTH, **options})
    target = PyroTarget(model, vectorized=True)
    return model, target, target.unconstrain(scenes.prior_draws(model, 2))


@pytest.mark.parametrize("renderer", ["cpu", "reference"])
def test_light_is_that_of_other_photographs(renderer):
    """Against pictures of Gaussians that are painted one at a time."""
    model, target, position = scene(baseline=0.6, background="mean")
    model = replace(model, renderer=make_renderer(renderer))
    values = target.constrain(position)
    found = unseen_redraws.light_elsewhere(model, values["depth"], values["opacity"])
    dark = model.scene(values["depth"], values["opacity"])
    dark = replace(dark, harmonics=torch.full_like(dark.harmonics, -0.5 / 0.28209479177387814))
    for g in (3, 40, 100, 155):
        white = dark.harmonics.clone()
        white[:, g] = -white[:, g]
        light = model.renderer.render(
            replace(dark, harmonics=white),
            model.views.cameras,
            sort_depths=model.sort_depths(values["depth"], model.views.cameras),
        ).colors[..., 0]
        other = 1 - g // 80
        assert found[:, g].numpy() == pytest.approx(light[:, other].sum((1, 2)), abs=1e-4)
    assert (found > 0.3).any(), "some are seen from both sides"
    assert (found < 0.01).any(), "others are not"


def test_held_out_photographs_are_others_to_all():
    model, target, position = scene(baseline=0.1)
    part = cross_views.held_out(model, 0)
    values = target.constrain(position)
    depth, opacity = (values[site][:, 80:] for site in ("depth", "opacity"))
    assert (unseen_redraws.light_elsewhere(part, depth, opacity) > 0.1).double().mean() > 0.3


def test_what_nobody_else_shows_comes_to_its_surroundings():
    """Far-off disparities in a corner that the other camera cannot see; the rest is held."""
    model, target, position = scene(baseline=0.1)
    relative = torch.full_like(position["depth"], 0.3)
    relative[:, :80].reshape(-1, 8, 10)[..., 6:] = 0.9
    depth = target.unconstrain({"depth": model.proposal.depth_at(relative)})["depth"]
    start = {**position, "depth": depth}
    is_corner = torch.zeros(2, 160, dtype=torch.bool)
    is_corner[:, :80].reshape(-1, 8, 10)[..., 6:] = True

    def light(*_: object) -> torch.Tensor:
        return torch.where(is_corner, 0.0, 1.0).double()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unseen_redraws, "light_elsewhere", light)
        after, _, _ = UnseenRedraws(model).step(make_generators(0, 2), start, FIRST - 1, True)
    moved = model.proposal.relative_disparity(target.constrain(after)["depth"])
    assert torch.equal(after["depth"][~is_corner], depth[~is_corner])
    assert moved[is_corner].mean() < 0.6
    assert (moved[is_corner] != 0.9).all()
    edges = model.smoothness
    assert edges is not None
    assert (smoothness.energy(edges, moved) < smoothness.energy(edges, relative)).all()
    assert torch.equal(after["opacity"], start["opacity"])


def test_it_is_a_few_steps_of_warmup():
    model, _, position = scene(baseline=50.0)
    block, generators = UnseenRedraws(model), make_generators(0, 2)
    tuning, moved = block.init(position), []
    for step in range(1, FIRST + EVERY * (TIMES + 1)):
        after, tuning, info = block.step(generators, position, tuning, True)
        assert (info.acceptance_rate == 1.0).all()
        if after is not position:
            moved.append(step)
    assert moved == [FIRST + EVERY * time for time in range(TIMES)]


def test_after_warmup_nothing_moves():
    model, _, position = scene()
    block = UnseenRedraws(model)
    after, tuning, _ = block.step(make_generators(0, 2), position, FIRST - 1, False)
    assert after is position
    assert tuning == FIRST - 1
    assert isinstance(block, base.Block)


def test_threads_and_other_chains_do_not_matter():
    model, _, position = scene(baseline=50.0)
    runs = []
    for number in (1, 2):
        with scenes.threads(number):
            step = UnseenRedraws(model).step(make_generators(4, 2), position, FIRST - 1, True)
            runs.append(step[0]["depth"])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], position["depth"])
    lone = {site: value[1:] for site, value in position.items()}
    one, _, _ = UnseenRedraws(model).step(make_generators(4, 2)[1:], lone, FIRST - 1, True)
    assert torch.equal(one["depth"], runs[0][1:])


def test_other_priors_are_refused():
    with pytest.raises(ValueError, match="prior='uniform'; leave it out"):
        UnseenRedraws(scenes.tiny_model(renderer="cpu"))
