from dataclasses import replace
from functools import partial

import pytest
import torch

from bayes_splat.models import blocks, depth_moves
from bayes_splat.models.scanline_moves import ScanlineMoves
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHAINS = 60
NOISY = {"noise_prior": [4.0, 0.5]}
exact_model = partial(
    scenes.tiny_model,
    prior="scanline_hmm",
    dtype=torch.float64,
    image_shape=(2, 12),
    baseline=0.8,
    **NOISY,
)


# ----- which stretches -----


@pytest.mark.parametrize("direction", ["rows", "columns"])
@pytest.mark.parametrize("length", [1, 3, 20])
def test_stretches_follow_lines_and_reach_every_gaussian(length, direction):
    model = exact_model(image_shape=(13, 16), scanlines=direction)
    block = ScanlineMoves(model, length, spacing=2)
    chosen = block.stretches(make_generators(0, 400))
    width = model.lines.order.shape[1]
    assert chosen.shape[2] == min(length, width)
    assert torch.equal(model.lines.after[chosen[..., :-1]], chosen[..., 1:])
    seen = torch.bincount(chosen.flatten(), minlength=len(model.proposal))
    assert (seen > 0).all()
    for stretches in chosen[:50]:
        assert stretches.unique().numel() == stretches.numel(), "nobody is in two"
        outside = torch.ones(len(model.proposal), dtype=torch.bool)
        outside[stretches.flatten()] = False
        ends = torch.cat([model.lines.before[stretches[:, 0]], model.lines.after[stretches[:, -1]]])
        assert outside[ends[ends >= 0]].all(), "someone between two stretches stays"
    pairs = chosen[..., :-1].flatten().unique()
    if length > 1:
        assert len(pairs) == (model.lines.after >= 0).sum(), "neighbours can move together"


# ----- one move -----


def one_stretch(model, length, **settings):
    """A block that offers one stretch a step: lines and stretches are farther apart than others."""
    return ScanlineMoves(model, length, spacing=100, **settings)


def candidate_log_density(block, position, depth, chosen):
    """Of the buckets of a stretch given the rest, up to what does not depend on them: by hand."""
    model = block.model
    log_p = blocks.log_transition(model, position)
    assert log_p is not None
    bucket = model.proposal.bucket(depth)
    mixed = 0.9 * model.proposal.probabilities.double() + 0.1 / model.proposal.num_buckets
    found = torch.zeros(len(depth), dtype=torch.float64)
    for chain in range(len(depth)):
        states = bucket[chain]
        (stretch,) = chosen[chain].tolist()
        for gaussian in stretch:
            found[chain] += block.sharpness * mixed[gaussian, states[gaussian]].log()
            if model.lines.before[gaussian] >= 0:
                pair = states[model.lines.before[gaussian]], states[gaussian]
                found[chain] += log_p[(chain, *pair)]
        last = model.lines.after[stretch[-1]]
        if last >= 0:
            found[chain] += log_p[chain, states[stretch[-1]], states[last]]
    return found


@pytest.mark.parametrize("kind", [{}, {"order": "center", "noise": "per_view"}])
@pytest.mark.parametrize("settings", [{}, {"sharpness": 0.5}])
def test_acceptance_is_that_of_the_whole_model(kind, settings):
    model = exact_model(**kind)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, CHAINS))
    sites = target.constrain(position)
    block = one_stretch(model, 3, **settings)
    generators = make_generators(3, CHAINS)
    chosen = block.stretches(generators)
    assert chosen.shape == (CHAINS, 1, 3)
    offer = block._offer(generators, position, sites["depth"], chosen)
    moved = sites["depth"].scatter(1, chosen.flatten(1), offer.depth.flatten(1))
    changes = offer.changes.any(-1)[:, 0]

    energies = [
        target.potential_energy(p)
        for p in (target.unconstrain({**sites, "depth": moved}), position)
    ]
    ratio = energies[1] - energies[0]
    to = target.sites["depth"].transform
    slopes = [to.log_abs_det_jacobian(to.inv(d), d).sum(-1) for d in (moved, sites["depth"])]
    ratio += slopes[1] - slopes[0]
    # Positions inside are uniform in disparity: over depth the density carries its slope.
    slope = model.proposal.disparity_slope
    ratio += (slope(sites["depth"]) / slope(moved)).log().sum(-1)
    density = partial(candidate_log_density, block, position, chosen=chosen)
    ratio += density(depth=sites["depth"]) - density(depth=moved)

    after, _, info = block.step(make_generators(3, CHAINS), position, None, is_warmup=False)
    wanted = torch.where(changes, ratio.clamp_max(0).exp(), torch.zeros_like(ratio))
    assert info.acceptance_rate == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    accepted = changes & (blocks.uniforms(generators, 1)[:, 0].log() < ratio)
    assert 5 < accepted.sum() < changes.sum()
    kept = torch.where(accepted[:, None], moved, sites["depth"])
    assert target.constrain(after)["depth"] == pytest.approx(kept, rel=1e-9)


def test_gaussians_that_keep_their_bucket_keep_their_very_bits():
    model = exact_model()
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, CHAINS))
    moved, tuning, _ = ScanlineMoves(model, 4, rounds=2).step(
        make_generators(0, CHAINS), position, None, is_warmup=True
    )
    changed = moved["depth"] != position["depth"]
    first, last = (model.proposal.bucket(target.constrain(p)["depth"]) for p in (position, moved))
    assert torch.equal(changed | (first == last), torch.ones_like(changed))
    assert 0 < changed.sum() < changed.numel() / 2
    assert tuning is None
    for site in ("opacity", "noise_scale", "log_transition"):
        assert torch.equal(moved[site], position[site])


def test_draws_from_the_prior_where_the_photographs_say_nothing():
    """With t = 0 and noise without bounds every stretch is accepted."""
    model = exact_model(noise_prior=[4.0, 1e12])
    position = PyroTarget(model, vectorized=True).unconstrain(scenes.prior_draws(model, 20))
    _, _, info = one_stretch(model, 5, sharpness=0.0).step(
        make_generators(0, 20), position, None, is_warmup=False
    )
    assert info.acceptance_rate.max() == pytest.approx(1.0, abs=1e-6)
    assert ((info.acceptance_rate > 0.999) | (info.acceptance_rate == 0)).all()


# ----- many at once -----


def test_stretches_that_move_share_no_pixel():
    model = exact_model(image_shape=(6, 20))
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, 10)
    block = ScanlineMoves(model, 2, spacing=1)
    generators = make_generators(1, 10)
    chosen = block.stretches(generators)
    offer = block._offer(generators, target.unconstrain(sites), sites["depth"], chosen)
    flat = chosen.flatten(1)
    candidate = sites["depth"].scatter(1, flat, offer.depth.flatten(1))
    number = torch.arange(chosen.shape[1]).repeat_interleave(2)
    groups = torch.where(offer.changes.flatten(1), number, -1)
    moving, owner = depth_moves.claims(
        model, sites["depth"], candidate, sites["opacity"], flat, groups, chosen.shape[1]
    )
    touched = depth_moves._touched_pixels(model, sites["depth"], candidate, sites["opacity"], flat)
    chain = torch.div(touched.owner, flat.shape[1], rounding_mode="floor")
    group = groups.flatten()[touched.owner]
    for c in range(10):
        pixels = [
            set(touched.pixel[(chain == c) & (group == g)].tolist()) for g in range(chosen.shape[1])
        ]
        for g, mine in enumerate(pixels):
            assert bool(moving[c, g]) == all(not (mine & other) for other in pixels[:g])
            if moving[c, g]:
                owned = (owner[c] == g).nonzero()[:, 0] + c * model.num_pixels
                assert set(owned.tolist()) == mine
    assert moving.any()
    assert not moving.all()


def test_the_compiled_engine_moves_what_the_reference_moves():
    plain, compiled = (
        exact_model(image_shape=(6, 20), dtype=torch.float32, renderer=name)
        for name in ("reference", "cpu")
    )
    position = PyroTarget(plain, vectorized=True).unconstrain(scenes.prior_draws(plain, CHAINS))
    (one, _, first), (two, _, second) = (
        ScanlineMoves(model, 3, spacing=2, rounds=2).step(
            make_generators(1, CHAINS), position, None, is_warmup=False
        )
        for model in (plain, compiled)
    )
    assert torch.equal(one["depth"], two["depth"])
    assert second.acceptance_rate == pytest.approx(first.acceptance_rate, abs=1e-3)
    assert (one["depth"] != position["depth"]).sum() > 100


def test_chains_do_not_depend_on_each_other():
    model = exact_model()
    position = PyroTarget(model, vectorized=True).unconstrain(scenes.prior_draws(model, 3))
    block = ScanlineMoves(model, 3, spacing=2)
    together, _, _ = block.step(make_generators(4, 3), position, None, is_warmup=False)
    alone, _, _ = block.step(
        make_generators(4, 3)[1:2], {s: v[1:2] for s, v in position.items()}, None, is_warmup=False
    )
    assert torch.equal(alone["depth"], together["depth"][1:2])
    assert isinstance(block, base.Block)


def test_what_makes_no_sense_is_refused():
    model = exact_model()
    with pytest.raises(ValueError, match="needs a Markov prior, but the model has prior='uniform'"):
        ScanlineMoves(scenes.tiny_model())
    with pytest.raises(ValueError, match="got 0, 5, 1 and 1"):
        ScanlineMoves(model, 0)
    alpha = make_renderer("reference", RenderSettings(cutoff="alpha"))
    with pytest.raises(ValueError, match=r"ScanlineMoves needs .* cutoff='alpha'"):
        ScanlineMoves(replace(model, renderer=alpha))
