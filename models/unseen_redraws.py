"""Warmup only: what no other photograph shows is drawn anew from the smooth prior.

What one context view alone sees has no place of its own: its depth follows from the prior and from
the surfaces around it. Chains that start elsewhere would get there by steps of single Gaussians in
thousands of sweeps, since no photograph pulls. A few times during warmup the Gaussians that hardly
contribute to any photograph but the one in which they were born are therefore redrawn, by many
Gibbs sweeps of the smooth prior given all others (``rendering.cpu_field_draws``). The sweeps that
follow look at the photographs again.

This leaves no distribution invariant. After warmup it does nothing.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel

SEEN = 0.2
"""Pixels' worth of light in other photographs from which on a Gaussian counts as seen."""

FIRST, EVERY, TIMES = 5, 10, 4
"""It is the fifth step of warmup that redraws, and every tenth after it, four times in all."""

_SWEEPS, _BATCH = 200, 8
"""Of the prior, and how many have their random numbers drawn at a time."""

_FIRST = 0.5 / math.sqrt(math.pi)  # the first spherical harmonic

_MIRRORED = 0.9
"""Share of the draws that are mirror images."""


@dataclass(frozen=True)
class UnseenRedraws:
    """Draws depths that other photographs do not show from the smooth prior, while warming up.

    Gaussians are numbered (view, row, column) of the proposal's cameras. Opacities are held.

    Attributes:
        model: must have the smooth prior.

    Raises:
        ValueError: it has another prior.
    """

    model: SplatModel
    name: str = "unseen"

    def __post_init__(self) -> None:
        if self.model.smoothness is None:
            raise ValueError(
                "UnseenRedraws draws from the smooth prior, but the model has"
                f" prior={self.model.config.prior!r}; leave it out, or take prior=smooth"
            )

    def init(self, position: Position) -> int:
        """Steps of warmup so far."""
        return 0

    def step(
        self, generators: Generators, position: Position, tuning: int, is_warmup: bool
    ) -> tuple[Position, int, BlockInfo]:
        """Redraw if it is time. The rate is 1: nothing is refused."""
        info = blocks.block_info(torch.ones(len(generators), dtype=torch.float64))
        if not is_warmup:
            return position, tuning, info
        since = tuning + 1 - FIRST
        if since >= 0 and since % EVERY == 0 and since < EVERY * TIMES:
            position = self._redraw(generators, position)
        return position, tuning + 1, info

    def _redraw(self, generators: Generators, position: Position) -> Position:
        from bayes_splat.rendering import cpu_field_draws  # late: loading numba takes a second

        model, to = self.model.given(position), blocks.coordinates(self.model)
        proposal, threads = model.proposal, blocks.any_threads(model)
        assert model.smoothness is not None
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        is_unseen = light_elsewhere(model, depth, opacity) < SEEN
        is_unseen &= blocks.is_present(model, depth)
        relative = proposal.relative_disparity(depth)
        for _ in range(_SWEEPS // _BATCH):
            shares, coins = blocks.uniforms(generators, 2 * _BATCH, len(proposal)).chunk(2, dim=1)
            shares = torch.where(coins < _MIRRORED, -1.0, shares)
            relative = cpu_field_draws.redraw(
                relative, is_unseen, model.smoothness, shares, threads
            )
        drawn = to.depth.inv(proposal.depth_at(relative))
        return {**position, "depth": torch.where(is_unseen, drawn, position["depth"])}


def light_elsewhere(
    model: SplatModel,
    depth: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
) -> Float[Tensor, "chain gaussian"]:
    """What a Gaussian contributes to photographs other than its own: sum of o G T over pixels.

    It is the derivative of the sum of a picture's colours by the Gaussian's.
    """
    proposal, views = model.proposal, model.views.cameras
    is_own = _is_same(proposal.cameras.extrinsics, views.extrinsics)
    each = len(proposal) // len(proposal.cameras)
    found = torch.zeros(depth.shape, dtype=torch.float64)
    for view in range(len(views)):
        light = _light(model, depth, opacity, view)
        is_others = (~is_own[:, view]).repeat_interleave(each)
        found += torch.where(is_others, light, 0.0)
    return found


def _light(model: SplatModel, depth: Tensor, opacity: Tensor, view: int) -> Tensor:
    """What every Gaussian contributes to one photograph, summed over pixels, [chain gaussian]."""
    cameras = model.views[[view]].cameras
    with torch.no_grad():
        scene = model.scene(depth, opacity)
    grey = torch.zeros_like(scene.harmonics[..., :1]).requires_grad_()
    with torch.enable_grad():
        rendering = model.renderer.render(
            replace(scene, harmonics=grey),
            cameras,
            sort_depths=model.sort_depths(depth, cameras),
            non_finite="nan",
        )
        (slope,) = torch.autograd.grad(rendering.colors[..., 0].sum(), grey)
    return slope[:, :, 0, 0].double() / _FIRST


def _is_same(
    own: Float[Tensor, "view 4 4"], others: Float[Tensor, "other 4 4"]
) -> Bool[Tensor, "view other"]:
    """Whether cameras stand at one place and look the same way."""
    return (own[:, None] == others[None]).flatten(2).all(-1)
