"""Reversible jumps between scenes with different numbers of Gaussians (Green 1995).

Every ray of the proposal is a slot that holds one Gaussian or none (``presence``). What the depth
and opacity of an empty slot hold is no part of the scene: they follow the prior, as in a product
space with the prior for a pseudo-prior (Carlin & Chib 1995). It integrates to one, so that what
slots hold has the distribution of the scene alone, and every other block may look at all slots as
ever, or leave empty ones as they are. A move that empties a slot draws both afresh; in the ratio
the pseudo-prior cancels against that draw, and what is left is Green's.

With o the opacity, r the relative disparity, pi(r), pi(o) the priors and rho = ``inclusion``:

**Births and deaths.** A slot is offered to be filled if it is empty and to be emptied if it is not.
A birth draws r from q, the proposal with a share of uniform exploration (``jumps``), and o given r
from the Normal likelihood of o cut to its support: pictures are affine in o, so that two of them
tell sum B (I - A) and sum B^2 (see ``opacity_gibbs``), with Z the integral of that likelihood over
that of no Gaussian. The ratio is

    rho / (1 - rho) * pi(r) / q(r) * pi(o) Z(r),      and one over this for a death.

**Merges and splits.** A slot i is offered a partner j in another view: the pixel that a point drawn
from i's q falls on, which has nothing to do with the state. If both hold a Gaussian they merge into
one on ray i; if only i does, it is split; else nothing happens. With the map and the determinant of
``merges``, gap ~ Normal(0, s^2), s drawn without a look at the state, and share ~ Uniform(0, 1),
the ratio of a split is

    likelihood ratio * rho / (1 - rho) * pi(r_i) pi(o_i) pi(r_j) pi(o_j) / (pi(r) pi(o))
        * tau |d r_j / d m| / Normal(gap; 0, s^2),      and one over this for a merge.

Many moves are decided at once, as in ``depth_moves``: of those that touch the same pixel, before or
after, in any view, only the first is made, and likewise of pairs that share a slot. Both is the
same seen from where a move leads.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, depth_moves, inclusion_gibbs, jumps, merges, site_sweep
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.merges import One, Pairs, Two
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel

MOVES = ("birth_death", "merge_split")

_LEAST = 1e-12
"""Opacities keep so far from the ends of their range."""

_TRIAL = 0.9
"""The opacity of the second of two pictures between which opacities interpolate."""


@dataclass(frozen=True)
class ReversibleJump:
    """Fills and empties slots, judged on the pixels they touch.

    Attributes:
        model: with an unknown number of Gaussians.
        moves: ``birth_death`` of single Gaussians, or ``merge_split`` of two that two views have of
            one surface.
        fraction: share of the slots that are offered a move in one round; of those whose pixels
            meet only one moves.
        rounds: how often in one step.
        name: of the block; "" stands for the kind of moves.

    Raises:
        ValueError: a number is out of range, there are no such moves, the number of Gaussians is
            fixed, or the model renders with another cutoff than that of the falloff; for merges,
            there is one view only, or not one Gaussian a pixel.
    """

    model: SplatModel
    moves: str = "birth_death"
    fraction: float = 0.1
    rounds: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        inclusion_gibbs.refuse_fixed(self.model, type(self).__name__)
        if self.moves not in MOVES:
            raise ValueError(f"moves is {self.moves!r}; choose one of {', '.join(MOVES)}")
        if not 0.0 < self.fraction <= 1.0 or self.rounds < 1:
            raise ValueError(
                "fraction must be above 0 and at most 1, and rounds at least 1;"
                f" got {self.fraction} and {self.rounds}"
            )
        proposal = self.model.proposal
        height, width = proposal.cameras.image_shape
        views = len(proposal.cameras)
        is_pixelwise = len(proposal) == views * height * width
        if self.moves == "merge_split" and (views < 2 or not is_pixelwise):
            raise ValueError(
                "moves='merge_split' needs two views or more and one Gaussian a pixel, got"
                f" {views} of {height} x {width} and {len(proposal)}; use moves='birth_death'"
            )
        object.__setattr__(self, "name", self.name or self.moves)

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Offer moves to random sets of slots in every chain, set after set."""
        make = _births_and_deaths if self.moves == "birth_death" else _merges_and_splits
        rates = []
        for _ in range(self.rounds):
            scene = _scene_of(self.model, position)
            size = scene.depth.shape[1]
            chosen = blocks.permutations(generators, size)[:, : max(1, round(self.fraction * size))]
            outcome = make(generators, scene, chosen)
            position = _with_outcome(generators, self.model, position, outcome)
            rates.append(outcome.rate)
        return position, None, blocks.block_info(torch.stack(rates).mean(0))


class Scene(NamedTuple):
    """Values of the sites.

    Attributes:
        model: given the others; it shows every opacity that it is handed.
        depth: of all slots.
        opacity: 0 where a slot is empty.
        is_present: whether a slot holds a Gaussian.
        noise: of every view.
        log_odds: log(rho / (1 - rho)).
    """

    model: SplatModel
    depth: Float[Tensor, "chain gaussian"]
    opacity: Float[Tensor, "chain gaussian"]
    is_present: Bool[Tensor, "chain gaussian"]
    noise: Float[Tensor, "chain view"]
    log_odds: Float[Tensor, "chain 1"]


class Outcome(NamedTuple):
    """What a round came to.

    Attributes:
        depth, opacity: of the slots that a move has filled or changed.
        is_present: whether a slot holds a Gaussian now.
        is_changed: slots that moves have filled, emptied or changed.
        rate: mean acceptance probability of the moves.
    """

    depth: Float[Tensor, "chain gaussian"]
    opacity: Float[Tensor, "chain gaussian"]
    is_present: Bool[Tensor, "chain gaussian"]
    is_changed: Bool[Tensor, "chain gaussian"]
    rate: Float[Tensor, " chain"]


# ----- births and deaths -----


def _births_and_deaths(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> Outcome:
    model, proposal, is_present = scene.model, scene.model.proposal, scene.is_present
    offered = proposal.depth_at(jumps.draw_jumps(proposal, generators))
    place = torch.where(is_present, scene.depth, offered)
    moving, owner = depth_moves.claims(model, place, place, scene.opacity, chosen)
    given_place = _likelihood_of_opacity(generators, scene, chosen, moving, owner, place)
    opacity = torch.where(is_present, scene.opacity, given_place.drawn)
    log_birth = birth_log_ratio(scene, place, opacity, given_place.log_mass).gather(1, chosen)
    log_ratio = torch.where(is_present.gather(1, chosen), -log_birth, log_birth)
    accepted, rate = _decide(generators, moving, log_ratio)
    is_changed = torch.zeros_like(is_present).scatter(1, chosen, accepted)
    return Outcome(place, opacity, is_present ^ is_changed, is_changed, rate)


def birth_log_ratio(
    scene: Scene,
    place: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
    log_mass: Float[Tensor, "chain gaussian"],
) -> Float[Tensor, "chain gaussian"]:
    """log of rho / (1 - rho) * pi(r) / q(r) * pi(o) Z."""
    model = scene.model
    log_depths = site_sweep.log_prior(model, place) - jumps.jump_log_prob(model.proposal, place)
    return scene.log_odds + log_depths + model.opacity_prior().log_prob(opacity) + log_mass


class _OpacityDraws(NamedTuple):
    """Opacities drawn from the likelihood alone, and its integrals; those of others are 0."""

    drawn: Float[Tensor, "chain gaussian"]
    log_mass: Float[Tensor, "chain gaussian"]


def _likelihood_of_opacity(
    generators: Generators,
    scene: Scene,
    chosen: Int[Tensor, "chain chosen"],
    moving: Bool[Tensor, "chain chosen"],
    owner: Int[Tensor, "chain pixel"],
    place: Float[Tensor, "chain gaussian"],
) -> _OpacityDraws:
    """Of the Gaussians that move, each in the scene without those that move."""
    from bayes_splat.rendering import cpu_truncated_normal  # late: loading numba takes a second

    is_moving = torch.zeros_like(scene.is_present).scatter(1, chosen, moving)
    without = torch.where(is_moving, 0.0, scene.opacity)
    both = torch.stack([without, torch.where(is_moving, _TRIAL, without)], dim=1)
    places = torch.stack([place, place], dim=1)
    seen = depth_moves.touched_pictures(
        scene.model, owner, chosen.shape[1], places, both, scene.noise
    )
    start = seen.colors[:, 0]
    slope = (seen.colors[:, 1] - start) / _TRIAL
    weighted = seen.sums((slope * (seen.observed - start)).sum(-1) / seen.variance)
    precision = seen.sums(slope.square().sum(-1) / seen.variance)
    found = cpu_truncated_normal.draw_with_mass(
        weighted, precision, MAX_OPACITY, blocks.uniforms(generators, chosen.shape[1])
    )
    nothing = torch.zeros_like(place)
    drawn = found.values.clamp(_LEAST, MAX_OPACITY - _LEAST)
    return _OpacityDraws(
        nothing.scatter(1, chosen, drawn), nothing.scatter(1, chosen, found.log_mass)
    )


# ----- merges and splits -----


def _merges_and_splits(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> Outcome:
    model, proposal = scene.model, scene.model.proposal
    number = chosen.shape[1]
    pairs, is_real = _draw_pairs(generators, scene, chosen)
    slots = torch.stack([pairs.first, pairs.second], dim=-1)
    length, share = blocks.uniforms(generators, 2, number).unbind(1)
    scale = 2.0 ** (4.0 * length - 3.0) / proposal.num_buckets
    gap = scale * blocks.normals(generators, number)

    is_first, is_second = scene.is_present[..., None].expand(-1, -1, 2).gather(1, slots).unbind(-1)
    is_merge = is_first & is_second
    one, two = _both_ends(scene, pairs, gap, share, is_merge)
    is_offered = is_real & is_first & merges.is_possible(pairs, one, two, MAX_OPACITY)
    ends = _Ends.of(scene, pairs, one, two, is_offered)
    groups = torch.where(is_offered, torch.arange(number), -1)[..., None].expand(slots.shape)
    moving, owner = depth_moves.claims(
        model, *ends.depth.unbind(1), scene.opacity, slots.flatten(1), groups.flatten(1), number
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
    accepted, rate = _decide(generators, moving, torch.where(is_merge, -log_split, log_split))
    merged, parted = (_Ends.of(scene, pairs, one, two, accepted & k) for k in (is_merge, ~is_merge))
    changed = [ends.is_changed for ends in (merged, parted)]
    return Outcome(
        torch.where(changed[0], merged.depth[:, 0], parted.depth[:, 1]),
        torch.where(changed[0], merged.opacity[:, 0], parted.opacity[:, 1]),
        torch.where(changed[0], merged.is_present[:, 0], parted.is_present[:, 1]),
        changed[0] | changed[1],
        rate,
    )


def _draw_pairs(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> tuple[Pairs, Bool[Tensor, "chain chosen"]]:
    """Partners of the chosen slots, drawn without a look at the state, and who has one."""
    proposal = scene.model.proposal
    views, (height, width) = len(proposal.cameras), proposal.cameras.image_shape
    others = blocks.uniforms(generators, chosen.shape[1]) * (views - 1)
    own = torch.div(chosen, height * width, rounding_mode="floor")
    view = (own + 1 + others.long()) % views
    drawn = proposal.depth_at(jumps.draw_jumps(proposal, generators)).gather(1, chosen)
    second, is_seen = merges.partners(proposal, chosen, view, drawn)
    slots = torch.stack([chosen, second], dim=-1)
    is_real = merges.first_of_its_slots(slots, is_seen, len(proposal))
    return merges.make_pairs(proposal, chosen, second), is_real


def _both_ends(
    scene: Scene, pairs: Pairs, gap: Tensor, share: Tensor, is_merge: Bool[Tensor, "chain chosen"]
) -> tuple[One, Two]:
    """The one and the two between which each pair would move, from the end where it is."""
    relative = scene.model.proposal.relative_disparity(scene.depth)
    here = [values.gather(1, slot) for slot in pairs[:2] for values in (relative, scene.opacity)]
    one, two = One(here[0], here[1], gap, share), Two(*here)
    merged, parted = merges.merge(pairs, two), merges.split(pairs, one)
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
    log_opacity = scene.model.opacity_prior().log_prob(ends.opacity.clamp_min(_LEAST))
    at_one, at_two = (log_depth + log_opacity).unbind(1)
    log_prior = at_two.gather(1, pairs.first) + at_two.gather(1, pairs.second)
    log_prior = log_prior - at_one.gather(1, pairs.first)
    log_gap = -0.5 * (one.gap / gap_scale).square() - torch.log(
        gap_scale * math.sqrt(2.0 * math.pi)
    )
    log_det = merges.split_log_det(pairs, one, two)
    return scene.log_odds + log_prior - log_gap + log_det


# ----- both -----


def _scene_of(model: SplatModel, position: Position) -> Scene:
    to = blocks.coordinates(model)
    is_present = position["present"] > 0.5
    others = {name: value for name, value in position.items() if name != "present"}
    return Scene(
        model=model.given(others),
        depth=to.depth(position["depth"]),
        opacity=torch.where(is_present, to.opacity(position["opacity"]), 0.0),
        is_present=is_present,
        noise=blocks.noise_per_view(model, to.noise_scale(position["noise_scale"])),
        log_odds=position["inclusion"][:, None],
    )


def _decide(
    generators: Generators, moving: Bool[Tensor, "chain group"], log_ratio: Tensor
) -> tuple[Bool[Tensor, "chain group"], Float[Tensor, " chain"]]:
    """Which moves are made, and the mean of their probabilities."""
    log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf)
    accepted = moving & (blocks.uniforms(generators, moving.shape[1]).log() < log_ratio)
    rate = torch.where(moving, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))
    return accepted, rate.sum(-1) / moving.sum(-1).clamp_min(1)


def _with_outcome(
    generators: Generators, model: SplatModel, position: Position, outcome: Outcome
) -> Position:
    """The position after a round; what empty slots hold is drawn from the prior."""
    to = blocks.coordinates(model)
    depth, opacity = draw_prior(model, generators)
    is_filled = outcome.is_present & outcome.is_changed
    depth = torch.where(is_filled, outcome.depth, depth)
    opacity = torch.where(is_filled, outcome.opacity, opacity)
    inside = opacity.clamp(_LEAST, MAX_OPACITY - _LEAST)
    # Untouched slots keep their very bits: a round trip through the map would not.
    values = {
        "depth": to.depth.inv(depth),
        "opacity": to.opacity.inv(inside),
        "present": outcome.is_present.double(),
    }
    kept = {k: torch.where(outcome.is_changed, v, position[k]) for k, v in values.items()}
    return {**position, **kept}


def draw_prior(
    model: SplatModel, generators: Generators
) -> tuple[Float[Tensor, "chain gaussian"], Float[Tensor, "chain gaussian"]]:
    """Depths and opacities from their priors, of all slots."""
    proposal, size = model.proposal, len(model.proposal)
    if model.config.prior == "proposal":
        depth = proposal.sample(generators).double()
    else:
        where = blocks.uniforms(generators, size).clamp(_LEAST, 1.0 - _LEAST)
        depth = proposal.depth_at(where)
    shapes = torch.tensor(model.config.opacity_prior, dtype=torch.float64)[:, None].expand(2, size)
    gamma = torch.stack([torch._standard_gamma(shapes, generator) for generator in generators])
    return depth, MAX_OPACITY * gamma[:, 0] / gamma.sum(1)
