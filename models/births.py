"""Births and deaths of single Gaussians, many at once.

A slot is offered to be filled if it is empty and to be emptied if it is not. With o the opacity, r
the relative disparity, pi(r), pi(o) their priors and rho = ``inclusion``: a birth draws r from q,
the proposal with a share of uniform exploration (``jumps``), and o given r from the Normal
likelihood of o cut to its support. Pictures are affine in o, so that two of them tell
sum B (I - A) and sum B^2 (see ``opacity_gibbs``). With Z the integral of that likelihood over that
of no Gaussian, the ratio is

    rho / (1 - rho) * pi(r) / q(r) * pi(o) Z(r),      and one over this for a death.

Of those that touch the same pixel in any view only the first is made, as in ``depth_moves``: a
Gaussian that is born touches what it touches when it dies.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, depth_moves, jumps, site_sweep, touched_pictures
from bayes_splat.models.blocks import Generators
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.slots import LEAST, Outcome, Scene, decide

_TRIAL = 0.9
"""The opacity of the second of two pictures between which opacities interpolate."""


def births_and_deaths(
    generators: Generators, scene: Scene, chosen: Int[Tensor, "chain chosen"]
) -> Outcome:
    """Offer to fill the chosen slots that are empty, and to empty the others."""
    model, proposal, is_present = scene.model, scene.model.proposal, scene.is_present
    offered = proposal.depth_at(jumps.draw_jumps(proposal, generators))
    place = torch.where(is_present, scene.depth, offered)
    moving, owner = depth_moves.claims(model, place, place, scene.opacity, chosen)
    given_place = _likelihood_of_opacity(generators, scene, chosen, moving, owner, place)
    opacity = torch.where(is_present, scene.opacity, given_place.drawn)
    log_birth = birth_log_ratio(scene, place, opacity, given_place.log_mass).gather(1, chosen)
    log_ratio = torch.where(is_present.gather(1, chosen), -log_birth, log_birth)
    accepted, rate = decide(generators, moving, log_ratio)
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
    seen = touched_pictures.touched_pictures(
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
    drawn = found.values.clamp(LEAST, MAX_OPACITY - LEAST)
    return _OpacityDraws(
        nothing.scatter(1, chosen, drawn), nothing.scatter(1, chosen, found.log_mass)
    )
