"""How kernels are compiled: without the interpreter lock, kept on disk where that is possible.

numba keeps compiled code beside the source, or in the user's cache folder where the source is
read-only, or in ``NUMBA_CACHE_DIR``; it replaces files in one step, so that processes may start
together. Two things are added here: a machine without any writable folder compiles in memory, and
a kernel is compiled again when *any* module that may be inlined into it has changed (numba itself
looks only at the kernel's own file).
"""

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.extending import intrinsic

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls."""
    plain = inspect.unwrap(function)  # without the shape checks that tests wrap around functions
    try:
        compiled = numba.njit(cache=True, **_OPTIONS)(plain)
        _stamp(compiled)
    except (RuntimeError, AttributeError):  # no folder to keep it in, or see _stamp
        compiled = numba.njit(**_OPTIONS)(plain)
    return compiled


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call; it is kept as part of them."""
    return numba.njit(**_OPTIONS)(inspect.unwrap(function))


def leaf(function: Callable[..., Any]) -> Any:
    """Like :func:`inner`, for what neither makes nor returns arrays: references are not counted.

    Where loops call functions with several ways out, numba fails to see that counting up and down
    cancel, and the atomic additions cost more than a short loop does.
    """
    options = {**_OPTIONS, "_nrt": False}  # no public name; its types do not know it
    return numba.njit(**options)(inspect.unwrap(function))


def compiled_phase(function: Callable[..., Any]) -> Any:
    """Like :func:`inner`, without what Python would need to call it: quicker to compile."""
    options = {**_OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options)(inspect.unwrap(function))


def operation(emit: Callable[..., Any]) -> Any:
    """Make an operation of what writes its instructions; see numba's ``intrinsic``."""
    return intrinsic(inspect.unwrap(emit))


@cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("cpu*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamp(compiled: Any) -> None:
    # Not a public attribute; without it kept code might be stale after an edit of another module.
    file = compiled._cache._cache_file
    file._source_stamp = (*file._source_stamp, _fingerprint())
