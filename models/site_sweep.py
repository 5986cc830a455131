"""Exact Metropolis-Hastings moves of depth and opacity together, every Gaussian once a step.

The mathematics and the kernel are those of ``rendering.cpu_site_sweep``: with everything else fixed
the likelihood of one Gaussian's (depth, opacity) is Normal in the opacity, which can therefore be
summed out of a move of the depth. The candidates are those of ``depth_moves``: from the proposal
(with uniform exploration) or a symmetric step, which of the two being drawn for every Gaussian
without a look at the state.

Under the smooth prior most candidates come from that prior given the neighbours, and most of these
are the mirror image of the present depth under it (``rendering.cpu_field_draws``): the prior then
cancels in the ratio, and surfaces move on in the direction of the last move in place of walking at
random. Neighbours must be held meanwhile; the Gaussians are visited in two halves, the squares of a
checkerboard.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.models import blocks, smoothness
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.slots import LEAST
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.models.splat_model import SplatModel

_EXPLORE = 0.1
"""Share of proposal jumps drawn uniformly over the buckets, so that no depth is out of reach."""

_FRESH = 0.9
"""Share of the Gaussians that are offered a depth from the smooth prior given their neighbours."""

_MIRRORED = 0.9
"""Share of these whose draw is the mirror image of where they are: moves that go on."""

_OCTAVES, _SHORTEST = 4.0, 3.0
"""Steps in disparity are 2^-3 to 2 buckets long."""


@dataclass(frozen=True)
class SiteSweep:
    """Moves (depth, opacity) of all Gaussians, one after another in the order of their pixels.

    Works on lists of float32 alphas, compiled, whatever the renderer: results are those of its
    pictures to float32 rounding. Every chain goes through the pixels forwards or backwards, as a
    coin says.

    Attributes:
        model: must render with the falloff cutoff.
        jumps: of the Gaussians that are not offered a depth from the smooth prior, the share that
            is offered one from the proposal; the others are offered a step in disparity, 2^-3 to 2
            buckets long, reflected at near and far.

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
        model, size = self.model, len(self.model.proposal)
        plan = self._plan(generators, blocks.coordinates(model).depth(position["depth"]))
        coin = blocks.uniforms(generators, 1)[:, 0] < 0.5
        # Neighbours are not visited together: what the prior offers to one depends on the others.
        halves = [torch.ones(size, dtype=torch.bool)]
        if model.smoothness is not None:
            is_odd = smoothness.checkerboard(model.smoothness)
            halves = [is_odd, ~is_odd]
        total = torch.zeros(len(generators), dtype=torch.float64)
        for is_visited in halves:
            position, rates = self._sweep(generators, position, plan, is_visited, coin)
            total += rates.sum(-1)
        number = blocks.is_present(model.given(position), position["depth"]).sum(-1)
        return position, None, blocks.block_info(total / number.clamp_min(1))

    def _sweep(
        self,
        generators: Generators,
        position: Position,
        plan: "_Plan",
        is_visited: Bool[Tensor, " gaussian"],
        is_backward: Bool[Tensor, " chain"],
    ) -> tuple[Position, Float[Tensor, "chain gaussian"]]:
        """Visit some Gaussians; those that it does not visit have no acceptance rate."""
        # Late: loading numba takes a second.
        from bayes_splat.rendering import cpu_field_draws, cpu_site_sweep

        model, to = self.model.given(position), blocks.coordinates(self.model)
        proposal, cameras, threads = model.proposal, model.views.cameras, blocks.any_threads(model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(model, to.noise_scale(position["noise_scale"]))
        is_present = blocks.is_present(model, depth)
        opacity = torch.where(is_present, opacity, 0.0)
        uniforms = blocks.uniforms(generators, 5, len(proposal))
        here, offered, log_density = plan.here, plan.offered, plan.log_density
        if model.smoothness is not None:
            # In this half only the visited ones' neighbours may have moved since the plan.
            here = proposal.relative_disparity(depth)
            is_fresh = plan.is_fresh & is_visited
            shares = torch.where(plan.is_mirrored, -1.0, uniforms[:, 4])
            fresh = cpu_field_draws.draw_singly(here, is_fresh, model.smoothness, shares, threads)
            offered = torch.where(is_fresh, fresh.relative_disparities, offered)
            ratios = torch.where(is_fresh, fresh.log_ratios, log_density[:, 1])
            log_density = torch.stack([log_density[:, 0], ratios], dim=1)
        offered = torch.where(is_visited, offered, here)
        there = torch.where(is_visited, proposal.depth_at(offered), depth)
        both = torch.stack([depth, there], dim=1)
        rows = both.flatten(0, 1)
        moves = cpu_site_sweep.sweep_sites(
            model.gaussians(rows, opacity.repeat_interleave(2, dim=0)),
            cameras,
            blocks.falloff_settings(model, type(self).__name__),
            sort_depths=model.sort_depths(rows, cameras),
            opacities=opacity,
            observed=blocks.photographed(model),
            precisions=1.0 / noise**2,
            log_weights=log_prior(model, both) - log_density,
            relative_disparities=torch.stack([here, offered], dim=1),
            neighbours=neighbours(model),
            is_visited=is_visited.expand(depth.shape),
            is_backward=is_backward,
            uniforms=uniforms[:, :4],
            upper=MAX_OPACITY,
            prior=(model.config.opacity_prior[0], model.config.opacity_prior[1]),
            threads=threads,
        )
        # What stays keeps its very bits: a round trip through the maps would not.
        kept = torch.where(moves.moved, to.depth.inv(there), position["depth"])
        inside = moves.opacities.clamp(LEAST, MAX_OPACITY - LEAST)
        drawn = torch.where(is_present & is_visited, to.opacity.inv(inside), position["opacity"])
        return {**position, "depth": kept, "opacity": drawn}, moves.acceptance

    def _plan(self, generators: Generators, depth: Float[Tensor, "chain gaussian"]) -> "_Plan":
        """Candidates that depend on no other Gaussian, and which are drawn from the prior."""
        proposal, size = self.model.proposal, depth.shape[-1]
        kind, explore, where, length, fresh = blocks.uniforms(generators, 5, size).unbind(1)
        here = proposal.relative_disparity(depth)
        drawn = proposal.relative_disparity(proposal.sample(generators).double())
        jumped = torch.where(explore < _EXPLORE, where, drawn)
        scale = 2.0 ** (_OCTAVES * length - _SHORTEST) / proposal.num_buckets
        walked = blocks.reflect(here + scale * blocks.normals(generators, size))
        is_fresh = fresh < (0.0 if self.model.smoothness is None else _FRESH)
        is_mirrored = kind < _MIRRORED
        is_jump = (kind < self.jumps) & ~is_fresh
        offered = torch.where(is_jump, jumped, walked).clamp(LEAST, 1.0 - LEAST)
        both = torch.stack([depth, proposal.depth_at(offered)], dim=1)
        return _Plan(
            here, offered, is_jump[:, None] * _log_jump(proposal, both), is_fresh, is_mirrored
        )


class _Plan(NamedTuple):
    """What a sweep offers.

    Attributes:
        here: relative disparities before the sweep.
        offered: candidates.
        log_density: of the candidates' distribution over relative disparity at both, up to what is
            equal at both.
        is_fresh: which are to be drawn from the smooth prior instead, given their neighbours,
        is_mirrored: and which of these as the mirror image of where they are.
    """

    here: Float[Tensor, "chain gaussian"]
    offered: Float[Tensor, "chain gaussian"]
    log_density: Float[Tensor, "chain 2 gaussian"]
    is_fresh: Bool[Tensor, "chain gaussian"]
    is_mirrored: Bool[Tensor, "chain gaussian"]


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
