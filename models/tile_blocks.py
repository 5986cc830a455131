"""The splat posterior cut into blocks of tiles, for moves that are accepted locally.

A pixel's likelihood depends on the Gaussians that touch it and on nothing else. So the target is a
sum of local terms, and a Gaussian all of whose pixels, in all views, lie in one block is that
block's own (design/posterior.md, section 4). A smooth prior couples neighbours only; footprints
reach over the neighbours' pixels, so that those of an active Gaussian are its block's or held.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat.models import blocks, likelihood, logistic, smoothness, tile_sums
from bayes_splat.models import colors as model_colors
from bayes_splat.models.blocks import Generators, Position, row
from bayes_splat.models.bucket_offsets import BucketOffsets
from bayes_splat.models.footprints import Sightlines
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_activity import Activity
from bayes_splat.models.tile_labels import TileLabels

SITES = ("depth", "offset", "opacity", "harmonics")

_UNIFORM_INFORMATION = 1.0 / 3.0
"""Mean curvature of a uniform prior in logit coordinates: E[2 r (1 - r)]."""


class BlockEnergies(NamedTuple):
    """The record that the samplers' room reads, see its protocol of the same name."""

    blocks: Float[Tensor, "chain block"]
    rest: Float[Tensor, " chain"]
    gradient: Position


@dataclass(frozen=True)
class TileBlocks:
    """Depths and opacities given the noise, as a target that can be cut into blocks of tiles.

    A ``Conditional`` of the samplers' room: ``given`` holds all other sites.

    Activity looks at all pixels that a Gaussian may touch while its depth stays in one of
    ``num_cells`` equal steps of disparity: a function of its own depth alone. With one step a
    bucket (the default), moves of ``offset`` never leave it, and no block is rejected because a
    Gaussian has left; finer steps make more Gaussians active and some moves invalid.

    Attributes:
        model: must render with the falloff cutoff.
        sites: what moves: ``opacity``, ``harmonics`` where the model samples them, and ``depth``
            (anywhere) or ``offset`` (the coordinate of ``BucketOffsets``, inside the present
            bucket).
        block_size: side of the blocks, pixels. Gaussians that touch more never move.
        tile: side of the tiles that blocks consist of, pixels.
        plane_share: see ``TileLabels``.
        num_cells: steps of disparity between near and far; None: one a bucket.

    Raises:
        ValueError: no such site, both coordinates of depth, or sizes that make no sense; the model
            renders with another cutoff, or its prior is Markov and ``depth`` moves (take
            ``offset``).
    """

    model: SplatModel
    sites: tuple[str, ...] = ("depth", "opacity")
    block_size: int = 16
    tile: int = 4
    plane_share: float = 0.25
    num_cells: int | None = None

    def __post_init__(self) -> None:
        known = set(SITES)
        if self.model.config.colors == "fixed":
            known.remove("harmonics")
        if not self.sites or set(self.sites) - known or {"depth", "offset"} <= set(self.sites):
            raise ValueError(
                f"sites is {self.sites}; choose opacity, and one of depth and offset, and harmonics"
                " where they are sampled, or some of these alone"
            )
        blocks.falloff_settings(self.model, type(self).__name__)
        if "depth" in self.sites:
            # Offsets stay in their buckets, which are all that such a prior looks at.
            blocks.refuse_markov(self.model, f"{type(self).__name__} with the site depth")
        if len(self.model.proposal) != self.model.num_pixels:
            raise ValueError(
                f"blocks need one Gaussian a pixel, got {len(self.model.proposal)} Gaussians"
                f" and {self.model.num_pixels} pixels"
            )
        if self.num_cells is not None and self.num_cells < 1:
            raise ValueError(f"num_cells must be at least 1, got {self.num_cells}")
        _ = self.labels

    @cached_property
    def labels(self) -> TileLabels:
        """What draws partitions."""
        return TileLabels(self.model.proposal, self.block_size, self.tile, self.plane_share)

    @cached_property
    def sightlines(self) -> Sightlines:
        """What tells footprints."""
        settings = blocks.falloff_settings(self.model, type(self).__name__)
        return Sightlines.of(self.model.proposal, self.model.views.cameras, settings)

    @cached_property
    def photographs(self) -> Float[Tensor, "*chain view height width 3"]:
        """The photographs as the model has them: shared, or every chain's own."""
        return self.model.photographs().contiguous()

    def given(self, position: Position) -> "TileTarget":
        """The density of the moving sites given everything else in ``position``."""
        return TileTarget(self, position)

    def extract(self, position: Position) -> Position:
        """The moving coordinates of ``position``."""
        if "offset" in self.sites:
            position = {**position, **self._offsets.extract(position)}
        return {site: position[site] for site in self.sites}

    def insert(self, block: Position, position: Position) -> Position:
        """``position`` with the moving coordinates replaced."""
        moved = self._offsets.insert(block, position) if "offset" in block else position
        return {**moved, **{s: v for s, v in block.items() if s != "offset"}}

    @property
    def _offsets(self) -> BucketOffsets:
        # Only its coordinates are used here.
        return BucketOffsets(_NoTarget(), self.model.proposal.num_buckets)


@dataclass(frozen=True)
class TileTarget:
    """Minus the log joint as a function of the moving coordinates, whole or in blocks.

    Attributes:
        parts: what moves and how it is cut.
        position: all sites; those that move are replaced.
    """

    parts: TileBlocks
    position: Position

    def of_chain(self, chain: int) -> "TileTarget":
        """The target of one chain alone, of photographs that all chains share."""
        return TileTarget(self.parts, row(self.position, chain))

    def potential_energy(self, block: Position) -> Float[Tensor, " chain"]:
        """Minus the log density up to a constant that depends on the buckets only."""
        with torch.no_grad():
            terms = self.terms(block)
        return _finite_or_inf(terms.total())

    def potential_and_gradient(self, block: Position) -> tuple[Float[Tensor, " chain"], Position]:
        """The same with its gradient."""
        terms, gradient = self.terms_and_gradient(block)
        return _finite_or_inf(terms.total()), gradient

    def draw_partition(self, generators: Generators) -> "TilePartition":
        """Blocks of tiles, drawn without looking at the position."""
        return TilePartition(self, self.parts.labels.draw(generators))

    def terms_and_gradient(self, block: Position) -> tuple["Terms", Position]:
        """One render and its backward pass."""
        with torch.enable_grad():
            leaves = {
                site: value.detach().clone().requires_grad_() for site, value in block.items()
            }
            terms = self.terms(leaves)
            every = terms.tiles.sum() + terms.gaussians.sum() + terms.edges.sum()
            slopes = torch.autograd.grad(every, list(leaves.values()))
        return Terms(*(t.detach() for t in terms)), dict(zip(leaves, slopes, strict=True))

    def terms(self, block: Position) -> "Terms":
        """All terms of the potential energy, by place."""
        to = blocks.coordinates(self.parts.model)
        position = self.parts.insert(block, self.position)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        colors = self._colors(position, depth, opacity, is_held="depth" not in block)
        squares = likelihood.cell_sums(colors, self.parts.photographs, self.parts.tile)
        tiles = squares / (2.0 * self.noise[:, :, None, None] ** 2)
        gaussians = self._gaussian_energies(block, position, depth, opacity)
        return Terms(tiles, gaussians, self._edge_energies(depth), self._rest)

    @torch.no_grad()
    def cells(self, block: Position) -> Int[Tensor, "chain gaussian"]:
        """The step of disparity that every depth lies in."""
        # Offsets hold the bucket; told from the held position, no rounding can change it.
        block = block if "depth" in block else {}
        depth = self.parts.insert(block, self.position)["depth"]
        return (logistic.sigmoid(depth) * self.num_cells).long().clamp(0, self.num_cells - 1)

    @property
    def num_cells(self) -> int:
        """Steps of disparity."""
        return self.parts.num_cells or self.parts.model.proposal.num_buckets

    @cached_property
    def noise(self) -> Float[Tensor, "chain view"]:
        """The noise scale of every view."""
        to = blocks.coordinates(self.parts.model)
        return blocks.noise_per_view(
            self.parts.model, to.noise_scale(self.position["noise_scale"]).detach()
        )

    def fisher_diagonal(self, generators: Generators, block: Position, num_probes: int) -> Position:
        """Diagonal of J^T W J + prior, estimated with random signs: E[(J^T W^(1/2) s)^2].

        J is the derivative of all pictures' colours, W one over the noise variance (Bekas et al.
        2007, "An estimator for the diagonal of a matrix"). One render, one backward pass a probe.

        Args:
            generators: one a chain.
            block: where to look.
            num_probes: over how many sign vectors the estimate is averaged.
        """
        to = blocks.coordinates(self.parts.model)
        with torch.enable_grad():
            leaves = {
                site: value.detach().clone().requires_grad_() for site, value in block.items()
            }
            position = self.parts.insert(leaves, self.position)
            depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
            colors = self._colors(position, depth, opacity, is_held="depth" not in leaves)
            scaled = colors.double() / self.noise[:, :, None, None, None]
            diagonal = {site: torch.zeros_like(value) for site, value in block.items()}
            for probe in range(num_probes):
                signs = [torch.randint(0, 2, scaled.shape[1:], generator=g) for g in generators]
                slopes = torch.autograd.grad(
                    scaled,
                    list(leaves.values()),
                    2.0 * torch.stack(signs).to(scaled) - 1.0,
                    retain_graph=probe + 1 < num_probes,
                )
                for site, slope in zip(leaves, slopes, strict=True):
                    diagonal[site] += slope.square() / num_probes
        return {site: value + self._information(site) for site, value in diagonal.items()}

    def _information(self, site: str) -> Tensor | float:
        """Curvature of minus the log prior."""
        if site != "harmonics":
            return _UNIFORM_INFORMATION
        config, d_sh = self.parts.model.config, self.position[site].shape[-1]
        return model_colors.prior_scales(d_sh, config.color_scale) ** -2

    def _colors(
        self, position: Position, depth: Tensor, opacity: Tensor, is_held: bool
    ) -> Float[Tensor, "chain view height width 3"]:
        """The pictures; the order of buckets that cannot change is found once."""
        model, cameras = self.parts.model.given(position), self.parts.model.views.cameras
        if not is_held or model.config.order != "bucket":
            return model.pictures(depth, opacity)
        scene = model.gaussians(depth, opacity)
        return model.renderer.render(scene, cameras, sort_depths=self._ranks).colors

    @cached_property
    def _ranks(self) -> Float[Tensor, "chain view gaussian"] | None:
        """The place of every Gaussian in the held bucket order; whole numbers, exact in float32."""
        model = self.parts.model
        depth = blocks.coordinates(model).depth(self.position["depth"]).detach()
        keys = model.sort_depths(depth, model.views.cameras)
        if keys is None:
            return None
        order = torch.sort(keys, dim=-1, stable=True).indices
        places = torch.arange(keys.shape[-1], dtype=torch.float32).expand(keys.shape)
        return torch.empty(keys.shape).scatter_(-1, order, places)

    def _gaussian_energies(
        self, block: Position, position: Position, depth: Tensor, opacity: Tensor
    ) -> Float[Tensor, "chain gaussian"]:
        """Minus the log prior and Jacobians of every Gaussian."""
        model, to = self.parts.model, blocks.coordinates(self.parts.model)
        x, y = position["depth"], position["opacity"]
        log_prob: Tensor = model.depth_prior_inside().log_prob(depth)
        log_prob = log_prob + to.depth.log_abs_det_jacobian(x, depth)
        log_prob = log_prob + model.opacity_prior().log_prob(opacity)
        log_prob = log_prob + to.opacity.log_abs_det_jacobian(y, opacity)
        if "harmonics" in position:
            log_prob = log_prob + model.harmonics_prior().log_prob(position["harmonics"])
        if "offset" in block:
            # x = logit((z + sigmoid(offset)) / Z): dx/d(offset) = f (1 - f) / (Z r (1 - r)).
            log_prob = log_prob + _log_slope(block["offset"]) - _log_slope(x)
        return -log_prob

    def _edge_energies(self, depth: Tensor) -> Float[Tensor, "chain kind gaussian"]:
        """What couples neighbours a priori; no edges where nothing does."""
        model = self.parts.model
        if model.smoothness is None:
            return depth.new_zeros(len(depth), 0, depth.shape[1])
        return smoothness.edge_energies(model.smoothness, model.proposal.relative_disparity(depth))

    @cached_property
    def _rest(self) -> Float[Tensor, " chain"]:
        """Minus the log prior of the noise, and what the likelihood owes to it alone."""
        model, to = self.parts.model, blocks.coordinates(self.parts.model)
        x = self.position["noise_scale"].detach()
        scale = to.noise_scale(x)
        log_prob: Tensor = model.noise_prior().log_prob(scale)
        log_prob = log_prob + to.noise_scale.log_abs_det_jacobian(x, scale)
        colors = 3 * model.num_pixels / model.num_views
        normaliser = colors * (self.noise.log() + 0.5 * math.log(2.0 * math.pi)).sum(1)
        return normaliser - log_prob.reshape(len(x), -1).sum(1)


class Terms(NamedTuple):
    """The potential energy term by term.

    Attributes:
        tiles: minus the log likelihood of the tiles' pixels, without its normaliser.
        gaussians: minus the log prior of every Gaussian.
        edges: what couples each to the next in its row and in its column a priori, if anything.
        rest: what moves with none of them.
    """

    tiles: Float[Tensor, "chain view row column"]
    gaussians: Float[Tensor, "chain gaussian"]
    edges: Float[Tensor, "chain kind gaussian"]
    rest: Float[Tensor, " chain"]

    def flat(self) -> Float[Tensor, "chain term"]:
        """All but the rest side by side: tiles, Gaussians, edges."""
        return torch.cat([part.reshape(len(self.rest), -1) for part in self[:-1]], dim=1)

    def total(self) -> Float[Tensor, " chain"]:
        """The potential energy, added up in a fixed order."""
        every = self.flat()
        nobody = torch.full_like(every, -1, dtype=torch.long)
        return tile_sums.block_sums(every, nobody, 0)[:, 0] + self.rest


@dataclass(frozen=True)
class TilePartition:
    """One way to cut the target: the block of every tile.

    Attributes:
        target: what is cut.
        labels: the block of every tile.
    """

    target: TileTarget
    labels: Int[Tensor, "chain view row column"]

    @property
    def num_blocks(self) -> int:
        """Most blocks of a chain."""
        return self.target.parts.labels.num_blocks

    def owners(self, block: Position) -> Position:
        """The block of the pixel that a Gaussian was born at, or -1 where it touches others too."""
        owners = self._activity.owners(self.target.cells(block))
        return {
            site: owners.reshape(*owners.shape, *(1,) * (value.ndim - 2)).expand(value.shape)
            for site, value in block.items()
        }

    def evaluate(self, block: Position) -> BlockEnergies:
        """Energies by block, and the gradient: one render and its backward pass."""
        terms, gradient = self.target.terms_and_gradient(block)
        chains = len(terms.rest)
        owner = self._activity.owners(self.target.cells(block))
        owners = [self.labels, owner]
        if (field := self.target.parts.model.smoothness) is not None:
            owners.append(smoothness.edge_owners(field, owner))
        of_terms = torch.cat([part.reshape(chains, -1) for part in owners], dim=1)
        sums = tile_sums.block_sums(terms.flat(), of_terms, self.num_blocks)
        return BlockEnergies(sums[:, :-1], terms.rest + sums[:, -1], gradient)

    @cached_property
    def _activity(self) -> Activity:
        parts = self.target.parts
        present = self.target.cells(parts.extract(self.target.position))
        return Activity(self.labels, parts.labels, parts.sightlines, self.target.num_cells, present)


def _log_slope(x: Tensor) -> Tensor:
    """log of the slope of the sigmoid."""
    return torch.nn.functional.logsigmoid(x) + torch.nn.functional.logsigmoid(-x)


def _finite_or_inf(energy: Tensor) -> Tensor:
    return torch.where(energy.isfinite(), energy, torch.full_like(energy, torch.inf))


class _NoTarget:
    """Stands where ``BucketOffsets`` expects a density, for its coordinates' sake."""

    def potential_energy(self, position: Position) -> Tensor:
        raise NotImplementedError

    def potential_and_gradient(self, position: Position) -> tuple[Tensor, Position]:
        raise NotImplementedError
