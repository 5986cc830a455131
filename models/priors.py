"""Prior distributions of the sites, with the coordinates in which chains move.

Some know their density in those coordinates, Jacobian included, as ``log_prob_unconstrained``: what
cancels on paper is then never computed, and samplers ask for nothing else.
"""

import math
from functools import cache
from typing import Any, ClassVar

import torch
from pyro.distributions import Beta, InverseGamma, TorchDistribution, TransformedDistribution
from torch import Size, Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import PowerTransform, Transform

from bayes_splat import geometry
from bayes_splat.models import logistic
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


class LogisticDepth(Transform):
    """The real line to (near, far): relative disparity s(u), from there to depth; 0 is near."""

    domain = constraints.real
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
            isinstance(other, LogisticDepth)
            and torch.equal(self.near, other.near)
            and torch.equal(self.far, other.far)
        )

    def _call(self, x: Tensor) -> Tensor:
        return logistic.reciprocal_line(x, 1.0 / self.near, 1.0 / self.far)

    def _inverse(self, y: Tensor) -> Tensor:
        relative = geometry.depth_to_relative_disparity(y, self.near, self.far)
        return logistic.logit(relative)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        slope = 2.0 * torch.log(y) + torch.log(1.0 / self.near - 1.0 / self.far)
        return logistic.log_density(x) + slope


@biject_to.register(DepthRange)  # type: ignore[untyped-decorator]
@transform_to.register(DepthRange)  # type: ignore[untyped-decorator]
def _to_depth_range(constraint: DepthRange) -> Transform:
    return LogisticDepth(constraint.near, constraint.far)


class OpacityRange(constraints.Constraint):
    """Opacities in (0, high), with a logistic coordinate."""

    event_dim = 0

    def __init__(self, high: float) -> None:
        self.high = high
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0.0) & (value <= self.high)


@biject_to.register(OpacityRange)  # type: ignore[untyped-decorator]
@transform_to.register(OpacityRange)  # type: ignore[untyped-decorator]
def _to_opacity_range(constraint: OpacityRange) -> Transform:
    return logistic.StretchedLogistic(constraint.high)


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

    def log_prob_unconstrained(self, coordinate: Tensor) -> Tensor:
        """Log density of ``biject_to(support).inv(depth)``: the logistic distribution."""
        return logistic.log_density(coordinate)


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


class StretchedBeta(TorchDistribution):
    """high x with x ~ Beta(concentration1, concentration0)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        concentration1: float,
        concentration0: float,
        high: float,
        batch_shape: Size = Size(),  # noqa: B008 - torch's signature
    ) -> None:
        self.concentration1, self.concentration0 = concentration1, concentration0
        self.high = high
        super().__init__(batch_shape, validate_args=False)

    @property
    def support(self) -> OpacityRange:
        """(0, high)."""
        return OpacityRange(self.high)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "StretchedBeta":
        """The same for a larger batch."""
        return StretchedBeta(self.concentration1, self.concentration0, self.high, Size(batch_shape))

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Values, float64, off both ends by a rounding at least."""
        one, zero = (
            torch.full(self.batch_shape, c, dtype=torch.float64)
            for c in (self.concentration1, self.concentration0)
        )
        share: Tensor = Beta(one, zero, validate_args=False).sample(sample_shape)
        tiny = torch.finfo(torch.float64).eps
        return self.high * share.clamp(tiny, 1.0 - tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density; -inf outside the range."""
        share = value / self.high
        density = (
            torch.special.xlogy(self.concentration1 - 1.0, share)
            + torch.special.xlog1py(self.concentration0 - 1.0, -share)
            + (self.log_normaliser - math.log(self.high))
        )
        return torch.where(self.support.check(value), density, -torch.inf)

    def log_prob_unconstrained(self, coordinate: Tensor) -> Tensor:
        """Log density of u = logit(value / high): a log s(u) + b log s(-u) - log B(a, b)."""
        a, b = self.concentration1, self.concentration0
        density = logistic.log_density(coordinate)
        if a != b or a + b != 2.0:
            density = 0.5 * (a + b) * density + 0.5 * (a - b) * coordinate
        return density + self.log_normaliser if self.log_normaliser else density

    @property
    def log_normaliser(self) -> float:
        """-log B(a, b)."""
        a, b = self.concentration1, self.concentration0
        return math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)


def opacity_prior(concentration1: float, concentration0: float) -> StretchedBeta:
    """Beta(concentration1, concentration0) stretched to (0, MAX_OPACITY)."""
    return StretchedBeta(concentration1, concentration0, MAX_OPACITY)


class NoiseScale(TransformedDistribution):  # type: ignore[misc]
    """The square root of a variance ~ InverseGamma(concentration, rate), made by ``noise_prior``.

    Its coordinate is v = log(scale).
    """

    def log_prob_unconstrained(self, coordinate: Tensor) -> Tensor:
        """Log density of v: log 2 + c log r - log Gamma(c) - 2 c v - r exp(-2 v)."""
        concentration, rate = self.base_dist.concentration, self.base_dist.rate
        constant = math.log(2.0) + concentration * rate.log() - torch.lgamma(concentration)
        doubled = -2.0 * coordinate
        density: Tensor = constant + concentration * doubled - rate * doubled.exp()
        return density


@cache
def noise_prior(concentration: float, rate: float) -> NoiseScale:
    """Noise scale whose square is InverseGamma(concentration, rate): conjugate to Normal noise."""
    variance = InverseGamma(
        torch.tensor(concentration, dtype=torch.float64),
        torch.tensor(rate, dtype=torch.float64),
        validate_args=False,
    )
    square_root = PowerTransform(torch.tensor(0.5, dtype=torch.float64))
    return NoiseScale(variance, [square_root], validate_args=False)
