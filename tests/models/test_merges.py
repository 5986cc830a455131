"""Merges and splits."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from bayes_splat.models import blocks, jumps, merge_map, merges, slots
from bayes_splat.models.merge_map import One, Two
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes
from tests.helpers_slots import CHAINS, KINDS, Setting, exact_model, put, take


@pytest.mark.parametrize("kind", KINDS)
def test_merges_and_splits_balance_each_other(kind):
    setting = Setting.of(**kind)
    model, sites = setting.model, setting.sites
    proposal, size = model.proposal, len(model.proposal)
    streams = make_generators(4, CHAINS)
    first = blocks.permutations(streams, size)[:, :1]
    blocks.uniforms(streams, 1)  # which other view: there is one
    drawn = proposal.depth_at(jumps.draw_jumps(proposal, streams)).gather(1, first)
    view = 1 - torch.div(first, size // 2, rounding_mode="floor")
    second, is_seen = merge_map.partners(proposal, first, view, drawn)
    length, share = blocks.uniforms(streams, 2, 1).unbind(1)
    scale = 2.0 ** (4.0 * length - 3.0) / proposal.num_buckets
    gap = scale * blocks.normals(streams, 1)
    pairs = merge_map.make_pairs(proposal, first, second)
    relative = proposal.relative_disparity(sites["depth"])
    i, j = first[:, 0], second[:, 0]
    here = [v.gather(1, s) for s in (first, second) for v in (relative, sites["opacity"])]
    is_merge = (take(sites["present"], i) == 1) & (take(sites["present"], j) == 1)
    is_split = (take(sites["present"], i) == 1) & (take(sites["present"], j) == 0)
    alone = One(here[0], here[1], gap, share)
    merged, parted = merge_map.merge(pairs, Two(*here)), merge_map.split(pairs, alone)
    ones = zip(merged, alone, strict=True)
    twos = zip(Two(*here), parted, strict=True)
    one = One(*(torch.where(is_merge[:, None], a, b) for a, b in ones))
    two = Two(*(torch.where(is_merge[:, None], a, b) for a, b in twos))
    is_offered = is_seen[:, 0] & (is_merge | is_split)
    is_offered &= merge_map.is_possible(pairs, one, two, MAX_OPACITY)[:, 0]

    def column(values: Tensor) -> Tensor:
        return torch.where(is_offered, values[:, 0], 0.5)

    def scene(end: One | Two, is_filled: bool) -> dict[str, Tensor]:
        own = put(relative, i, column(end[0]))
        opacity = put(sites["opacity"], i, column(end[1]))
        present = put(sites["present"], i, torch.ones(CHAINS).double())
        if is_filled:
            own, opacity = put(own, j, column(end[2])), put(opacity, j, column(end[3]))
        present = put(present, j, torch.full((CHAINS,), float(is_filled)).double())
        return {"depth": proposal.depth_at(own), "opacity": opacity, "present": present}

    apart, together = scene(two, True), scene(one, False)
    held = take(setting.log_prior(sites["depth"], sites["opacity"]), j)
    log_split = setting.log_joint(**apart) - setting.log_joint(**together) + held
    log_gap = Normal(0.0, scale[:, 0]).log_prob(column(one.gap))
    split_of = partial(_split_of_one_chain, pairs)
    log_det = torch.stack(
        [
            split_of(chain, torch.stack([v[chain, 0] for v in one]))
            if is_offered[chain]
            else torch.zeros((), dtype=torch.float64)
            for chain in range(CHAINS)
        ]
    )
    log_split = log_split - log_gap + log_det
    ratio = torch.where(is_merge, -log_split, log_split)
    wanted = torch.where(is_offered, ratio.clamp_max(0.0).exp(), 0.0)

    block = ReversibleJump(model, "merge_split", fraction=1 / size)
    start = setting.target.unconstrain(sites)
    after, _, info = block.step(make_generators(4, CHAINS), start, None, False)
    assert info.acceptance_rate == pytest.approx(wanted, rel=1e-5, abs=1e-9)
    between = (wanted > 0) & (wanted < 1)
    assert (between & is_merge).sum() > 5
    assert (between & is_split).sum() > 5
    is_changed = (after["present"] != start["present"]).any(-1)
    assert is_changed.sum() > 3
    values = setting.target.constrain(after)
    for end, is_end in ((together, is_merge), (apart, is_split)):
        chosen = is_changed & is_end
        for name in ("depth", "opacity"):
            shown = (after["present"] == 1)[chosen]
            found = values[name][chosen][shown]
            assert found == pytest.approx(end[name][chosen][shown], abs=1e-9)


def _split_of_one_chain(pairs: merge_map.Pairs, chain: int, values: Tensor) -> Tensor:
    """Log determinant by differentiation."""
    alone = merge_map.Pairs(
        *(v[chain : chain + 1] for v in pairs[:4]), *(v[:, chain : chain + 1] for v in pairs[4:])
    )

    def split(given: Tensor) -> Tensor:
        return torch.cat(merge_map.split(alone, One(*given[:, None, None])))[:, 0]

    return torch.autograd.functional.jacobian(split, values).det().abs().log()


def test_partners_are_the_same_whatever_the_state():
    model = exact_model()
    scene = [
        slots.scene_of(model, PyroTarget(model).unconstrain(scenes.prior_draws(model, 5, s)))
        for s in (0, 1)
    ]
    chosen = blocks.permutations(make_generators(0, 5), len(model.proposal))[:, :6]
    (one, real), (other, also) = (
        merges.draw_pairs(make_generators(2, 5), s, chosen) for s in scene
    )
    assert torch.equal(one.second, other.second)
    assert torch.equal(real, also)
    assert real.any()
