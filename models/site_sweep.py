"""Exact Metropolis-Hastings moves of depth and opacity together, every Gaussian once a step.

The mathematics and the kernel are those of ``rendering.cpu_site_sweep``: with everything else fixed
the likelihood of one Gaussian's (depth, opacity) is Normal in the opacity, which can therefore be
summed out of a move of the depth. The candidates are those of ``depth_moves``: from the proposal
(with uniform exploration) or a symmetric step, which of the two being drawn for every Gaussian
without a look at the state.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.models.splat_model import SplatModel

_EXPLORE = 0.1
"""Share of proposal jumps drawn uniformly over the buckets, so that no depth is out of reach."""

_LEAST = 1e-12
"""Relative disparities and shares of opacity keep so far from the ends of their ranges."""


@dataclass(frozen=True)
class SiteSweep:
    """Moves (depth, opacity) of all Gaussians, one after another in the order of their pixels.

    Works on lists of float32 alphas, compiled, whatever the renderer: results are those of its
    pictures to float32 rounding. Every chain goes through the pixels forwards or backwards, as a
    coin says.

    Attributes:
        model: must render with the falloff cutoff.
        jumps: share of the Gaussians that are offered a depth from the proposal; the others are
            offered a step in disparity, 2^-5 to 2 buckets long, reflected at near and far.

    Raises:
        ValueError: the model renders with another cutoff, or it is not known how; its
            prior is Markov; the share is not
            in [0, 1].
    """

    model: SplatModel
    jumps: float = 0.5
    name: str = "sites"

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        blocks.refuse_markov(self.model, type(self).__name__)
        if not 0.0 <= self.jumps <= 1.0:
            raise ValueError(f"jumps is {self.jumps}; it is a share, give 0 to 1")

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Visit every Gaussian of every chain once; the rate is that of the depth moves."""
        from bayes_splat.rendering import cpu_site_sweep  # late: loading numba takes a second

        model, to = self.model.given(position), blocks.coordinates(self.model)
        cameras, threads = model.views.cameras, blocks.any_threads(model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(model, to.noise_scale(position["noise_scale"]))
        is_present = blocks.is_present(model, depth)
        opacity = torch.where(is_present, opacity, 0.0)
        offered, is_jump = self._offer(generators, depth)
        both = torch.stack([depth, offered], dim=1)
        rows = both.flatten(0, 1)
        weights = log_prior(model, both) - is_jump[:, None] * _log_jump(model.proposal, both)
        size = len(model.proposal)
        coin = blocks.uniforms(generators, 1)
        moves = cpu_site_sweep.sweep_sites(
            model.gaussians(rows, opacity.repeat_interleave(2, dim=0)),
            cameras,
            blocks.falloff_settings(model, type(self).__name__),
            sort_depths=model.sort_depths(rows, cameras),
            opacities=opacity,
            observed=blocks.photographed(model),
            precisions=1.0 / noise**2,
            log_weights=weights,
            relative_disparities=model.proposal.relative_disparity(both),
            neighbours=neighbours(model),
            is_backward=coin[:, 0] < 0.5,
            uniforms=blocks.uniforms(generators, 4, size),
            upper=MAX_OPACITY,
            prior=(model.config.opacity_prior[0], model.config.opacity_prior[1]),
            threads=threads,
        )
        # Depths that stay keep their very bits: a round trip through the map would not.
        kept = torch.where(moves.moved, to.depth.inv(offered), position["depth"])
        inside = moves.opacities.clamp(_LEAST, MAX_OPACITY - _LEAST)
        drawn = torch.where(is_present, to.opacity.inv(inside), position["opacity"])
        moved = {**position, "depth": kept, "opacity": drawn}
        rate = moves.acceptance.sum(-1) / is_present.sum(-1).clamp_min(1)
        return moved, None, blocks.block_info(rate)

    def _offer(self, generators: Generators, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Candidate depths, and which of them are jumps."""
        proposal, size = self.model.proposal, depth.shape[-1]
        kind, explore, where, length = blocks.uniforms(generators, 4, size).unbind(1)
        drawn = proposal.relative_disparity(proposal.sample(generators).double())
        jumped = torch.where(explore < _EXPLORE, where, drawn)
        scale = 2.0 ** (6.0 * length - 5.0) / proposal.num_buckets
        step = scale * blocks.normals(generators, size)
        walked = blocks.reflect(proposal.relative_disparity(depth) + step)
        is_jump = kind < self.jumps
        offered = torch.where(is_jump, jumped, walked).clamp(_LEAST, 1.0 - _LEAST)
        return proposal.depth_at(offered), is_jump


def log_prior(
    model: SplatModel, depth: Float[Tensor, "*chain gaussian"]
) -> Float[Tensor, "*chain gaussian"]:
    """Log prior density over relative disparity, Gaussian by Gaussian: without ``neighbours``."""
    if model.config.prior == "proposal":
        return _log_informed(model.proposal, depth)
    return torch.zeros_like(depth)


def neighbours(model: SplatModel) -> Smoothness:
    """How the prior couples depths of neighbouring pixels; of strength 0 where it does not."""
    if model.smoothness is not None:
        return model.smoothness
    none = torch.zeros(len(model.proposal), dtype=torch.float64)
    return Smoothness(0.0, none, none, model.proposal.cameras.image_shape)


def _log_jump(proposal: DepthProposal, depth: Tensor) -> Tensor:
    """Log density of jumps over relative disparity."""
    return torch.log((1.0 - _EXPLORE) * _log_informed(proposal, depth).exp() + _EXPLORE)


def _log_informed(proposal: DepthProposal, depth: Tensor) -> Tensor:
    """Log density of the proposal over relative disparity."""
    return proposal.log_prob(depth) - torch.log(proposal.disparity_slope(depth))
