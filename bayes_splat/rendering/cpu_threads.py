"""Passes over work items, shared out among threads, with results that nobody's speed can change.

A pass is one call of a compiled kernel by every thread, in phases. In each phase a kernel takes the
number of the next item until none is left; a phase begins when all items of the one before are
done. Items write to places of their own, so only the time depends on the schedule. Nobody waits for
a thread, only for items: a helper that wakes up late finds less to do, or nothing.
"""

# mypy: disable-error-code="no-untyped-call, no-untyped-def"
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from bayes_splat.rendering.cpu_compile import inner, operation

LINE = 8  # a cache line of int64
_TAKEN, _DONE, _ALL = range(3)
_SPINS, _YIELDS = 100, 200
_NAP = 50  # microseconds


@operation
def _add_one(typingctx: Any, numbers: Any, index: Any) -> Any:
    """Add one to an element at once for all threads; returns what was there before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", builder.gep(data, [at]), one, "acq_rel")

    return types.int64(numbers, index), codegen


@operation
def _read(typingctx: Any, numbers: Any, index: Any) -> Any:
    """An element as it is now, with all that was written before it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        at = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.load_atomic(builder.gep(data, [at]), "acquire", 8)

    return types.int64(numbers, index), codegen


@operation
def _rest(typingctx: Any, microseconds: Any) -> Any:
    """Let other threads run, for that long at least."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = ir.IntType(32)
        value = context.cast(builder, args[0], sig.args[0], types.int32)
        if sys.platform == "win32":  # whole milliseconds; none gives up the rest of the turn
            kind, name, passed = ir.FunctionType(ir.VoidType(), [number]), "Sleep", value
        else:
            kind, name, passed = ir.FunctionType(number, [number]), "usleep", value
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [passed])
        return context.get_dummy_value()

    return types.void(microseconds), codegen


@operation
def _yield(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@inner
def num_items(progress, phase):
    return progress[LINE * phase + _ALL]


@inner
def take_item(progress, phase):
    """The next item of a phase, each given to one thread only; at ``num_items`` all are taken."""
    return _add_one(progress, LINE * phase + _TAKEN)


@inner
def finish_item(progress, phase):
    """Report an item; true for the one that was the last to be finished."""
    return _add_one(progress, LINE * phase + _DONE) == progress[LINE * phase + _ALL] - 1


@inner
def wait_for_items(progress, phase):
    """Until all items of a phase are finished: a moment busily, then ever more politely."""
    waits = 0
    while _read(progress, LINE * phase + _DONE) < progress[LINE * phase + _ALL]:
        waits += 1
        if waits > _SPINS + _YIELDS:
            _rest(_NAP)
        elif waits > _SPINS:
            _yield()


def run_pass(
    kernel: Callable[..., None], items: Sequence[int], num_threads: int, *arguments: Any
) -> None:
    """Call ``kernel(progress, thread, *arguments)`` in several threads.

    Args:
        kernel: releases the interpreter lock, never raises once it has taken an item, and ends by
            waiting for the items of its last phase.
        items: how many there are in every phase.
        num_threads: the calling thread is one of them; no more are used than there are items.
    """
    progress = np.zeros(LINE * len(items), dtype=np.int64)
    progress[_ALL::LINE] = items
    helpers = min(num_threads, max(items)) - 1
    if helpers > 0:
        pool = _pool(os.getpid(), helpers)
        for thread in range(helpers):
            pool.submit(kernel, progress, thread + 1, *arguments)
    kernel(progress, 0, *arguments)


def run_items(kernel: Callable[..., None], number: int, num_threads: int, *arguments: Any) -> None:
    """A pass of one phase, see :func:`run_pass`."""
    run_pass(kernel, (number,), num_threads, *arguments)


@cache
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    # A pool does not survive a fork, hence the process in the key.
    return ThreadPoolExecutor(size, thread_name_prefix="bayes_splat")
