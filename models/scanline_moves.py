"""Whole stretches of a scanline offered new buckets at once.

Forward filtering-backward sampling draws the buckets of a stretch from

    q(z) = prod_j P(z_{j-1}, z_j) prod_j phi_j(z_j)^t / C,

phi being the proposal's probabilities (a tenth of them uniform), both neighbours of the stretch
fixed and P the transition matrix of the target itself. C depends on the neighbours, on P and on
phi, none of which the move changes, so that it is the same for the way back. In the
Metropolis-Hastings ratio the chain's terms of the prior cancel those of q, and what is left is

    likelihood(z') / likelihood(z) * prod_j phi_j(z_j)^t / phi_j(z'_j)^t.

Where the bucket stays, so does the position inside it; elsewhere it is drawn afresh, uniformly: a
step that is reversible for its uniform prior. Gaussians that stay claim no pixels.

Which stretches are offered is drawn without looking at the state: in one random view, lines some
way apart, and along them stretches of one length with Gaussians between them that stay. Given those
the stretches are independent a priori; of stretches that touch the same pixel, before or after,
only the first moves, as in ``depth_moves``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, depth_moves, forward_backward, scanlines
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.forward_backward import NOTHING
from bayes_splat.models.splat_model import SplatModel

_EXPLORE = 0.1
"""Share of the emission that is uniform over buckets, so that none is out of reach."""


@dataclass(frozen=True)
class ScanlineMoves:
    """Moves stretches of scanlines, judged on the pixels that they touch.

    Attributes:
        model: the target, with a Markov prior.
        length: Gaussians in a stretch; whole lines where they are not longer.
        sharpness: t, the power of the proposal's probabilities: 0 offers draws from the prior.
        spacing: pixels from line to line, and left between stretches of a line.
        name: of the block.
        rounds: how often in one step.

    Raises:
        ValueError: the prior is not Markov, a number is too small, or the model renders with
            another cutoff than that of the falloff.
    """

    model: SplatModel
    length: int = 4
    sharpness: float = 1.0
    spacing: int = 5
    name: str = "scanline"
    rounds: int = 1

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        if not self.model.is_markov:
            raise ValueError(
                f"{type(self).__name__} needs a Markov prior, but the model has"
                f" prior={self.model.config.prior!r}; use scanline_hmm or ihmm"
            )
        if min(self.length, self.spacing, self.rounds) < 1 or self.sharpness < 0:
            raise ValueError(
                "length, spacing and rounds must be at least 1 and sharpness at least 0; got"
                f" {self.length}, {self.spacing}, {self.rounds} and {self.sharpness}"
            )

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Offer new buckets to stretches in every chain.

        The acceptance rate is that of stretches in which a bucket would change.
        """
        rates = []
        for _ in range(self.rounds):
            position, rate = self._round(generators, position)
            rates.append(rate)
        return position, None, blocks.block_info(torch.stack(rates).mean(0))

    def _round(
        self, generators: Generators, position: Position
    ) -> tuple[Position, Float[Tensor, " chain"]]:
        model, to = self.model.given(position), blocks.coordinates(self.model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(self.model, to.noise_scale(position["noise_scale"]))
        chosen = self.stretches(generators)
        offer = self._offer(generators, position, depth, chosen)
        flat, changes = chosen.flatten(1), offer.changes.flatten(1)
        candidate = depth.scatter(1, flat, offer.depth.flatten(1))

        number = torch.arange(chosen.shape[1])[:, None].expand(chosen.shape[1:]).flatten()
        groups = torch.where(changes, number, -1)
        moving, owner = depth_moves.claims(
            model, depth, candidate, opacity, flat, groups, chosen.shape[1]
        )
        moving = moving & offer.changes.any(-1) & offer.is_possible
        here = depth.gather(1, flat)
        is_moving = moving[..., None].expand_as(chosen).flatten(1)
        kept = torch.where(is_moving, offer.depth.flatten(1), here)
        gain = depth_moves.log_likelihood_ratio(
            model, owner, moving, depth, depth.scatter(1, flat, kept), opacity, noise
        )
        log_ratio = torch.nan_to_num(offer.log_ratio + gain, nan=-torch.inf)
        accepted = moving & (blocks.uniforms(generators, chosen.shape[1]).log() < log_ratio)
        rate = torch.where(moving, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))

        # Untouched depths keep their very bits: a round trip through the map would not.
        is_new = torch.zeros_like(depth, dtype=torch.bool)
        is_new.scatter_(1, flat, (accepted[..., None] & offer.changes).flatten(1))
        moved = torch.where(is_new, to.depth.inv(candidate), position["depth"])
        return {**position, "depth": moved}, rate.sum(-1) / moving.sum(-1).clamp_min(1)

    def stretches(self, generators: Generators) -> Int[Tensor, "chain stretch place"]:
        """Gaussians of the stretches, drawn without looking at the state.

        Every Gaussian has a chance to be in one, and every two neighbours to be in one together.
        """
        lines = self.model.lines
        num_lines, width = len(lines.order) // lines.num_views, lines.order.shape[1]
        length = min(self.length, width)
        rows, row_room = _spread(num_lines, 1, self.spacing)
        starts, start_room = _spread(width, length, self.spacing)
        sizes = torch.tensor([lines.num_views, row_room, start_room])
        view, row, start = (blocks.uniforms(generators, 3) * sizes).long().unbind(1)
        line = (view * num_lines + row)[:, None] + rows
        place = start[:, None, None] + starts[:, None] + torch.arange(length)
        return lines.order[line[:, :, None, None], place[:, None]].flatten(1, 2)

    def _offer(
        self, generators: Generators, position: Position, depth: Tensor, chosen: Tensor
    ) -> "_Offer":
        proposal, lines = self.model.proposal, self.model.lines
        size = proposal.num_buckets
        bucket = proposal.bucket(depth)
        flat = chosen.flatten(1)
        weights = self._emission[chosen]
        first, last = lines.before[chosen[..., 0]], lines.after[chosen[..., -1]]
        before, after = (
            torch.where(side == NOTHING, NOTHING, bucket.gather(1, side.clamp_min(0)))
            for side in (first, last)
        )
        log_transition = blocks.log_transition(self.model, position)
        assert log_transition is not None
        uniform, inside = blocks.uniforms(generators, 2, *chosen.shape[1:]).unbind(1)
        drawn = forward_backward.sample_stretches(
            weights, log_transition.exp(), before, after, uniform
        )
        old = bucket.gather(1, flat).view_as(chosen)
        changes = drawn.states != old
        offered = scanlines.depth_inside(
            drawn.states, inside, proposal.near[chosen], proposal.far[chosen], size
        )
        here, there = (
            weights.gather(-1, states[..., None]).squeeze(-1) for states in (old, drawn.states)
        )
        return _Offer(
            depth=torch.where(changes, offered, depth.gather(1, flat).view_as(offered)),
            changes=changes,
            log_ratio=torch.log(here / there).sum(-1),
            is_possible=drawn.is_possible,
        )

    @cached_property
    def _emission(self) -> Float[Tensor, "gaussian bucket"]:
        phi = self.model.proposal.probabilities.double()
        mixed = (1.0 - _EXPLORE) * phi + _EXPLORE / phi.shape[-1]
        return mixed**self.sharpness


class _Offer(NamedTuple):
    """Candidates of all stretches.

    Attributes:
        depth: after the move.
        changes: where the bucket becomes another.
        log_ratio: all of the acceptance ratio but the likelihood.
        is_possible: the draw did not underflow.
    """

    depth: Float[Tensor, "chain stretch place"]
    changes: Bool[Tensor, "chain stretch place"]
    log_ratio: Float[Tensor, "chain stretch"]
    is_possible: Bool[Tensor, "chain stretch"]


def _spread(size: int, length: int, spacing: int) -> tuple[Int[Tensor, " start"], int]:
    """Starts of pieces with gaps between, and how many places all may be shifted to.

    The shift is at least a gap wide wherever there are gaps: no place is left out.
    """
    period = length + spacing
    number = max(1, size // period)
    room = size - (number - 1) * period - length + 1
    return period * torch.arange(number), room
