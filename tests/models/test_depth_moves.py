from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models import blocks, depth_moves
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

SMOOTH = {"prior": "smooth", "smoothness": 8.0, "contrast": 1.0}
KINDS = [{}, {"prior": "proposal", "noise": "per_view"}, {"order": "center"}, SMOOTH]
KINDS += [{"background": "mean"}]
exact_model = partial(scenes.tiny_model, dtype=torch.float64, image_shape=(2, 12), baseline=0.8)
CHAINS = 60


def log_joint(target: PyroTarget, sites: dict[str, Tensor]) -> Tensor:
    """Over depth itself: the energy without the Jacobian of the coordinates."""
    position = target.unconstrain(sites)
    transform = target.sites["depth"].transform
    jacobian = transform.log_abs_det_jacobian(position["depth"], sites["depth"]).sum(-1)
    return -target.potential_energy(position) - jacobian


def offer(block: DepthMoves, depth: Tensor, seed: int) -> tuple[Tensor, Tensor, list]:
    """What ``step`` with these generators offers to whom; the generators stand after it."""
    generators = make_generators(seed, len(depth))
    size = depth.shape[1]
    chosen = blocks.permutations(generators, size)[:, : max(1, round(block.fraction * size))]
    offered, _ = block._offer(generators, depth, chosen)
    return chosen, offered, generators


def candidate_log_density(model: SplatModel, candidates: str, depth: Tensor) -> Tensor:
    """Of the independence jump; the walk is symmetric in relative disparity, hence its slope."""
    slope = 1.0 / (depth**2 * (1.0 / model.proposal.near - 1.0 / model.proposal.far))
    if candidates == "walk":
        return slope.log()
    return (0.9 * model.proposal.log_prob(depth).exp() + 0.1 * slope).log()


# ----- one move -----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("candidates", depth_moves.CANDIDATES)
def test_acceptance_of_one_move_is_that_of_the_whole_model(kind, candidates):
    model = exact_model(**kind)
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, CHAINS)
    sites = target.constrain(target.unconstrain(sites))
    block = DepthMoves(model, candidates, fraction=1 / 48)
    chosen, offered, generators = offer(block, sites["depth"], 3)
    moved = sites["depth"].scatter(1, chosen, offered)
    ratio = log_joint(target, {**sites, "depth": moved}) - log_joint(target, sites)
    density = partial(candidate_log_density, model, candidates)
    ratio += (density(sites["depth"]) - density(moved)).gather(1, chosen)[:, 0]

    after, _, info = block.step(
        make_generators(3, CHAINS), target.unconstrain(sites), None, is_warmup=False
    )
    assert info.acceptance_rate == pytest.approx(ratio.clamp_max(0).exp(), rel=1e-6, abs=1e-9)
    assert (ratio < 0).sum() > 10
    accepted = blocks.uniforms(generators, 1)[:, 0].log() < ratio
    assert 5 < accepted.sum() < CHAINS
    wanted = torch.where(accepted[:, None], moved, sites["depth"])
    assert target.constrain(after)["depth"] == pytest.approx(wanted, rel=1e-9)


def offered_to_all(block: DepthMoves, depth: Tensor, seed: int) -> Tensor:
    chosen, offered, _ = offer(block, depth, seed)
    return torch.empty_like(depth).scatter(1, chosen, offered)


def test_jumps_have_the_density_that_the_ratio_assumes():
    model = exact_model(num_buckets=3)
    proposal = model.proposal
    depth = proposal.near.expand(3000, 48)
    candidate = offered_to_all(DepthMoves(model, "proposal", fraction=1.0), depth, 1)
    shares = torch.nn.functional.one_hot(proposal.bucket(candidate), 3).double().mean(0)
    wanted = 0.9 * proposal.probabilities + 0.1 / 3
    error = (wanted * (1 - wanted) / 3000).sqrt()
    assert ((shares - wanted) / error).abs().max() < scenes.LIMIT
    where = geometry.depth_to_relative_disparity(candidate, proposal.near, proposal.far)
    assert scenes.kolmogorov_smirnov(torch.frac(where * 3).flatten()) < scenes.LIMIT


def test_walks_are_as_likely_there_as_back():
    """From a uniform start, the flow from one third of the range to another equals its reverse."""
    model = exact_model(num_buckets=3)
    proposal, generator = model.proposal, torch.Generator().manual_seed(7)
    flow = torch.zeros(3, 3)
    for third in range(3):
        where = (third + torch.rand(3000, 48, generator=generator, dtype=torch.float64)) / 3
        depth = geometry.relative_disparity_to_depth(where, proposal.near, proposal.far)
        candidate = offered_to_all(DepthMoves(model, "walk", fraction=1.0), depth, third)
        assert ((candidate >= proposal.near) & (candidate <= proposal.far)).all()
        flow[third] = torch.bincount(proposal.bucket(candidate).flatten(), minlength=3)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        there, back = flow[one, other], flow[other, one]
        assert there > 1000
        assert abs(there - back) < scenes.LIMIT * (there + back) ** 0.5


# ----- many at once -----


@pytest.mark.parametrize("kind", KINDS)
def test_moves_without_shared_pixels_factorise(kind):
    model = exact_model(**kind)
    target = PyroTarget(model, vectorized=True)
    sites = scenes.prior_draws(model, CHAINS)
    depth, opacity = sites["depth"], sites["opacity"]
    chosen, offered, _ = offer(DepthMoves(model, fraction=0.3), depth, 5)
    candidate = depth.scatter(1, chosen, offered)
    touched = depth_moves._touched_pixels(model, depth, candidate, opacity, chosen)
    moving = depth_moves._without_shared_pixels(touched, chosen.shape)
    together = depth.scatter(1, chosen, torch.where(moving, offered, depth.gather(1, chosen)))
    noise = blocks.noise_per_view(model, sites["noise_scale"])
    owner = depth_moves._owners(touched, moving, model.num_pixels)
    single = DepthMoves(model)._log_likelihood_ratio(owner, moving, depth, together, opacity, noise)
    assert (moving.sum(-1) > 1).sum() > CHAINS / 2, "several move at once"
    assert (single[~moving] == 0).all()

    def likelihood_ratio(new: Tensor) -> Tensor:
        change = log_joint(target, {**sites, "depth": new}) - log_joint(target, sites)
        return change - model.depth_prior_log_ratio(depth, new).sum(-1)

    assert single.sum(-1) == pytest.approx(likelihood_ratio(together), rel=1e-6, abs=1e-8)
    # ... and each by itself is the ratio of its own move.
    for place in range(3):
        alone = depth.scatter(1, chosen[:, place : place + 1], offered[:, place : place + 1])
        wanted = likelihood_ratio(alone)
        moves = moving[:, place]
        assert single[moves, place] == pytest.approx(wanted[moves], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("is_coupled", [True, False])
def test_neighbours_that_the_prior_couples_never_move_together(is_coupled, monkeypatch):
    """Even if their footprints were too small to meet."""

    def nobody_meets(model, old, new, opacity, chosen, *groups):
        owner = torch.full((len(chosen), model.num_pixels), -1)
        return depth_moves._Claims(torch.ones_like(chosen, dtype=torch.bool), owner)

    monkeypatch.setattr(depth_moves, "claims", nobody_meets)
    model = exact_model(**{**SMOOTH, **({} if is_coupled else {"prior": "uniform"})})
    target = PyroTarget(model, vectorized=True)
    start = target.unconstrain(scenes.prior_draws(model, CHAINS))
    block = DepthMoves(model, "walk", fraction=0.9)
    after, _, _ = block.step(make_generators(0, CHAINS), start, None, is_warmup=False)
    moved = (after["depth"] != start["depth"]).reshape(CHAINS, 2, 2, 12)
    pairs = (moved[..., 1:] & moved[..., :-1]).sum() + (
        moved[..., 1:, :] & moved[..., :-1, :]
    ).sum()
    assert moved.sum() > CHAINS
    assert (pairs == 0) == is_coupled


def test_who_moves_is_the_same_seen_from_the_other_side():
    model = exact_model()
    sites = scenes.prior_draws(model, CHAINS)
    depth, opacity = sites["depth"], sites["opacity"]
    chosen, offered, _ = offer(DepthMoves(model, fraction=0.3), depth, 6)
    candidate = depth.scatter(1, chosen, offered)
    there = depth_moves._touched_pixels(model, depth, candidate, opacity, chosen)
    moving = depth_moves._without_shared_pixels(there, chosen.shape)
    accepted = moving & (torch.rand(moving.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    here = depth.gather(1, chosen)
    after = depth.scatter(1, chosen, torch.where(accepted, offered, here))
    back = depth.scatter(1, chosen, torch.where(accepted, here, offered))
    reverse = depth_moves._touched_pixels(model, after, back, opacity, chosen)
    assert torch.equal(depth_moves._without_shared_pixels(reverse, chosen.shape), moving)
    assert accepted.any()
    assert not moving.all()


def test_movers_share_no_pixel_and_nobody_waits_in_vain():
    model = exact_model()
    sites = scenes.prior_draws(model, 20)
    depth, opacity = sites["depth"], sites["opacity"]
    chosen, offered, _ = offer(DepthMoves(model, fraction=0.3), depth, 7)
    candidate = depth.scatter(1, chosen, offered)
    touched = depth_moves._touched_pixels(model, depth, candidate, opacity, chosen)
    moving = depth_moves._without_shared_pixels(touched, chosen.shape)
    pixels = [
        set(touched.pixel[touched.owner == owner].tolist()) for owner in range(chosen.numel())
    ]
    width = chosen.shape[1]
    for chain in range(20):
        mine = range(chain * width, (chain + 1) * width)
        for place, owner in enumerate(mine):
            meets = [other for other in mine if other != owner and pixels[owner] & pixels[other]]
            assert bool(moving[chain, place]) == all(other > owner for other in meets)


def test_touched_pixels_are_all_that_change():
    model = exact_model()
    sites = scenes.prior_draws(model, 10)
    depth, opacity = sites["depth"], sites["opacity"]
    chosen, offered, _ = offer(DepthMoves(model, fraction=1 / 48), depth, 8)
    candidate = depth.scatter(1, chosen, offered)
    touched = depth_moves._touched_pixels(model, depth, candidate, opacity, chosen)
    before, after = (model.predict_pixels(d, opacity) for d in (depth, candidate))
    changed = (before != after).any(-1).flatten().nonzero()[:, 0]
    assert torch.isin(changed, touched.pixel).all()
    assert len(changed) > 0.8 * len(touched.pixel.unique())


# ----- what does not move -----


@pytest.mark.parametrize("candidates", depth_moves.CANDIDATES)
def test_untouched_depths_keep_their_very_bits(candidates):
    model = scenes.tiny_model()
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 50))
    moved, tuning, info = DepthMoves(model, candidates, fraction=0.2).step(
        make_generators(0, 50), position, None, is_warmup=True
    )
    changed = moved["depth"] != position["depth"]
    assert 0 < changed.sum() <= 50 * 5
    assert tuning is None
    assert ((info.acceptance_rate >= 0) & (info.acceptance_rate <= 1)).all()
    assert torch.equal(moved["opacity"], position["opacity"])
    assert torch.equal(moved["noise_scale"], position["noise_scale"])


def test_every_depth_is_in_reach_of_a_jump():
    """Also where the proposal gives nothing: a tenth of the candidates are uniform."""
    model = scenes.tiny_model(dtype=torch.float64)
    certain = torch.eye(4)[0].double().expand(24, 4)
    model = scenes.replaced(model, scenes.with_probabilities(model.proposal, certain))
    depth = scenes.prior_draws(model, 500)["depth"]
    block = DepthMoves(model, fraction=1.0)
    assert block._log_jump(depth).isfinite().all()
    _, offered, _ = offer(block, depth, 9)
    beyond = (offered > float(model.proposal.bucket_centre(torch.full((24,), 1))[0])).double()
    assert beyond.mean() == pytest.approx(0.1 * 2.5 / 4, abs=0.01)


def test_chains_do_not_depend_on_each_other():
    model = exact_model()
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    block = DepthMoves(model, fraction=0.3)
    together, _, _ = block.step(make_generators(4, 3), position, None, is_warmup=False)
    alone, _, _ = block.step(
        make_generators(4, 3)[1:2], {s: v[1:2] for s, v in position.items()}, None, is_warmup=False
    )
    assert torch.equal(alone["depth"], together["depth"][1:2])
    assert isinstance(block, base.Block)


def test_two_rounds_are_two_steps():
    model = exact_model()
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 5))
    both, _, info = DepthMoves(model, "walk", 0.2, rounds=2).step(
        make_generators(4, 5), position, None, is_warmup=False
    )
    generators, rates = make_generators(4, 5), []
    for _ in range(2):
        position, _, one = DepthMoves(model, "walk", 0.2).step(
            generators, position, None, is_warmup=False
        )
        rates.append(one.acceptance_rate)
    assert torch.equal(both["depth"], position["depth"])
    assert info.acceptance_rate == pytest.approx(torch.stack(rates).mean(0))


def test_unknown_candidates_are_refused():
    with pytest.raises(ValueError, match="'guess'; choose one of proposal, walk"):
        DepthMoves(scenes.tiny_model(), "guess")


@pytest.mark.parametrize("options", [{"rounds": 0}, {"fraction": 0.0}, {"fraction": 1.5}])
def test_shares_and_rounds_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="rounds must be at least 1 and fraction above 0"):
        DepthMoves(scenes.tiny_model(), **options)


# ----- the compiled engine -----


@pytest.mark.parametrize("candidates", depth_moves.CANDIDATES)
def test_the_compiled_engine_accepts_what_the_reference_accepts(candidates):
    plain, compiled = (
        scenes.tiny_model(image_shape=(6, 20), baseline=0.8, renderer=name)
        for name in ("reference", "cpu")
    )
    position = PyroTarget(plain, vectorized=True).unconstrain(scenes.prior_draws(plain, CHAINS))
    (one, _, first), (two, _, second) = (
        DepthMoves(model, candidates, fraction=0.2, rounds=2).step(
            make_generators(1, CHAINS), position, None, is_warmup=False
        )
        for model in (plain, compiled)
    )
    changed = one["depth"] != position["depth"]
    assert torch.equal(two["depth"] != position["depth"], changed)
    assert torch.equal(one["depth"], two["depth"])
    assert second.acceptance_rate == pytest.approx(first.acceptance_rate, abs=1e-3)
    assert changed.sum() > 100


def test_claims_are_those_of_the_reference():
    model = scenes.tiny_model(image_shape=(6, 20), baseline=0.8)
    sites = scenes.prior_draws(model, 20)
    chosen, offered, _ = offer(DepthMoves(model, fraction=0.3), sites["depth"], 7)
    candidate = sites["depth"].scatter(1, chosen, offered)
    plain, compiled = (
        depth_moves.claims(
            replace(model, renderer=make_renderer(name)),
            sites["depth"],
            candidate,
            sites["opacity"],
            chosen,
        )
        for name in ("reference", "cpu")
    )
    assert torch.equal(plain.moving, compiled.moving)
    assert torch.equal(plain.owner, compiled.owner)
    assert (plain.owner >= 0).any()


def test_models_with_another_cutoff_are_refused():
    model = scenes.tiny_model()
    alpha = make_renderer("reference", RenderSettings(cutoff="alpha"))
    with pytest.raises(ValueError, match=r"DepthMoves needs .* cutoff='alpha'"):
        DepthMoves(replace(model, renderer=alpha))
