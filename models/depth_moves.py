"""Metropolis-Hastings moves of single depths, many at once, without gradients.

These are the moves that change buckets, and with them the depth order. A set of Gaussians is chosen
independently of the state, each gets a candidate depth, and each is accepted or rejected by the
pixels it touches before *or* after its move, in all views. Two Gaussians may move together only if
these pixel sets do not meet: then the likelihood ratio of the joint move is the product of
the single ones. The pixel sets are the same seen from the proposed state, so which Gaussians move
together is too, and detailed balance holds for each of them (compare the project's design notes on
the posterior, section 4). Gaussians that the prior couples never move together either, so that the
prior ratio of the joint move is a product of single ones too.
One step costs two pictures of the touched pixels, whatever the number of moves.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.models import blocks, scanlines, touched_pictures
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.scanlines import ScanlineDepth
from bayes_splat.models.smoothness import are_neighbours_earlier
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering import reference
from bayes_splat.types import Gaussians

CANDIDATES = ("proposal", "walk")
_EXPLORE = 0.1
"""Share of proposal jumps drawn uniformly over the buckets, so that no depth is out of reach."""


@dataclass(frozen=True)
class DepthMoves:
    """Moves depths one by one, judged on the pixels they touch.

    Attributes:
        model: the target.
        candidates: ``proposal`` draws independently from the depth proposal (a tenth of the time
            uniformly in disparity); ``walk`` takes a symmetric random step in disparity, about a
            quarter of a bucket to four buckets long, reflected at near and far.
        fraction: share of the Gaussians that get a candidate in one round; of those whose pixels
            meet only one moves.
        rounds: how often in one step.

    Raises:
        ValueError: there are no such candidates; the model renders with another cutoff than that of
            the falloff, or it is not known how.
    """

    model: SplatModel
    candidates: str = "proposal"
    fraction: float = 0.05
    name: str = "depth_jump"
    rounds: int = 1

    def __post_init__(self) -> None:
        settings = blocks.falloff_settings(self.model, type(self).__name__)
        if self.model.is_markov:
            scanlines.check_neighbours_meet(settings)
        if self.rounds < 1 or not 0.0 < self.fraction <= 1.0:
            raise ValueError(
                f"rounds is {self.rounds} and fraction {self.fraction}; rounds must be at least 1"
                " and fraction above 0 and at most 1"
            )
        if self.candidates not in CANDIDATES:
            raise ValueError(
                f"candidates is {self.candidates!r}; choose one of {', '.join(CANDIDATES)}"
            )

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Offer new depths to random sets of Gaussians in every chain, set after set."""
        rates, given = [], replace(self, model=self.model.given(position))
        for _ in range(self.rounds):
            position, rate = given._round(generators, position)
            rates.append(rate)
        return position, None, blocks.block_info(torch.stack(rates).mean(0))

    def _round(
        self, generators: Generators, position: Position
    ) -> tuple[Position, Float[Tensor, " chain"]]:
        to = blocks.coordinates(self.model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(self.model, to.noise_scale(position["noise_scale"]))
        size = depth.shape[-1]
        chosen = blocks.permutations(generators, size)[:, : max(1, round(self.fraction * size))]
        offered, log_ratio = self._offer(generators, depth, chosen)
        candidate = depth.scatter(1, chosen, offered)
        log_ratio = log_ratio + self._log_prior_ratio(position, depth, candidate, chosen)

        is_present = blocks.is_present(self.model, depth).gather(1, chosen)
        groups = torch.where(is_present, torch.arange(chosen.shape[1]), -1)
        moving, owner = claims(
            self.model, depth, candidate, opacity, chosen, groups, chosen.shape[1]
        )
        moving = moving & is_present
        if self.model.smoothness is not None:
            # Neighbours share a factor of the prior, as others share pixels: one moves at a time.
            moving = moving & ~are_neighbours_earlier(self.model.smoothness, chosen)
        kept = torch.where(moving, offered, depth.gather(1, chosen))
        log_ratio = log_ratio + self._log_likelihood_ratio(
            owner, moving, depth, depth.scatter(1, chosen, kept), opacity, noise
        )
        log_ratio = torch.nan_to_num(log_ratio, nan=-torch.inf)
        accepted = moving & (blocks.uniforms(generators, chosen.shape[1]).log() < log_ratio)
        moved = to.depth.inv(depth.scatter(1, chosen, torch.where(accepted, offered, kept)))
        is_new = torch.zeros_like(depth, dtype=torch.bool).scatter(1, chosen, accepted)
        rate = torch.where(moving, log_ratio.clamp_max(0.0).exp(), torch.zeros_like(log_ratio))
        rate = rate.sum(-1) / moving.sum(-1).clamp_min(1)
        # Untouched depths keep their very bits: a round trip through the map would not.
        kept_position = torch.where(is_new, moved, position["depth"])
        return {**position, "depth": kept_position}, rate

    def _offer(
        self, generators: Generators, depth: Tensor, chosen: Int[Tensor, "chain chosen"]
    ) -> tuple[Float[Tensor, "chain chosen"], Float[Tensor, "chain chosen"]]:
        """Candidate depths and the log ratio of reverse over forward candidate densities."""
        proposal, size = self.model.proposal, depth.shape[-1]
        if self.candidates == "proposal":
            drawn = proposal.sample(generators).double()
            explore, where = blocks.uniforms(generators, 2, size).unbind(1)
            uniform = proposal.depth_at(where)
            candidate = torch.where(explore < _EXPLORE, uniform, drawn)
            log_ratio = self._log_jump(depth) - self._log_jump(candidate)
        else:
            noise, length = blocks.normals(generators, size), blocks.uniforms(generators, size)
            scale = 2.0 ** (4.0 * length - 2.0) / proposal.num_buckets
            walked = blocks.reflect(proposal.relative_disparity(depth) + scale * noise)
            candidate = proposal.depth_at(walked)
            # Symmetric in disparity; as a density over depth it carries the slope.
            log_ratio = torch.log(
                proposal.disparity_slope(depth) / proposal.disparity_slope(candidate)
            )
        return candidate.gather(1, chosen), log_ratio.gather(1, chosen)

    def _log_jump(self, depth: Tensor) -> Tensor:
        proposal = self.model.proposal
        informed = proposal.log_prob(depth).exp()
        return torch.log((1.0 - _EXPLORE) * informed + _EXPLORE * proposal.disparity_slope(depth))

    def _log_prior_ratio(
        self, position: Position, depth: Tensor, candidate: Tensor, chosen: Tensor
    ) -> Float[Tensor, "chain chosen"]:
        """Of every chosen Gaussian moving alone.

        Neighbours on a scanline always share a pixel (see ``__post_init__``): never do both move.
        """
        log_transition = blocks.log_transition(self.model, position)
        if log_transition is None:
            return self.model.depth_prior_log_ratio(depth, candidate).gather(1, chosen)
        prior = ScanlineDepth(self.model.proposal, self.model.lines, log_transition)
        return prior.log_ratio_of_single(depth, candidate, chosen)

    def _log_likelihood_ratio(
        self,
        owner: Int[Tensor, "chain pixel"],
        moving: Bool[Tensor, "chain chosen"],
        old: Tensor,
        new: Tensor,
        opacity: Tensor,
        noise: Tensor,
    ) -> Float[Tensor, "chain chosen"]:
        """Of every moving Gaussian, over the pixels it touches before or after."""
        return log_likelihood_ratio(self.model, owner, moving, old, new, opacity, noise)


def log_likelihood_ratio(
    model: SplatModel,
    owner: Int[Tensor, "chain pixel"],
    moving: Bool[Tensor, "chain group"],
    old: Float[Tensor, "chain gaussian"],
    new: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
    noise: Float[Tensor, "chain view"],
    new_opacity: Float[Tensor, "chain gaussian"] | None = None,
) -> Float[Tensor, "chain group"]:
    """Of every moving group, over the pixels it touches before or after; one picture of both.

    Args:
        model: the target.
        owner: the group that a pixel belongs to, or -1.
        moving: its shape says how many groups there are.
        old, new: depths without and with the moves.
        opacity, noise: values of the sites; noise of every view.
        new_opacity: with the moves; None: opacities stay.
    """
    after_opacity = opacity if new_opacity is None else new_opacity
    opacities = torch.stack([opacity, after_opacity], dim=1)
    seen = touched_pictures.touched_pictures(
        model, owner, moving.shape[1], torch.stack([old, new], dim=1), opacities, noise
    )
    before, after = (seen.colors - seen.observed[:, None]).square().sum(-1).unbind(1)
    return seen.sums(0.5 * (before - after) / seen.variance)


class _Claims(NamedTuple):
    """Who moves, and which of them touches each pixel before or after its move.

    Attributes:
        moving: those that come first, in the order of choice, among all that share a pixel with
            them. The order of choice is random and independent of the state; the pixel sets are
            unions of before and after: the answer is the same for the reverse move.
        owner: number among the chosen (the groups), or -1; pixels are flat over (view, height,
            width).
    """

    moving: Bool[Tensor, "chain group"]
    owner: Int[Tensor, "chain pixel"]


def claims(
    model: SplatModel,
    old: Float[Tensor, "chain gaussian"],
    new: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
    chosen: Int[Tensor, "chain chosen"],
    groups: Int[Tensor, "chain chosen"] | None = None,
    num_groups: int | None = None,
) -> _Claims:
    """Who of the chosen may move at once, and whose the pixels are.

    Args:
        model: the target.
        old, new: depths now, and with all moves made.
        opacity: values of the site.
        chosen: Gaussians that want to move.
        groups: of the chosen, numbered in their order, where several move only together; -1 for
            those that stay where they are. None: each moves by itself.
        num_groups: how many groups there are.
    """
    threads = blocks.cpu_threads(model)
    if groups is None or num_groups is None:
        num_groups = chosen.shape[1]
        groups = torch.arange(num_groups).expand(chosen.shape)
    if threads is None:
        touched = _of_groups(_touched_pixels(model, old, new, opacity, chosen), groups, num_groups)
        moving = _without_shared_pixels(touched, torch.Size((len(chosen), num_groups)))
        return _Claims(moving, _owners(touched, moving, model.num_pixels))
    from bayes_splat.rendering import cpu_claims  # late: loading numba takes a second

    settings = blocks.falloff_settings(model, "DepthMoves")
    before, after = (_chosen_gaussians(model, depth, opacity, chosen) for depth in (old, new))
    found = cpu_claims.claim_pixels(
        before, after, model.views.cameras, settings, threads, groups, num_groups
    )
    return _Claims(*found)


def _chosen_gaussians(
    model: SplatModel, depth: Tensor, opacity: Tensor, chosen: Tensor
) -> Gaussians:
    everything = model.gaussians(depth, opacity)
    rows = chosen[..., None]
    return Gaussians(
        means=everything.means.gather(1, rows.expand(-1, -1, 3)),
        scales=everything.scales.gather(1, rows.expand(-1, -1, 3)),
        rotations=everything.rotations.gather(1, rows.expand(-1, -1, 4)),
        opacities=everything.opacities.gather(1, chosen),
        harmonics=everything.harmonics[:, :1].expand(-1, chosen.shape[1], -1, -1),
    )


class _Touched(NamedTuple):
    """Which chosen Gaussian touches which pixel, before or after its move.

    Attributes:
        owner: flat index into (chain, chosen).
        pixel: flat index into (chain, view, height, width).
    """

    owner: Int[Tensor, " pair"]
    pixel: Int[Tensor, " pair"]


def _touched_pixels(
    model: SplatModel, old: Tensor, new: Tensor, opacity: Tensor, chosen: Tensor
) -> _Touched:
    settings, both = blocks.falloff_settings(model, "DepthMoves"), []
    for depth in (old, new):
        some = _chosen_gaussians(model, depth, opacity, chosen)
        pairs = reference.footprints(some, model.views.cameras, settings).pairs
        number = pairs.splat % chosen.shape[1]
        chain = torch.div(pairs.splat, model.num_views * chosen.shape[1], rounding_mode="floor")
        both.append(_Touched(chain * chosen.shape[1] + number, pairs.pixel))
    return _Touched(*(torch.cat(parts) for parts in zip(*both, strict=True)))


def _of_groups(touched: _Touched, groups: Tensor, num_groups: int) -> _Touched:
    """The same with groups as owners."""
    chain = torch.div(touched.owner, groups.shape[1], rounding_mode="floor")
    group = groups.flatten()[touched.owner]
    moves = group >= 0
    return _Touched((chain * num_groups + group)[moves], touched.pixel[moves])


def _without_shared_pixels(touched: _Touched, shape: torch.Size) -> Bool[Tensor, "chain chosen"]:
    """See ``_Claims.moving``."""
    if touched.pixel.numel() == 0:
        return torch.ones(shape, dtype=torch.bool)
    first = torch.full((int(touched.pixel.max()) + 1,), shape.numel())
    first = first.scatter_reduce(0, touched.pixel, touched.owner, "amin")
    beaten = touched.owner > first[touched.pixel]
    return (torch.bincount(touched.owner[beaten], minlength=shape.numel()) == 0).reshape(shape)


def _owners(
    touched: _Touched, moving: Bool[Tensor, "chain chosen"], num_pixels: int
) -> Int[Tensor, "chain pixel"]:
    """See ``_Claims.owner``."""
    num_chains, num_chosen = moving.shape
    owned = moving.flatten()[touched.owner]
    owner = torch.full((num_chains * num_pixels,), -1)
    owner[touched.pixel[owned]] = touched.owner[owned] % num_chosen
    return owner.reshape(num_chains, num_pixels)
