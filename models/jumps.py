"""Depths drawn without a look at the state: from the proposal, now and then from anywhere."""

import torch
from jaxtyping import Float

from bayes_splat.models import blocks
from bayes_splat.models.blocks import Generators
from bayes_splat.models.proposal import DepthProposal

EXPLORE = 0.1
"""Share drawn uniformly in disparity, so that no depth is out of reach."""

_LEAST = 1e-12
"""Relative disparities keep so far from 0 and 1."""


def draw_jumps(
    proposal: DepthProposal, generators: Generators
) -> Float[torch.Tensor, "chain gaussian"]:
    """A relative disparity for every ray of every chain."""
    explore, anywhere = blocks.uniforms(generators, 2, len(proposal)).unbind(1)
    informed = proposal.relative_disparity(proposal.sample(generators).double())
    drawn = torch.where(explore < EXPLORE, anywhere, informed)
    return drawn.clamp(_LEAST, 1.0 - _LEAST)


def jump_log_prob(
    proposal: DepthProposal, depth: Float[torch.Tensor, "*chain gaussian"]
) -> Float[torch.Tensor, "*chain gaussian"]:
    """Log density of :func:`draw_jumps`, over relative disparity."""
    informed = proposal.log_prob(depth) - torch.log(proposal.disparity_slope(depth))
    return torch.log((1.0 - EXPLORE) * informed.exp() + EXPLORE)
