"""Work items shared out among threads, with results that do not depend on who did what.

A kernel takes the number of the next item from a counter until none is left. Items write to places
of their own, so only the time depends on the schedule.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from bayes_splat.rendering.cpu_compile import operation


@operation
def take_number(typingctx: Any, counter: Any) -> Any:
    """The next number of an int64 counter of one element, each given to one thread only."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


def run_items(
    kernel: Callable[..., None], num_items: int, num_threads: int, *arguments: Any
) -> None:
    """Call ``kernel(counter, num_items, thread, *arguments)`` in every thread until all is done.

    Args:
        kernel: releases the interpreter lock and takes items by :func:`take_number`.
        num_items: how many there are; no more threads than that are used.
        num_threads: the calling thread is one of them.
    """
    counter = np.zeros(1, dtype=np.int64)
    helpers = min(num_threads, num_items) - 1
    if helpers <= 0:
        kernel(counter, num_items, 0, *arguments)
        return
    pool = _pool(os.getpid(), helpers)
    others = [
        pool.submit(kernel, counter, num_items, thread + 1, *arguments) for thread in range(helpers)
    ]
    try:
        kernel(counter, num_items, 0, *arguments)
    finally:
        for other in others:
            other.result()


@cache
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    # A pool does not survive a fork, hence the process in the key.
    return ThreadPoolExecutor(size, thread_name_prefix="bayes_splat")
