"""Logistic coordinates of numbers in a range, at the price of a few passes over the data.

With s(u) = 1 / (1 + exp(-u)). Only operations are used that torch computes the same wherever in an
array a number stands: its own sigmoid rounds the last few numbers of an array differently, so that
a chain's digits would depend on how many others run beside it.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform


class StretchedLogistic(Transform):
    """u to high s(u)."""

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, high: float) -> None:
        super().__init__()
        self.high = high

    @property
    def codomain(self) -> constraints.Constraint:  # type: ignore[override]
        """(0, high)."""
        return constraints.interval(0.0, self.high)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StretchedLogistic) and self.high == other.high

    def _call(self, x: Tensor) -> Tensor:
        return _Stretched.apply(x, self.high)  # type: ignore[no-any-return,no-untyped-call]

    def _inverse(self, y: Tensor) -> Tensor:
        return logit(y / self.high)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return log_density(x) + math.log(self.high)


def reciprocal_line(u: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """1 / ((1 - s(u)) first + s(u) last), differentiable in u."""
    return _ReciprocalLine.apply(u, first, last)  # type: ignore[no-any-return,no-untyped-call]


def log_density(u: Tensor) -> Tensor:
    """log s(u) (1 - s(u)), of the logistic distribution, exact in both tails."""
    return _LogDensity.apply(u)  # type: ignore[no-any-return,no-untyped-call]


def sigmoid(u: Tensor) -> Tensor:
    """s(u), not differentiable."""
    return (-u.detach()).exp_().add_(1.0).reciprocal_()


def logit(share: Tensor) -> Tensor:
    """The inverse of s, finite for 0 and 1 too."""
    limits = torch.finfo(share.dtype)
    return torch.logit(share.clamp(limits.tiny, 1.0 - limits.eps))


class _Stretched(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, high: float) -> Tensor:
        result = sigmoid(u).mul_(high)
        ctx.save_for_backward(result)
        ctx.high = high
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        slope = (result * (-1.0 / ctx.high)).add_(1.0).mul_(result)
        return slope.mul_(gradient), None


class _ReciprocalLine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, first: Tensor, last: Tensor) -> Tensor:
        share, rise = sigmoid(u), last - first
        result = torch.addcmul(first, share, rise).reciprocal_()
        ctx.save_for_backward(share, rise, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        share, rise, result = ctx.saved_tensors
        slope = (share - 1.0).mul_(share).mul_(rise).mul_(result).mul_(result)
        return slope.mul_(gradient), None, None


class _LogDensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        size = u.abs()
        return (-size).exp_().log1p_().mul_(-2.0).sub_(size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        slope: Tensor = (-0.5 * u).tanh_().mul_(gradient)
        return slope
