"""Depths inside their buckets: the coordinates in which the bucket-ordered target is smooth.

With the buckets held, the depth order is held, and the picture is a smooth function of the
positions inside the buckets (design/posterior.md, section 4b). Gradient kernels move those; changes
of bucket are left to local moves without gradients.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models import logistic
from bayes_splat.models.blocks import Position, row

_EDGE = 1e-9
"""Offsets keep this far from 0 and 1: rounding must not carry a depth over a bucket's edge."""


class JointTarget(Protocol):
    """The part of a target that is needed here."""

    def potential_energy(self, position: Position) -> Float[Tensor, " chain"]: ...

    def potential_and_gradient(
        self, position: Position
    ) -> tuple[Float[Tensor, " chain"], Position]: ...


@runtime_checkable
class PerChain(Protocol):
    """A joint target that is another one for every chain."""

    def of_chain(self, chain: int) -> JointTarget: ...


@dataclass(frozen=True)
class BucketOffsets:
    """The ``depth`` site in coordinates y = logit(offset in the bucket), with the buckets held.

    The unconstrained depth is x = logit(r), r relative disparity, and r = (z + sigmoid(y)) / Z.

    Attributes:
        target: the joint density over unconstrained positions.
        num_buckets: Z.
    """

    target: JointTarget
    num_buckets: int

    def given(self, position: Position) -> "OffsetTarget":
        """The density of the offsets given the buckets and all other sites."""
        return OffsetTarget(self, position)

    def extract(self, position: Position) -> Position:
        """The offsets' coordinates."""
        scaled = logistic.sigmoid(position["depth"]) * self.num_buckets
        offset = (scaled - self.bucket(position)).clamp(_EDGE, 1.0 - _EDGE)
        return {"offset": torch.logit(offset)}

    def insert(self, block: Position, position: Position) -> Position:
        """The position with its depths moved inside their buckets."""
        return {**position, "depth": self.depth(block["offset"], self.bucket(position))}

    def depth(self, offset: Tensor, bucket: Tensor) -> Tensor:
        """The unconstrained depth x of an unconstrained offset y in a bucket."""
        inside = logistic.StretchedLogistic(1.0)(offset).clamp(_EDGE, 1.0 - _EDGE)
        return torch.logit((bucket + inside) / self.num_buckets)

    def bucket(self, position: Position) -> Tensor:
        """Bucket of every depth, as float64."""
        scaled = logistic.sigmoid(position["depth"]) * self.num_buckets
        return scaled.floor().clamp(0, self.num_buckets - 1)


@dataclass(frozen=True)
class OffsetTarget:
    """Potential energy of the offsets: the joint one with the Jacobian of x(y)."""

    coordinates: BucketOffsets
    position: Position

    def of_chain(self, chain: int) -> "OffsetTarget":
        """The target of one chain alone."""
        joint = self.coordinates.target
        alone = joint.of_chain(chain) if isinstance(joint, PerChain) else joint
        return OffsetTarget(
            BucketOffsets(alone, self.coordinates.num_buckets), row(self.position, chain)
        )

    @cached_property
    def _bucket(self) -> Tensor:
        return self.coordinates.bucket(self.position)

    def _insert(self, block: Position) -> Position:
        return {**self.position, "depth": self.coordinates.depth(block["offset"], self._bucket)}

    def potential_energy(self, block: Position) -> Float[Tensor, " chain"]:
        """Minus the log density of y up to a constant that depends on the buckets only."""
        moved = self._insert(block)
        log_slope, _ = self._log_slope(block["offset"], moved["depth"])
        return self.coordinates.target.potential_energy(moved) - log_slope.sum(-1)

    def potential_and_gradient(self, block: Position) -> tuple[Float[Tensor, " chain"], Position]:
        """The same with its gradient in y."""
        moved = self._insert(block)
        energy, gradient = self.coordinates.target.potential_and_gradient(moved)
        log_slope, log_slope_gradient = self._log_slope(block["offset"], moved["depth"])
        chained = gradient["depth"] * log_slope.exp() - log_slope_gradient
        return energy - log_slope.sum(-1), {"offset": chained}

    def _log_slope(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """log dx/dy and its derivative: dx/dy = f (1 - f) / (Z r (1 - r))."""
        log_slope = logistic.log_density(y) - logistic.log_density(x)
        log_slope = log_slope.sub_(math.log(self.coordinates.num_buckets))
        # 1 - 2 sigmoid(y) = -tanh(y / 2)
        gradient = (0.5 * x).tanh_().mul_(log_slope.exp()).sub_((0.5 * y).tanh_())
        return log_slope, gradient
