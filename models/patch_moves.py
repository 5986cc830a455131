"""Metropolis moves of whole patches in disparity: what single Gaussians cannot do.

Where a prior or the photographs couple neighbours, a surface moves only as a whole: multigrid Monte
Carlo (Goodman & Sokal 1989) shifts blocks of several sizes together. A step goes through the sizes;
for each it lays a randomly shifted grid over every view and offers each patch one shift of its
relative disparities: a constant, and half of the time a tilt as well. Opacities are held. The
kernel is that of ``rendering.cpu_patch_sweep``.

A shift is as likely as its reverse, so that acceptance needs no candidate densities; one that leads
out of (0, 1) is refused.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, site_sweep
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel

_SPREAD = 2.0
"""Shifts are 2^-2 to 2^2 times the step size long: surfaces differ in how well they are seen."""

_TILT = 0.5
"""Share of the patches that are offered a tilt."""


class StepSizes(NamedTuple):
    """Scale of the shifts a size, and how often it has been tuned.

    A stochastic approximation (Robbins & Monro 1951) of the scale with the wanted acceptance rate;
    its mean over the second half of the updates, roughly, is what stays (Polyak & Juditsky 1992).

    Attributes:
        log_scales: natural log of the scale, relative disparity, while warming up.
        log_averages: the same, afterwards.
        num_updates: steps of warmup so far.
    """

    log_scales: Float[Tensor, "chain size"]
    log_averages: Float[Tensor, "chain size"]
    num_updates: int

    def updated(
        self, acceptance_rate: Float[Tensor, "chain size"], target_acceptance_rate: float
    ) -> "StepSizes":
        """Longer where too many were accepted, shorter where too few."""
        count = self.num_updates + 1
        moved = self.log_scales + 4.0 * count**-0.6 * (acceptance_rate - target_acceptance_rate)
        moved = moved.clamp(min=-14.0, max=0.0)
        weight = min(1.0, 2.0 / count)
        return StepSizes(moved, self.log_averages + weight * (moved - self.log_averages), count)


@dataclass(frozen=True)
class PatchMoves:
    """Shifts patches of neighbouring pixels' Gaussians together.

    Gaussians are numbered (view, row, column) of the proposal's cameras.

    Attributes:
        model: must render with the falloff cutoff.
        sizes: sides of the patches, pixels, one grid of each a step.
        scale: of the shifts before warmup, in buckets.
        target_acceptance_rate: warmup tunes the scale of every size towards it, chain by chain;
            afterwards scales stay.

    Raises:
        ValueError: the model renders with another cutoff, or it is not known how; its
            prior is Markov; there is no size, or one below 1; the scale is not positive.
    """

    model: SplatModel
    sizes: tuple[int, ...] = (2, 4, 8, 16)
    scale: float = 0.25
    target_acceptance_rate: float = 0.3
    name: str = "patches"

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        blocks.refuse_markov(self.model, type(self).__name__)
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes is {self.sizes}; give sides of patches, 1 pixel or more")
        if not self.scale > 0.0:
            raise ValueError(f"scale is {self.scale} buckets; it must be positive")

    def init(self, position: Position) -> StepSizes:
        """The scale before warmup, for every chain and size."""
        first = torch.full(
            (len(position["depth"]), len(self.sizes)),
            self.scale / self.model.proposal.num_buckets,
            dtype=torch.float64,
        ).log()
        return StepSizes(first, first, 0)

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: StepSizes, is_warmup: bool
    ) -> tuple[Position, StepSizes, BlockInfo]:
        """One grid of patches of every size; the rate is the mean over sizes."""
        scales = (tuning.log_scales if is_warmup else tuning.log_averages).exp()
        rates = []
        for number, size in enumerate(self.sizes):
            position, rate = self._sweep(generators, position, size, scales[:, number])
            rates.append(rate)
        rate = torch.stack(rates, dim=-1)
        if is_warmup:
            tuning = tuning.updated(rate, self.target_acceptance_rate)
        return position, tuning, blocks.block_info(rate.mean(-1))

    def _sweep(
        self,
        generators: Generators,
        position: Position,
        size: int,
        scales: Float[Tensor, " chain"],
    ) -> tuple[Position, Float[Tensor, " chain"]]:
        from bayes_splat.rendering import cpu_patch_sweep  # late: loading numba takes a second

        model, to = self.model.given(position), blocks.coordinates(self.model)
        proposal, cameras = model.proposal, model.views.cameras
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(model, to.noise_scale(position["noise_scale"]))
        shape = proposal.cameras.image_shape
        grid = cpu_patch_sweep.patch_grid(shape, size)
        patches = len(proposal.cameras) * grid[0] * grid[1]
        offsets = (size * blocks.uniforms(generators, 2)).long()
        shifts = _shifts(generators, patches, scales)
        here = proposal.relative_disparity(depth)
        there = here + _spread_out(shifts, shape, len(proposal.cameras), grid, size, offsets)
        is_present = blocks.is_present(model, depth)
        opacity = torch.where(is_present, opacity, 0.0)
        there = torch.where(is_present, there, here)
        is_inside: Bool[Tensor, "chain gaussian"] = (there > 0.0) & (there < 1.0)
        there = torch.where(is_inside, there, here)
        offered = proposal.depth_at(there)
        rows = torch.stack([depth, offered], dim=1).flatten(0, 1)
        log_ratios = site_sweep.log_prior(model, offered) - site_sweep.log_prior(model, depth)
        moves = cpu_patch_sweep.sweep_patches(
            model.gaussians(rows, opacity.repeat_interleave(2, dim=0)),
            cameras,
            blocks.falloff_settings(model, type(self).__name__),
            sort_depths=model.sort_depths(rows, cameras),
            opacities=opacity,
            observed=blocks.photographed(model),
            precisions=1.0 / noise**2,
            is_inside=is_inside,
            log_ratios=torch.where(is_present, log_ratios, 0.0),
            relative_disparities=torch.stack([here, there], dim=1),
            neighbours=site_sweep.neighbours(model),
            size=size,
            offsets=offsets,
            uniforms=blocks.uniforms(generators, patches),
            threads=blocks.any_threads(model),
        )
        # Depths that stay keep their very bits: a round trip through the map would not.
        kept = torch.where(moves.moved & is_present, to.depth.inv(offered), position["depth"])
        return {**position, "depth": kept}, moves.acceptance


def _shifts(
    generators: Generators, patches: int, scales: Float[Tensor, " chain"]
) -> Float[Tensor, "chain 3 patch"]:
    """Of every patch a constant, and slopes across and down that are often 0."""
    is_tilted, length = blocks.uniforms(generators, 2, patches).unbind(1)
    scale = scales[:, None] * 2.0 ** (_SPREAD * (2.0 * length - 1.0))
    shifts = scale[:, None] * blocks.normals(generators, 3, patches)
    is_used = torch.stack([torch.ones_like(is_tilted), is_tilted, is_tilted], dim=1)
    is_used[:, 1:] = (is_used[:, 1:] < _TILT).double()
    return shifts * is_used


def _spread_out(
    shifts: Float[Tensor, "chain 3 patch"],
    image_shape: tuple[int, int],
    num_views: int,
    grid: tuple[int, int],
    size: int,
    offsets: Int[Tensor, "chain 2"],
) -> Float[Tensor, "chain gaussian"]:
    """The shift of every Gaussian: slopes count from -1 to 1 over a patch, zero in its middle."""
    place, middle = [], []
    for extent, offset in zip(image_shape, offsets.unbind(-1), strict=True):
        at = torch.arange(extent) + offset[:, None]
        place.append(torch.div(at, size, rounding_mode="floor"))
        middle.append((2.0 * (at % size).double() + 1.0) / size - 1.0)
    number = place[0][:, :, None] * grid[1] + place[1][:, None, :]
    view = grid[0] * grid[1] * torch.arange(num_views)[:, None, None]
    patch = (number[:, None] + view).flatten(1)
    constant, across, down = (part.gather(1, patch) for part in shifts.unbind(1))
    grown = (len(shifts), num_views, *image_shape)
    x, y = middle[1][:, None, None, :].expand(grown), middle[0][:, None, :, None].expand(grown)
    return constant + across * x.flatten(1) + down * y.flatten(1)
