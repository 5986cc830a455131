"""The run-time check of tensor shapes that every function of the package gets while tests run.

``pyproject.toml`` names ``checked`` to jaxtyping's pytest plugin. The rest is left to mypy.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

_CONF = BeartypeConf(is_pep484_tower=True)  # an int will do where a float is meant


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """``beartype`` on the annotations that mention a shape, if there are any."""
    hints = function.__annotations__
    hints.update({name: object for name, hint in hints.items() if not _has_shape(hint)})
    return beartype(conf=_CONF)(function) if set(hints.values()) != {object} else function


def _has_shape(hint: Any) -> bool:
    if inspect.isclass(hint) and not get_args(hint):
        return issubclass(hint, AbstractArray)
    return any(_has_shape(part) for part in get_args(hint))
