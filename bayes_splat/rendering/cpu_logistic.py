"""Numbers in logistic coordinates, with the log density of the coordinates, in one pass; compiled.

The same maps and densities as ``models.logistic``, with s(u) = 1 / (1 + exp(-u)). One exponential
a number serves the value, its slope and the density: with e = exp(-|u|),

    s(|u|) = 1 / (1 + e),    log s(u) (1 - s(u)) = -|u| - 2 log(1 + e),

and the logarithms of a column of numbers are the logarithm of their product.
"""

# mypy: disable-error-code="no-untyped-call"
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba.core import cgutils, types
from torch import Tensor

from bayes_splat.rendering.cpu_compile import inner, kernel, operation
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_items,
    take_item,
    wait_for_items,
)

_BLOCK = 4096
"""Numbers of one work item."""

_COLUMNS = 16
"""Sums run side by side; a column holds ``_BLOCK / _COLUMNS`` factors up to 2, far from overflow"""

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # the high part has few digits
_ROUNDER = 6755399441055744.0  # 1.5 * 2^52: what is added to it is rounded to a whole number
_LEAST = -708.0  # below, exp is no normal number


class Placed(NamedTuple):
    """Numbers made of their coordinates.

    Attributes:
        values: of the numbers.
        log_density: of the coordinates, summed over those of a chain, float64.
    """

    values: Float[Tensor, "chain size"]
    log_density: Float[Tensor, " chain"]


def reciprocal_line(
    u: Float[Tensor, "chain size"], first: Float[Tensor, " size"], last: Float[Tensor, " size"]
) -> Placed:
    """1 / ((1 - s(u)) first + s(u) last), and sum log s(u) (1 - s(u)); float64.

    Differentiable in u, once. A number that is not finite makes its chain's density so.
    """
    ends = first.contiguous(), last.contiguous()
    values, log_density = _Logistic.apply(u, ends, 1.0, 0.0, torch.float64)
    return Placed(values, log_density)


def stretched(
    u: Float[Tensor, "chain size"], high: float, weight: float, tilt: float, dtype: torch.dtype
) -> Placed:
    """high s(u), and sum weight log s(u) (1 - s(u)) + tilt u.

    Differentiable in u, once, as :func:`reciprocal_line`.

    Args:
        u: float64.
        high: upper end of the range.
        weight, tilt: (a + b)/2 and (a - b)/2 make it the Beta(a, b) density of s(u), unnormalised.
        dtype: of the values, float32 or float64.
    """
    return Placed(*_Logistic.apply(u, high, weight, tilt, dtype))


@operation
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double = ir.DoubleType()
        wide = [
            context.cast(builder, v, k, types.float64) for k, v in zip(sig.args, args, strict=True)
        ]
        kind = ir.FunctionType(double, [double] * 3)
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f64"), wide
        )

    return types.float64(a, b, c), codegen


@operation
def _times_power_of_two(typingctx: Any, value: Any, rounded: Any) -> Any:
    """value 2^k of a normal value, with k what ``rounded`` holds over ``_ROUNDER``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = ir.IntType(64)
        value, power = (builder.bitcast(arg, bits) for arg in args)
        shifted = builder.shl(power, ir.Constant(bits, 52))
        return builder.bitcast(builder.add(value, shifted), ir.DoubleType())

    return types.float64(value, rounded), codegen


@inner
def exponential(x):  # type: ignore[no-untyped-def]
    """exp(x) of x in [-708, 0], to about the last bit; NaN stays."""
    rounded = x * _LOG2_E + _ROUNDER
    whole = rounded - _ROUNDER
    rest = _fma(-_LN2_LOW, whole, _fma(-_LN2_HIGH, whole, x))
    # Taylor's series; |rest| <= log(2)/2, where the term after the last is below 1e-17.
    result = _fma(rest, 1.0 / 6227020800.0, 1.0 / 479001600.0)
    result = _fma(result, rest, 1.0 / 39916800.0)
    result = _fma(result, rest, 1.0 / 3628800.0)
    result = _fma(result, rest, 1.0 / 362880.0)
    result = _fma(result, rest, 1.0 / 40320.0)
    result = _fma(result, rest, 1.0 / 5040.0)
    result = _fma(result, rest, 1.0 / 720.0)
    result = _fma(result, rest, 1.0 / 120.0)
    result = _fma(result, rest, 1.0 / 24.0)
    result = _fma(result, rest, 1.0 / 6.0)
    result = _fma(result, rest, 0.5)
    result = _fma(result, rest, 1.0)
    result = _fma(result, rest, 1.0)
    return _times_power_of_two(result, rounded)


@inner
def _shares(u, share, weight, tilt):  # type: ignore[no-untyped-def]
    """Write s(u) of a block and return its log density."""
    terms, factors = np.zeros(_COLUMNS), np.ones(_COLUMNS)
    grown = np.empty(len(u))
    for i in range(len(u)):
        below = -abs(u[i])
        if below < _LEAST:  # not for NaN
            below = _LEAST
        small = exponential(below)
        grown[i] = 1.0 + small
        part = 1.0 / grown[i]
        share[i] = small * part if u[i] < 0.0 else part
    for row in range(len(u) // _COLUMNS):
        of_row = slice(row * _COLUMNS, (row + 1) * _COLUMNS)
        _gather(u[of_row], grown[of_row], weight, tilt, terms, factors)
    rest = slice(len(u) // _COLUMNS * _COLUMNS, len(u))
    _gather(u[rest], grown[rest], weight, tilt, terms, factors)
    total = 0.0
    for column in range(_COLUMNS):
        total += terms[column] - 2.0 * weight * np.log(factors[column])
    return total


@inner
def _gather(u, grown, weight, tilt, terms, factors):  # type: ignore[no-untyped-def]
    for column in range(len(u)):
        terms[column] += tilt * u[column] - weight * abs(u[column])
        factors[column] *= grown[column]


@kernel
def stretched_rows(progress, thread, u, high, weight, tilt, share, values, sums):  # type: ignore[no-untyped-def]
    """Fill ``share`` and ``values`` [chain size], ``sums`` [chain block]; an item is a block."""
    blocks = sums.shape[1]
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, block = item // blocks, item % blocks
        here = slice(block * _BLOCK, (block + 1) * _BLOCK)
        shares, numbers = share[chain, here], values[chain, here]
        sums[chain, block] = _shares(u[chain, here], shares, weight, tilt)
        for i in range(len(shares)):
            numbers[i] = high * shares[i]
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def reciprocal_rows(  # type: ignore[no-untyped-def]
    progress, thread, u, start, end, weight, tilt, share, values, sums
):
    """The same, with ``values`` 1 / (start + share (end - start))."""
    blocks = sums.shape[1]
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, block = item // blocks, item % blocks
        here = slice(block * _BLOCK, (block + 1) * _BLOCK)
        shares, numbers = share[chain, here], values[chain, here]
        from_, to = start[here], end[here]
        sums[chain, block] = _shares(u[chain, here], shares, weight, tilt)
        for i in range(len(shares)):
            numbers[i] = 1.0 / (from_[i] + shares[i] * (to[i] - from_[i]))
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def stretched_rows_backward(  # type: ignore[no-untyped-def]
    progress, thread, share, high, of_values, weights, tilts, of_u
):
    """Fill ``of_u``; ``weights`` and ``tilts`` [chain] are those times the density's gradient."""
    blocks = -(-share.shape[1] // _BLOCK)
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, first = item // blocks, item % blocks * _BLOCK
        here = slice(first, first + _BLOCK)
        weight, tilt = weights[chain], tilts[chain]
        shares, incoming, result = share[chain, here], of_values[chain, here], of_u[chain, here]
        for i in range(len(shares)):
            s = shares[i]
            slope = high * (s * (1.0 - s))
            result[i] = incoming[i] * slope + (weight * (1.0 - 2.0 * s) + tilt)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


@kernel
def reciprocal_rows_backward(  # type: ignore[no-untyped-def]
    progress, thread, share, start, end, values, of_values, weights, tilts, of_u
):
    """The same for ``reciprocal_rows``."""
    blocks = -(-share.shape[1] // _BLOCK)
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        chain, first = item // blocks, item % blocks * _BLOCK
        here = slice(first, first + _BLOCK)
        weight, tilt = weights[chain], tilts[chain]
        shares, incoming, result = share[chain, here], of_values[chain, here], of_u[chain, here]
        from_, to, numbers = start[here], end[here], values[chain, here]
        for i in range(len(shares)):
            s, value = shares[i], numbers[i]
            slope = s * (s - 1.0) * (to[i] - from_[i]) * value * value
            result[i] = incoming[i] * slope + (weight * (1.0 - 2.0 * s) + tilt)
        finish_item(progress, 0)
    wait_for_items(progress, 0)


class _Logistic(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        shape: float | tuple[Tensor, Tensor],
        weight: float,
        tilt: float,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        array = u.detach().contiguous().numpy()
        share, values = np.empty_like(array), torch.empty(u.shape, dtype=dtype)
        sums = torch.empty((len(u), -(-u.shape[1] // _BLOCK)), dtype=torch.float64)
        function, numbers = _kernel(shape, stretched_rows, reciprocal_rows)
        results = share, values.numpy(), sums.numpy()
        _run(function, sums.numel(), array, *numbers, weight, tilt, *results)
        ctx.shape, ctx.weight, ctx.tilt, ctx.share = shape, weight, tilt, share
        ctx.save_for_backward(values)
        return values, sums.sum(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_values: Tensor, of_density: Tensor) -> tuple[Tensor | None, ...]:
        (values,) = ctx.saved_tensors
        function, numbers = _kernel(ctx.shape, stretched_rows_backward, reciprocal_rows_backward)
        if not isinstance(ctx.shape, float):
            numbers = *numbers, values.numpy()
        result = torch.empty(values.shape, dtype=torch.float64)
        factors = (w * of_density for w in (ctx.weight, ctx.tilt))
        incoming = (t.contiguous().numpy() for t in (of_values, *factors))
        blocks = len(values) * -(-values.shape[1] // _BLOCK)
        _run(function, blocks, ctx.share, *numbers, *incoming, result.numpy())
        return result, None, None, None, None


def _kernel(shape: Any, of_stretched: Any, of_reciprocal: Any) -> tuple[Any, tuple[Any, ...]]:
    """The one for this shape, and the numbers that it takes."""
    if isinstance(shape, float):
        return of_stretched, (shape,)
    return of_reciprocal, tuple(t.numpy() for t in shape)


def _run(function: Any, items: int, *arguments: Any) -> None:
    run_items(function, items, torch.get_num_threads(), *arguments)
