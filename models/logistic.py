"""The logistic coordinate of numbers in (0, 1), at the price of a few passes over the data.

With s(u) = 1 / (1 + exp(-u)). Only operations are used that torch computes the same wherever in an
array a number stands: its own sigmoid rounds the last few numbers of an array differently, so that
a chain's digits would depend on how many others run beside it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform


class Logistic(Transform):
    """u to s(u), without the clipping of torch's ``SigmoidTransform``."""

    domain = constraints.real
    codomain = constraints.unit_interval
    bijective = True
    sign = 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Logistic)

    def _call(self, x: Tensor) -> Tensor:
        return sigmoid(x)

    def _inverse(self, y: Tensor) -> Tensor:
        """Finite for 0 and 1 too."""
        limits = torch.finfo(y.dtype)
        return torch.logit(y.clamp(limits.tiny, 1.0 - limits.eps))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return log_density(x)


def sigmoid(u: Tensor) -> Tensor:
    """s(u)."""
    return _Sigmoid.apply(u)  # type: ignore[no-any-return,no-untyped-call]


def log_density(u: Tensor) -> Tensor:
    """log s(u) (1 - s(u)), of the logistic distribution, exact in both tails."""
    return _LogDensity.apply(u)  # type: ignore[no-any-return,no-untyped-call]


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        result = (-u).exp_().add_(1.0).reciprocal_()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return gradient * (result * (1.0 - result))


class _LogDensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        size = u.abs()
        return (-size).exp_().log1p_().mul_(-2.0).sub_(size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient * (-0.5 * u).tanh_()
