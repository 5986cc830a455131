"""What moves between scenes with different numbers of Gaussians share: slots, full and empty.

Every ray of the proposal is a slot that holds one Gaussian or none (``presence``). What the depth
and opacity of an empty slot hold is no part of the scene: they follow the prior, as in a product
space with the prior for a pseudo-prior (Carlin & Chib 1995). It integrates to one, so that what
slots hold has the distribution of the scene alone, and every other block may look at all slots as
ever, or leave empty ones as they are. A move that empties a slot draws both afresh; in the ratio
the pseudo-prior cancels against that draw, and what is left is Green's (1995).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.blocks import Generators, Position
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel

LEAST = 1e-12
"""Relative disparities and opacities keep so far from the ends of their ranges."""


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


def scene_of(model: SplatModel, position: Position) -> Scene:
    """Values of the sites of a position."""
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


def decide(
    generators: Generators,
    moving: Bool[Tensor, "chain group"],
    log_ratio: Float[Tensor, "chain group"],
) -> tuple[Bool[Tensor, "chain group"], Float[Tensor, " chain"]]:
    """Which moves are made, and the mean of their probabilities."""
    log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf)
    accepted = moving & (blocks.uniforms(generators, moving.shape[1]).log() < log_ratio)
    rate = torch.where(moving, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))
    return accepted, rate.sum(-1) / moving.sum(-1).clamp_min(1)


def with_outcome(
    generators: Generators, model: SplatModel, position: Position, outcome: Outcome
) -> Position:
    """The position after a round; what empty slots hold is drawn from the prior."""
    to = blocks.coordinates(model)
    depth, opacity = draw_prior(model, generators)
    is_filled = outcome.is_present & outcome.is_changed
    depth = torch.where(is_filled, outcome.depth, depth)
    opacity = torch.where(is_filled, outcome.opacity, opacity)
    inside = opacity.clamp(LEAST, MAX_OPACITY - LEAST)
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
        where = blocks.uniforms(generators, size).clamp(LEAST, 1.0 - LEAST)
        depth = proposal.depth_at(where)
    shapes = torch.tensor(model.config.opacity_prior, dtype=torch.float64)[:, None].expand(2, size)
    gamma = torch.stack([torch._standard_gamma(shapes, generator) for generator in generators])
    return depth, MAX_OPACITY * gamma[:, 0] / gamma.sum(1)
