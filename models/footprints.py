"""Which pixels a Gaussian may touch while its depth stays in an interval.

On its ray a Gaussian's projection is simple: camera coordinates are linear in depth, and its size
grows with depth, so that its 2D covariance depends on depth over camera z and on the slopes x/z and
y/z only, all of them monotonic. Their ends give a box that holds every footprint in between.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.rendering.projection import FRUSTUM_MARGIN
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras

_SLACK = 0.01
"""Pixels added on every side: many times the rounding of a projection in float32."""

_NEAR_SLACK = 1e-4
"""Share by which camera z must clear the near plane before it counts as on one side."""


class Boxes(NamedTuple):
    """Ranges of pixels, ends included, cut at the picture; empty where last < first.

    Attributes:
        top, bottom: rows.
        left, right: columns.
        is_known: False where no box can be told (the interval crosses the camera's near plane).
    """

    top: Int[Tensor, "*chain view gaussian"]
    bottom: Int[Tensor, "*chain view gaussian"]
    left: Int[Tensor, "*chain view gaussian"]
    right: Int[Tensor, "*chain view gaussian"]
    is_known: Bool[Tensor, "*chain view gaussian"]


@dataclass(frozen=True)
class Sightlines:
    """The rays of Gaussians as every camera sees them: all that boxes need, precomputed.

    With depth d the centre is ``start + d * run`` in camera coordinates. With F F^T the covariance
    at depth 1 and axis_k the camera's axes, row_x = axis_x F - (x/z) axis_z F gives the variance
    xx = (fx d / z)^2 |row_x|^2, a quadratic in the slope x/z; likewise yy.

    Attributes:
        start, run: camera coordinates, [3 view gaussian].
        across: |axis_x F|^2, axis_x F . axis_z F, |axis_z F|^2, [3 view gaussian].
        down: the same for y.
        cameras: of the views.
        reach: half squared Mahalanobis distance of the rim.
        low_pass: pixels^2, added to the variances.
        near_plane: camera z in front of which nothing is drawn.
    """

    start: Float[Tensor, "3 view gaussian"]
    run: Float[Tensor, "3 view gaussian"]
    across: Float[Tensor, "3 view gaussian"]
    down: Float[Tensor, "3 view gaussian"]
    cameras: Cameras
    reach: float
    low_pass: float
    near_plane: float

    @staticmethod
    def of(proposal: DepthProposal, cameras: Cameras, settings: RenderSettings) -> "Sightlines":
        """Of all Gaussians of a proposal, in the precision of its rays."""
        cameras = cameras.to(proposal.origins.dtype)
        start = geometry.world_to_camera(proposal.origins, cameras)
        end = geometry.world_to_camera(proposal.origins + proposal.directions, cameras)
        root = geometry.covariance_roots(proposal.footprints, proposal.rotations)
        axes = cameras.extrinsics[:, :3, :3]
        x, y, z = (geometry.sum_terms(axes[:, None, :, k, None] * root, axis=-2) for k in range(3))

        def products(first: Tensor) -> Tensor:
            pairs = ((first, first), (first, z), (z, z))
            return torch.stack([geometry.sum_terms(a * b, axis=-1) for a, b in pairs])

        return Sightlines(
            start=torch.movedim(start, -1, 0),
            run=torch.movedim(end - start, -1, 0),
            across=products(x),
            down=products(y),
            cameras=cameras,
            # The widest that any opacity can have; with the falloff cutoff it is the only one.
            reach=float(settings.max_exponent(torch.ones(()))),
            low_pass=settings.low_pass,
            near_plane=settings.near_plane,
        )

    def at(self, index: Int[Tensor, " chosen"]) -> "Sightlines":
        """Those of chosen Gaussians."""
        fields = {k: getattr(self, k)[..., index] for k in ("start", "run", "across", "down")}
        return Sightlines(**{**vars(self), **fields})

    def boxes(
        self,
        first: Float[Tensor, "*chain gaussian"],
        last: Float[Tensor, "*chain gaussian"],
    ) -> Boxes:
        """Pixels that a Gaussian may touch, in every view, at any depth from first to last."""
        ends = [depth.to(self.start.dtype)[..., None, :] for depth in (first, last)]
        z = [self.start[2] + depth * self.run[2] for depth in ends]
        low = self.near_plane * (1.0 - _NEAR_SLACK)
        high = self.near_plane * (1.0 + _NEAR_SLACK)
        is_hidden = torch.maximum(*z) < low
        is_seen = torch.minimum(*z) > high
        z = [value.clamp_min(high) for value in z]
        ratio = torch.maximum(*(depth / value for depth, value in zip(ends, z, strict=True)))
        height, width = self.cameras.image_shape
        spans = [
            self._span(axis, extent, squares, ends, z, ratio)
            for axis, extent, squares in ((1, height, self.down), (0, width, self.across))
        ]
        (top, bottom), (left, right) = spans
        nothing = torch.full_like(bottom, -1)
        return Boxes(top, torch.where(is_hidden, nothing, bottom), left, right, is_hidden | is_seen)

    def _span(
        self,
        axis: int,
        extent: int,
        squares: Tensor,
        ends: list[Tensor],
        z: list[Tensor],
        ratio: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """First and last pixel along one axis of the picture."""
        focal = self.cameras.intrinsics[:, axis, axis, None]
        middle = self.cameras.intrinsics[:, axis, 2, None]
        slopes = [
            (self.start[axis] + depth * self.run[axis]) / value
            for depth, value in zip(ends, z, strict=True)
        ]
        centres = [focal * slope + middle for slope in slopes]
        margin = FRUSTUM_MARGIN * 0.5 * extent / focal
        lowest, highest = -middle / focal - margin, (extent - middle) / focal + margin
        variances = []
        for slope in slopes:
            s = torch.clamp(slope, min=lowest, max=highest)
            variances.append(squares[0] - 2.0 * s * squares[1] + s * s * squares[2])
        variance = (focal * ratio) ** 2 * torch.maximum(*variances).clamp_min(0.0) + self.low_pass
        reach = torch.sqrt(2.0 * self.reach * variance) + _SLACK
        first = torch.ceil(torch.minimum(*centres) - reach - 0.5).clamp(0, extent)
        last = torch.floor(torch.maximum(*centres) + reach - 0.5).clamp(-1, extent - 1)
        return first.long(), last.long()
