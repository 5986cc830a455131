"""Exact draws of opacities, one Gaussian after another, on pixel lists.

Front-to-back compositing is affine in each single opacity: C = A + o B with
B = G T (c - behind), so under Normal noise an opacity's full conditional is a Normal times its
prior, cut to its support. The falloff cutoff makes this exact: which pixels a Gaussian touches does
not depend on its opacity.

A sweep visits the Gaussians in an order that does not depend on the opacities. With the CPU engine
it is compiled (``rendering.cpu_opacity_sweep``) and goes near first. For other renderers this file
does the same in PyTorch, and is the specification: Gaussians that share no pixel in any view are
independent given the rest, so those whose turn it is in all of their pixels are drawn together; the
result is that of the sequential sweep.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering import reference, segments
from bayes_splat.rendering.settings import RenderSettings


@dataclass(frozen=True)
class OpacityGibbs:
    """Draws opacities from their full conditionals.

    Attributes:
        model: must render with the falloff cutoff.
        fraction: share of the Gaussians visited in one step, chosen at random.
        stride: without the CPU engine, Gaussians this many pixels apart in their own view are
            visited one after another (an order in which many can be drawn together; it does not
            change the target).

    Raises:
        ValueError: the model renders with another cutoff, or it is not known how.
    """

    model: SplatModel
    fraction: float = 1.0
    stride: int = 5
    name: str = "opacity"

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        if self.stride < 1 or not 0.0 < self.fraction <= 1.0:
            raise ValueError(
                f"stride is {self.stride} and fraction {self.fraction}; stride must be at least 1"
                " and fraction above 0 and at most 1"
            )

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Draw the chosen opacities of every chain."""
        given = replace(self, model=self.model.given(position))
        to = blocks.coordinates(self.model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        is_present = blocks.is_present(given.model, depth)
        sites = _Sites(
            depth=depth,
            opacity=torch.where(is_present, opacity, 0.0),
            noise=blocks.noise_per_view(self.model, to.noise_scale(position["noise_scale"])),
        )
        threads = blocks.cpu_threads(self.model)
        if threads is None:
            turn = torch.where(is_present, self._turns(generators), 0)
            visited, uniform = turn > 0, blocks.uniforms(generators, 2, turn.shape[-1])
            swept = given._sweep(sites, turn, uniform)
        else:
            visited = is_present & ~self._skipped(generators)
            uniform = blocks.uniforms(generators, 2, visited.shape[-1])
            swept = given._compiled_sweep(sites, visited, uniform, threads)
        moved = swept.opacity.clamp(1e-12, MAX_OPACITY - 1e-12)
        kept = torch.where(visited, to.opacity.inv(moved), position["opacity"])
        rate = swept.acceptance.sum(-1) / visited.sum(-1).clamp_min(1)
        return {**position, "opacity": kept}, None, blocks.block_info(rate)

    def _compiled_sweep(
        self,
        sites: "_Sites",
        visited: Bool[Tensor, "chain gaussian"],
        uniform: Float[Tensor, "chain 2 gaussian"],
        threads: int,
        turn: Int[Tensor, "chain gaussian"] | None = None,
    ) -> "_Swept":
        """One after another, near first (or by turn)."""
        from bayes_splat.rendering import cpu_opacity_sweep  # late: loading numba takes a second

        model, cameras = self.model, self.model.views.cameras
        observed, _ = model.observed()
        a, b = model.config.opacity_prior
        sweep = cpu_opacity_sweep.sweep_opacities(
            model.gaussians(sites.depth, sites.opacity),
            cameras,
            blocks.falloff_settings(model, type(self).__name__),
            opacities=sites.opacity,
            sort_depths=model.sort_depths(sites.depth, cameras),
            observed=observed.expand(len(sites.depth), -1, -1),
            precisions=1.0 / sites.noise**2,
            visited=visited,
            uniforms=uniform,
            upper=MAX_OPACITY,
            prior=(a, b),
            threads=threads,
            order=None if turn is None else turn.argsort(dim=-1, descending=True),
        )
        return _Swept(sweep.opacities, sweep.acceptance)

    def _sweep(
        self,
        sites: "_Sites",
        turn: Int[Tensor, "chain gaussian"],
        uniform: Float[Tensor, "chain 2 gaussian"],
    ) -> "_Swept":
        """Set after set, those with the highest turn first."""
        settings = blocks.falloff_settings(self.model, type(self).__name__)
        sweep = _Sweep.start(self.model, settings, *sites)
        accepted = torch.zeros_like(sites.opacity)
        for chosen, pairs in sweep.rounds(turn.flatten()):
            current, members = sweep.opacity[chosen], sweep.members(chosen, pairs)
            precision, weighted = sweep.statistics(members, chosen.numel())
            candidate, log_correction = sample_truncated_normal(
                weighted, precision, current, MAX_OPACITY, uniform[:, 0].flatten()[chosen]
            )
            log_ratio = self._log_prior(candidate) - self._log_prior(current) + log_correction
            is_accepted = uniform[:, 1].flatten()[chosen].log() < log_ratio
            accepted.view(-1)[chosen] = log_ratio.clamp_max(0.0).exp()
            sweep.replace(chosen, members, torch.where(is_accepted, candidate, current))
        return _Swept(sweep.opacity.reshape(sites.opacity.shape), accepted)

    def _log_prior(self, opacity: Tensor) -> Tensor:
        return self.model.opacity_prior().log_prob(opacity.clamp(1e-12, MAX_OPACITY - 1e-12))

    def _turns(self, generators: Generators) -> Int[Tensor, "chain gaussian"]:
        """When each Gaussian is visited: larger is sooner, 0 is never. Independent of the state."""
        cameras = self.model.proposal.cameras
        (height, width), stride = cameras.image_shape, self.stride
        y = torch.arange(height)[:, None] % stride
        x = torch.arange(width) % stride
        lattice = (y * stride + x).flatten().repeat(len(cameras))
        view = torch.arange(len(cameras)).repeat_interleave(height * width)
        group = lattice + stride * stride * view
        size = len(group)
        order = blocks.permutations(generators, int(group.max()) + 1)
        turn = order[:, group] * size + torch.arange(size) + 1
        return torch.where(self._skipped(generators), torch.zeros_like(turn), turn)

    def _skipped(self, generators: Generators) -> Bool[Tensor, "chain gaussian"]:
        """Whose turn does not come in this step."""
        size = len(self.model.proposal)
        if self.fraction >= 1.0:
            return torch.zeros(len(generators), size, dtype=torch.bool)
        return blocks.permutations(generators, size) >= max(1, round(self.fraction * size))


class _Sites(NamedTuple):
    """Values of the sites, noise scales by view."""

    depth: Float[Tensor, "chain gaussian"]
    opacity: Float[Tensor, "chain gaussian"]
    noise: Float[Tensor, "chain view"]


class _Swept(NamedTuple):
    """Opacities after a sweep, and the acceptance probability of every draw (0 if not visited)."""

    opacity: Float[Tensor, "chain gaussian"]
    acceptance: Float[Tensor, "chain gaussian"]


class _Members(NamedTuple):
    """The pairs of the Gaussians drawn in one round: at most one a pixel."""

    pair: Int[Tensor, " member"]
    owner: Int[Tensor, " member"]
    falloff: Float[Tensor, " member"]
    slope: Float[Tensor, "3 member"]


@dataclass
class _Sweep:
    """The composited state of every pixel's list, kept up to date while opacities change.

    All flat: Gaussians over (chain, gaussian), pixels over (chain, view, height, width). For each
    pair the transmittance in front of it and the colour composited up to and with it.
    """

    opacity: Float[Tensor, " chain_gaussian"]
    gaussian: Int[Tensor, " pair"]
    pixel: Int[Tensor, " pair"]
    last: Int[Tensor, " pair"]
    falloff: Float[Tensor, " pair"]
    color: Float[Tensor, "3 pair"]
    through: Float[Tensor, " pair"]
    front: Float[Tensor, "3 pair"]
    observed: Float[Tensor, "3 pixel"]
    weight: Float[Tensor, " pixel"]

    @staticmethod
    def start(
        model: SplatModel, settings: RenderSettings, depth: Tensor, opacity: Tensor, noise: Tensor
    ) -> "_Sweep":
        cameras = model.views.cameras
        seen = reference.footprints(
            model.gaussians(depth, opacity),
            cameras,
            settings,
            sort_depths=model.sort_depths(depth, cameras),
        )
        pairs, (num_chains, size) = seen.pairs, opacity.shape
        chain = torch.div(pairs.splat, model.num_views * size, rounding_mode="floor")
        gaussian = chain * size + pairs.splat % size
        falloff = reference.falloff(seen, settings).double()
        color = segments.gather(seen.projection.colors.flatten(1), pairs.splat).double()
        alpha = opacity.flatten()[gaussian] * falloff
        through = segments.transmittance(alpha, pairs.position)
        observed, _ = model.observed()
        number = torch.arange(pairs.pixel.numel())
        is_last = torch.ones_like(pairs.pixel, dtype=torch.bool)
        is_last[:-1] = pairs.pixel[1:] != pairs.pixel[:-1]
        ends = number[is_last]
        segment = torch.cumsum(is_last.long(), 0) - is_last.long()
        return _Sweep(
            opacity=opacity.flatten().clone(),
            gaussian=gaussian,
            pixel=pairs.pixel,
            last=ends[segment],
            falloff=falloff,
            color=color,
            through=through,
            front=segments.cumulative_sum(alpha * through * color, pairs.position),
            observed=observed.expand(num_chains, -1, -1).flatten(0, 1).t(),
            weight=(1.0 / noise**2)
            .repeat_interleave(model.num_pixels // model.num_views, dim=-1)
            .flatten(),
        )

    def rounds(self, turn: Int[Tensor, " chain_gaussian"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Gaussians drawn together, set after set: each is next in all the pixels it touches.

        Yields:
            chosen: flat indices of the Gaussians.
            pairs: the pairs that belong to them, at most one a pixel.
        """
        waiting = turn > 0
        pair = torch.nonzero(waiting[self.gaussian]).squeeze(-1)
        gaussian, mine = self.gaussian[pair], turn[self.gaussian[pair]]
        # Compact pixel numbers, so that a round costs what still waits.
        _, pixel = torch.unique_consecutive(self.pixel[pair], return_inverse=True)
        num_pixels = int(pixel.max()) + 1 if pixel.numel() else 0
        while bool(waiting.any()):
            first = torch.zeros(num_pixels, dtype=mine.dtype)
            first = first.scatter_reduce(0, pixel, mine, "amax")
            blocked = torch.zeros_like(waiting)
            blocked[gaussian[mine < first[pixel]]] = True
            is_drawn = ~blocked[gaussian]
            yield torch.nonzero(waiting & ~blocked).squeeze(-1), pair[is_drawn]
            waiting &= blocked
            left = torch.nonzero(~is_drawn).squeeze(-1)
            pair, pixel, gaussian, mine = pair[left], pixel[left], gaussian[left], mine[left]

    def members(self, chosen: Int[Tensor, " chosen"], pair: Int[Tensor, " member"]) -> _Members:
        """The pairs of the chosen Gaussians with the slopes B of their pixels."""
        number = torch.empty_like(self.opacity, dtype=torch.long)
        number[chosen] = torch.arange(chosen.numel())
        owner, falloff, front = number[self.gaussian[pair]], self.falloff[pair], self.front[:, pair]
        alpha = self.opacity[chosen][owner] * falloff
        behind = (self.front[:, self.last[pair]] - front) / (1.0 - alpha)
        slope = falloff * (self.through[pair] * self.color[:, pair] - behind)
        return _Members(pair, owner, falloff, slope)

    def statistics(self, members: _Members, size: int) -> tuple[Tensor, Tensor]:
        """Precision sum(B^2)/noise^2 and sum(B (I - A))/noise^2 of every chosen opacity."""
        pair, owner, _, slope = members
        pixel = self.pixel[pair]
        residual = self.observed[:, pixel] - self.front[:, self.last[pair]]
        explained = residual + self.opacity[self.gaussian[pair]] * slope
        weight = self.weight[pixel]
        precision = torch.bincount(owner, weights=weight * slope.square().sum(0), minlength=size)
        weighted = torch.bincount(
            owner, weights=weight * (slope * explained).sum(0), minlength=size
        )
        return precision, weighted

    def replace(self, chosen: Int[Tensor, " chosen"], members: _Members, opacity: Tensor) -> None:
        """Put new opacities in place and recomposite what lies behind them."""
        pair, owner, falloff, _ = members
        old, new = self.opacity[chosen][owner] * falloff, opacity[owner] * falloff
        ratio = (1.0 - new) / (1.0 - old)
        own_color = self.through[pair] * self.color[:, pair]
        old_front, new_front = self.front[:, pair], self.front[:, pair] + (new - old) * own_color
        counts = self.last[pair] - pair
        which = torch.repeat_interleave(counts)
        step = torch.arange(which.numel()) - (torch.cumsum(counts, 0) - counts)[which]
        later = pair[which] + 1 + step
        self.through[later] *= ratio[which]
        self.front[:, later] = new_front[:, which] + ratio[which] * (
            self.front[:, later] - old_front[:, which]
        )
        self.front[:, pair] = new_front
        self.opacity[chosen] = opacity
