"""Slots, full and empty."""

import torch

from bayes_splat import geometry
from bayes_splat.models import slots
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes


def test_scenes_show_no_empty_slot():
    model = scenes.tiny_model(count="variable", noise="per_view")
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, 3)
    scene = slots.scene_of(model, target.unconstrain(sites))
    torch.testing.assert_close(scene.depth, sites["depth"])
    torch.testing.assert_close(scene.opacity, sites["opacity"] * sites["present"])
    torch.testing.assert_close(scene.noise, sites["noise_scale"])
    odds = sites["inclusion"] / (1 - sites["inclusion"])
    torch.testing.assert_close(scene.log_odds[:, 0].exp(), odds)
    assert scene.model.held.present is None


def test_what_was_not_changed_keeps_its_bits():
    model = scenes.tiny_model(count="variable")
    start = PyroTarget(model, vectorized=True).unconstrain(scenes.prior_draws(model, 3))
    scene = slots.scene_of(model, start)
    is_changed = torch.zeros_like(scene.is_present)
    is_changed[:, 4] = True
    rate = torch.ones(3, dtype=torch.float64)
    outcome = slots.Outcome(
        scene.depth, scene.opacity, scene.is_present ^ is_changed, is_changed, rate
    )
    after = slots.with_outcome(make_generators(0, 3), model, start, outcome)
    for name in ("depth", "opacity", "present"):
        assert torch.equal(after[name][~is_changed], start[name][~is_changed])
    assert ((after["present"] != start["present"]) == is_changed).all()
    is_emptied = is_changed & scene.is_present
    assert is_emptied.any()
    assert (after["depth"] != start["depth"])[is_emptied].all()


def test_moves_that_cannot_be_judged_are_refused():
    generators = make_generators(0, 2)
    moving = torch.tensor([[True, True, False], [True, False, False]])
    log_ratio = torch.tensor([[torch.nan, 5.0, 5.0], [-torch.inf, 5.0, 5.0]]).double()
    accepted, rate = slots.decide(generators, moving, log_ratio)
    assert accepted.tolist() == [[False, True, False], [False, False, False]]
    assert rate.tolist() == [0.5, 0.0]


def test_depths_drawn_for_empty_slots_are_those_of_the_prior():
    model = scenes.tiny_model(count="variable", opacity_prior=[2.0, 0.7])
    depth, opacity = slots.draw_prior(model, make_generators(0, 300))
    where = geometry.depth_to_relative_disparity(depth, model.proposal.near, model.proposal.far)
    assert scenes.kolmogorov_smirnov(where.flatten()) < scenes.LIMIT
    grid = torch.linspace(1e-9, MAX_OPACITY - 1e-9, 100_001, dtype=torch.float64)
    known = scenes.GridDistribution(grid, model.opacity_prior().log_prob(grid))
    assert scenes.kolmogorov_smirnov(known(opacity.flatten())) < scenes.LIMIT
