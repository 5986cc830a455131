"""Merges of two Gaussians that two views have of one surface, and splits, many at once.

A slot i is offered a partner j in another view: the pixel that a point falls on which is drawn from
i's proposal (``jumps``), and has nothing to do with the state. If both hold a Gaussian they merge
into one on ray i; if only i does, it is split; else nothing happens. With the map and the
determinant of ``merge_map``, gap ~ Normal(0, s^2), s drawn without a look at the state, and
share ~ Uniform(0, 1), the ratio of a split is

    likelihood ratio * rho / (1 - rho) * pi(r_i) pi(o_i) pi(r_j) pi(o_j) / (pi(r) pi(o))
        * tau |d r_j / d m| / Normal(gap; 0, s^2),      and one over this for a merge,

with rho = ``inclusion`` and pi the priors of relative disparities and opacities. Of pairs that
touch the same pixel, before or after, in any view, or share a slot, only the first is made: the
same ones seen from where a move leads.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, depth_moves, jumps, merge_map, site_sweep
from bayes_splat.models.blocks import Generators
from bayes_splat.models.merge_map import One, Pairs, Two
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.slots import LEAST, Outcome, Scene, decide


def merges_and_splits(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> Outcome:
    """Offer every chosen slot to merge with a partner, or to be split."""
    model, proposal = scene.model, scene.model.proposal
    number = chosen.shape[1]
    pairs, is_real = draw_pairs(generators, scene, chosen)
    slots = torch.stack([pairs.first, pairs.second], dim=-1)
    length, share = blocks.uniforms(generators, 2, number).unbind(1)
    scale = 2.0 ** (4.0 * length - 3.0) / proposal.num_buckets
    gap = scale * blocks.normals(generators, number)

    is_first, is_second = scene.is_present[..., None].expand(-1, -1, 2).gather(1, slots).unbind(-1)
    is_merge = is_first & is_second
    one, two = _both_ends(scene, pairs, gap, share, is_merge)
    is_offered = is_real & is_first & merge_map.is_possible(pairs, one, two, MAX_OPACITY)
    ends = _Ends.of(scene, pairs, one, two, is_offered)
    groups = torch.where(is_offered, torch.arange(number), -1)[..., None].expand(slots.shape)
    together, apart = ends.depth.unbind(1)
    moving, owner = depth_moves.claims(
        model, together, apart, scene.opacity, slots.flatten(1), groups.flatten(1), number
    )
    moving = moving & is_offered
    log_split = split_log_ratio(scene, pairs, one, two, ends, gap_scale=scale)
    shown = _Ends.of(scene, pairs, one, two, moving)
    opacities = torch.where(shown.is_present, shown.opacity, 0.0)
    log_split = log_split + depth_moves.log_likelihood_ratio(
        model,
        owner,
        moving,
        shown.depth[:, 0],
        shown.depth[:, 1],
        opacities[:, 0],
        scene.noise,
        opacities[:, 1],
    )
    accepted, rate = decide(generators, moving, torch.where(is_merge, -log_split, log_split))
    merged, parted = (_Ends.of(scene, pairs, one, two, accepted & k) for k in (is_merge, ~is_merge))
    changed = [ends.is_changed for ends in (merged, parted)]
    return Outcome(
        torch.where(changed[0], merged.depth[:, 0], parted.depth[:, 1]),
        torch.where(changed[0], merged.opacity[:, 0], parted.opacity[:, 1]),
        torch.where(changed[0], merged.is_present[:, 0], parted.is_present[:, 1]),
        changed[0] | changed[1],
        rate,
    )


def draw_pairs(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> tuple[Pairs, Bool[Tensor, "chain chosen"]]:
    """Partners of the chosen slots, drawn without a look at the state, and who has one."""
    proposal = scene.model.proposal
    views, (height, width) = len(proposal.cameras), proposal.cameras.image_shape
    others = blocks.uniforms(generators, chosen.shape[1]) * (views - 1)
    own = torch.div(chosen, height * width, rounding_mode="floor")
    view = (own + 1 + others.long()) % views
    drawn = proposal.depth_at(jumps.draw_jumps(proposal, generators)).gather(1, chosen)
    second, is_seen = merge_map.partners(proposal, chosen, view, drawn)
    slots = torch.stack([chosen, second], dim=-1)
    is_real = merge_map.first_of_its_slots(slots, is_seen, len(proposal))
    return merge_map.make_pairs(proposal, chosen, second), is_real


def _both_ends(
    scene: Scene, pairs: Pairs, gap: Tensor, share: Tensor, is_merge: Bool[Tensor, "chain chosen"]
) -> tuple[One, Two]:
    """The one and the two between which each pair would move, from the end where it is."""
    relative = scene.model.proposal.relative_disparity(scene.depth)
    here = [values.gather(1, slot) for slot in pairs[:2] for values in (relative, scene.opacity)]
    one, two = One(here[0], here[1], gap, share), Two(*here)
    merged, parted = merge_map.merge(pairs, two), merge_map.split(pairs, one)
    return (
        One(*(torch.where(is_merge, a, b) for a, b in zip(merged, one, strict=True))),
        Two(*(torch.where(is_merge, a, b) for a, b in zip(two, parted, strict=True))),
    )


class _Ends(NamedTuple):
    """All slots with some pairs at either end of their move: as one (0) and as two (1).

    The slot that is empty at one end keeps its place there.
    """

    depth: Float[Tensor, "chain 2 gaussian"]
    opacity: Float[Tensor, "chain 2 gaussian"]
    is_present: Bool[Tensor, "chain 2 gaussian"]
    is_changed: Bool[Tensor, "chain gaussian"]

    @staticmethod
    def of(scene: Scene, pairs: Pairs, one: One, two: Two, which: Tensor) -> "_Ends":
        chain, pair = which.nonzero(as_tuple=True)
        first, second = pairs.first[chain, pair], pairs.second[chain, pair]
        relative = scene.model.proposal.relative_disparity(scene.depth)
        relative, opacity, is_present = (
            torch.stack([values, values], dim=1)
            for values in (relative, scene.opacity, scene.is_present)
        )
        is_changed = torch.zeros_like(scene.is_present)
        is_changed[chain, first] = is_changed[chain, second] = True
        relative[chain, 0, first] = one.relative[chain, pair]
        relative[chain, 1, first] = two.relative_i[chain, pair]
        opacity[chain, 0, first] = one.opacity[chain, pair]
        opacity[chain, 1, first] = two.opacity_i[chain, pair]
        for end in range(2):
            relative[chain, end, second] = two.relative_j[chain, pair]
            opacity[chain, end, second] = two.opacity_j[chain, pair]
            is_present[chain, end, second] = end == 1
        depth = scene.model.proposal.depth_at(relative)
        kept = torch.where(is_changed[:, None], depth, scene.depth[:, None])
        return _Ends(kept, opacity, is_present, is_changed)


def split_log_ratio(
    scene: Scene, pairs: Pairs, one: One, two: Two, ends: _Ends, *, gap_scale: Tensor
) -> Float[Tensor, "chain chosen"]:
    """All of the ratio of a split but that of the likelihood; see the head of this file."""
    log_depth = site_sweep.log_prior(scene.model, ends.depth)
    log_opacity = scene.model.opacity_prior().log_prob(ends.opacity.clamp_min(LEAST))
    at_one, at_two = (log_depth + log_opacity).unbind(1)
    log_prior = at_two.gather(1, pairs.first) + at_two.gather(1, pairs.second)
    log_prior = log_prior - at_one.gather(1, pairs.first)
    log_gap = -0.5 * (one.gap / gap_scale).square() - torch.log(
        gap_scale * math.sqrt(2.0 * math.pi)
    )
    log_det = merge_map.split_log_det(pairs, one, two)
    return scene.log_odds + log_prior - log_gap + log_det
