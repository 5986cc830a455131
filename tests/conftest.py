"""The same examples and no windows in every run of the tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

import tests.shapes  # noqa: F401  (jaxtyping looks it up by name, see pyproject.toml)

os.environ["MPLBACKEND"] = "Agg"

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt even where the shell that started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
