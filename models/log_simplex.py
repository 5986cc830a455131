"""Probabilities kept as logarithms: Dirichlet distributions whose sparse draws never underflow.

A Dirichlet row with a small concentration has entries like exp(-1000), which are zero as numbers
and an infinite density. Here the value of a site is the logarithm of the row, and its unconstrained
coordinates break a stick in log space, so that nothing is lost either way.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import biject_to, constraints, transform_to
from torch.distributions.transforms import Transform

LEAST = 1e-100
"""Concentrations are at least this: logarithms of what is drawn stay finite."""


class LogSimplex(constraints.Constraint):
    """Logarithms of numbers that sum to one along the last axis."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return value.logsumexp(-1).abs() < 1e-6


log_simplex = LogSimplex()


class LogStickBreaking(Transform):
    """x [K-1] to log p [K]: p_j = z_j prod_{i<j} (1 - z_i), logit z_j = x_j - log(K - 1 - j).

    x = 0 gives even probabilities, as torch's ``StickBreakingTransform`` does. The determinant is
    that of the map to the first K-1 logarithms, which is log p_{K-1}.
    """

    domain = constraints.real_vector
    codomain = log_simplex
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogStickBreaking)

    def _call(self, x: Tensor) -> Tensor:
        logit = x - _offset(x)
        left = torch.nn.functional.pad(-_softplus(logit).cumsum(-1), (1, 0))
        return left + torch.nn.functional.pad(-_softplus(-logit), (0, 1))

    def _inverse(self, y: Tensor) -> Tensor:
        rest = y[..., 1:].flip(-1).logcumsumexp(-1).flip(-1)
        logit = y[..., :-1] - rest
        return logit + _offset(logit)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return y[..., -1]

    def forward_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] - 1)


@biject_to.register(LogSimplex)  # type: ignore[untyped-decorator]
@transform_to.register(LogSimplex)  # type: ignore[untyped-decorator]
def _to_log_simplex(constraint: LogSimplex) -> Transform:
    return LogStickBreaking()


class LogDirichlet(TorchDistribution):
    """log p with p ~ Dirichlet(concentration), as a density over the first K-1 logarithms.

    log f(l) = sum_j a_j l_j - l_{K-1} - log B(a); with ``LogStickBreaking``'s determinant the
    coordinates' density is sum_j a_j l_j - log B(a), finite wherever they are.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, concentration: Float[Tensor, "*batch outcome"]) -> None:
        self.concentration = concentration.clamp_min(LEAST)
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=False)

    @property
    def support(self) -> LogSimplex:
        """Logarithms of probabilities."""
        return log_simplex

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LogDirichlet":
        """The same for a larger batch."""
        return LogDirichlet(self.concentration.expand(*batch_shape, *self.event_shape))

    def sample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Logarithms of probabilities, float64."""
        concentration = self.concentration.expand(self._extended_shape(sample_shape))
        # Pyro draws from torch's global stream; one seed from it starts ours.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        return log_dirichlet(concentration, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density over the first K-1 logarithms."""
        a = self.concentration
        normaliser = torch.lgamma(a).sum(-1) - torch.lgamma(a.sum(-1))
        return (a * value).sum(-1) - value[..., -1] - normaliser


def log_dirichlet(
    concentration: Float[Tensor, "*batch outcome"], generator: torch.Generator
) -> Float[Tensor, "*batch outcome"]:
    """The logarithm of one Dirichlet draw a row, float64.

    A Gamma(a) number is Gamma(a + 1) times U^(1/a) (Marsaglia & Tsang 2000, section 6), whose
    logarithm is finite however small a is.
    """
    a = concentration.double().clamp_min(LEAST).contiguous()
    gamma = torch._standard_gamma(a + 1.0, generator)
    uniform = torch.rand(a.shape, generator=generator, dtype=torch.float64)
    log_gamma = gamma.log() + torch.log1p(-uniform) / a
    return log_gamma - log_gamma.logsumexp(-1, keepdim=True)


def _offset(like: Tensor) -> Tensor:
    return torch.arange(like.shape[-1], 0, -1, dtype=like.dtype, device=like.device).log()


def _softplus(u: Tensor) -> Tensor:
    """log(1 + exp(u)), exact in both tails and with the slope 1/2 at zero."""
    size = u.abs()
    return 0.5 * (u + size) + torch.log1p(torch.exp(-size))
