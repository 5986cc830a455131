"""Which slots hold a Gaussian: the prior of ``model.count=variable``.

Every ray of the proposal is a slot for one Gaussian at most. ``present`` says of each whether it
holds one; given their common probability, ``inclusion``, slots are independent:

    inclusion ~ Beta(a, b),    present_i | inclusion ~ Bernoulli(inclusion).

With ``inclusion`` summed out, the number k of Gaussians in S slots is beta-binomial, and all
choices of the k slots are equally likely:

    P(k) = C(S, k) B(a + k, b + S - k) / B(a, b).

a = b = 1 makes every count from 0 to S equally likely (the prior that corrects for multiplicity,
Scott & Berger 2010); large a and b make it Binomial(S, a / (a + b)). Given ``inclusion`` the prior
is a product over slots, which lets moves in different places be judged apart.
"""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform, identity_transform

from bayes_splat.models.priors import StretchedBeta


class ZeroOrOne(constraints.Constraint):
    """0 or 1, its own coordinate: no gradient moves it, only a block of its own."""

    is_discrete = True
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        return (value == 0.0) | (value == 1.0)


@biject_to.register(ZeroOrOne)  # type: ignore[untyped-decorator]
@transform_to.register(ZeroOrOne)  # type: ignore[untyped-decorator]
def _to_zero_or_one(constraint: ZeroOrOne) -> Transform:
    return identity_transform


class Presence(TorchDistribution):
    """1, as a float64, with probability ``inclusion``, else 0."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, inclusion: Tensor) -> None:
        self.inclusion = inclusion
        super().__init__(inclusion.shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """0 and 1."""
        return ZeroOrOne()

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Presence":
        """The same for a larger batch."""
        return Presence(self.inclusion.expand(batch_shape))

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Zeros and ones."""
        uniform = torch.rand(self._extended_shape(sample_shape), dtype=torch.float64)
        return (uniform < self.inclusion).double()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability."""
        present, missing = torch.log(self.inclusion), torch.log1p(-self.inclusion)
        return torch.where(value > 0.5, present, missing)


def inclusion_prior(concentration1: float, concentration0: float) -> StretchedBeta:
    """Beta(concentration1, concentration0)."""
    return StretchedBeta(concentration1, concentration0, 1.0)


def count_log_prob(
    num_slots: int, concentration1: float, concentration0: float
) -> Float[Tensor, " count"]:
    """Log prior probability of 0, 1, ... ``num_slots`` Gaussians, ``inclusion`` summed out."""
    a, b, count = concentration1, concentration0, torch.arange(num_slots + 1, dtype=torch.float64)
    rest, lgamma = num_slots - count, torch.lgamma
    choices = math.lgamma(num_slots + 1.0) - lgamma(count + 1.0) - lgamma(rest + 1.0)
    joint = lgamma(a + count) + lgamma(b + rest) - math.lgamma(a + b + num_slots)
    return choices + joint + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
