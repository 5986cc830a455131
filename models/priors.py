"""Prior distributions of the sites, with the coordinates in which chains move."""

from typing import Any, ClassVar

import torch
from pyro.distributions import AffineBeta, InverseGamma, TorchDistribution, TransformedDistribution
from torch import Size, Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import (
    ComposeTransform,
    PowerTransform,
    SigmoidTransform,
    Transform,
)

from bayes_splat import geometry
from bayes_splat.models.proposal import DepthProposal

MAX_OPACITY = 0.999
"""Opacities stay below the rasterisers' alpha clamp, which then never acts."""


class DepthRange(constraints.Constraint):
    """Depths in (near, far), with coordinates that are even in disparity.

    ``biject_to`` of this constraint maps the real line through a sigmoid to relative disparity and
    from there to depth, so that a step means the same parallax wherever a surface lies.
    """

    event_dim = 0

    def __init__(self, near: Tensor, far: Tensor) -> None:
        self.near, self.far = near, far
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.near) & (value <= self.far)


class RelativeDisparityToDepth(Transform):
    """(0, 1) to (near, far), linear in disparity, 0 to near."""

    domain = constraints.unit_interval
    bijective = True
    sign = 1

    def __init__(self, near: Tensor, far: Tensor) -> None:
        super().__init__()
        self.near, self.far = near, far

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        """Depths between near and far."""
        return DepthRange(self.near, self.far)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, RelativeDisparityToDepth)
            and torch.equal(self.near, other.near)
            and torch.equal(self.far, other.far)
        )

    def _call(self, x: Tensor) -> Tensor:
        return geometry.relative_disparity_to_depth(x, self.near, self.far)

    def _inverse(self, y: Tensor) -> Tensor:
        return geometry.depth_to_relative_disparity(y, self.near, self.far)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 2.0 * torch.log(y) + torch.log(1.0 / self.near - 1.0 / self.far)


@biject_to.register(DepthRange)  # type: ignore[untyped-decorator]
@transform_to.register(DepthRange)  # type: ignore[untyped-decorator]
def _to_depth_range(constraint: DepthRange) -> Transform:
    to_depth = RelativeDisparityToDepth(constraint.near, constraint.far)
    return ComposeTransform([SigmoidTransform(), to_depth])


class UniformDisparity(TorchDistribution):
    """Depth whose disparity 1/depth is uniform between 1/far and 1/near."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, near: Tensor, far: Tensor) -> None:
        self.near, self.far = torch.broadcast_tensors(near, far)
        super().__init__(self.near.shape, validate_args=False)

    @property
    def support(self) -> DepthRange:
        """(near, far)."""
        return DepthRange(self.near, self.far)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "UniformDisparity":
        """The same for a larger batch."""
        return UniformDisparity(self.near.expand(batch_shape), self.far.expand(batch_shape))

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Depths."""
        uniform = torch.rand(self._extended_shape(sample_shape), dtype=self.near.dtype)
        return geometry.relative_disparity_to_depth(uniform, self.near, self.far)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density over depth, -inf outside the range."""
        density = -2.0 * torch.log(value) - torch.log(1.0 / self.near - 1.0 / self.far)
        return torch.where(self.support.check(value), density, -torch.inf)


class ProposalDepth(TorchDistribution):
    """The proposal itself as prior (``prior=proposal``): the learned density over depth."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, proposal: DepthProposal, batch_shape: Size | None = None) -> None:
        self.proposal = proposal
        super().__init__(batch_shape or Size((len(proposal),)), validate_args=False)

    @property
    def support(self) -> DepthRange:
        """(near, far) of every ray."""
        return DepthRange(self.proposal.near, self.proposal.far)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ProposalDepth":
        """The same for a larger batch."""
        return ProposalDepth(self.proposal, Size(batch_shape))

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Depths."""
        shape = self._extended_shape(sample_shape)
        # Pyro draws from torch's global stream; one seed from it starts ours.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        rows = max(1, shape.numel() // max(len(self.proposal), 1))
        return self.proposal.sample([generator] * rows).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density over depth."""
        return self.proposal.log_prob(value)


def opacity_prior(concentration1: float, concentration0: float) -> TorchDistribution:
    """Beta(concentration1, concentration0) stretched to (0, MAX_OPACITY)."""
    return AffineBeta(
        torch.tensor(concentration1, dtype=torch.float64),
        torch.tensor(concentration0, dtype=torch.float64),
        torch.tensor(0.0, dtype=torch.float64),
        torch.tensor(MAX_OPACITY, dtype=torch.float64),
        validate_args=False,
    )


def noise_prior(concentration: float, rate: float) -> TorchDistribution:
    """Noise scale whose square is InverseGamma(concentration, rate): conjugate to Normal noise."""
    variance = InverseGamma(
        torch.tensor(concentration, dtype=torch.float64),
        torch.tensor(rate, dtype=torch.float64),
        validate_args=False,
    )
    square_root = PowerTransform(torch.tensor(0.5, dtype=torch.float64))
    scale: TorchDistribution = TransformedDistribution(variance, [square_root], validate_args=False)
    return scale
