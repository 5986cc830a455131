"""The same examples and no windows in every run of the tests."""

import os

from hypothesis import settings

import tests.shapes  # noqa: F401  (jaxtyping looks it up by name, see pyproject.toml)

os.environ["MPLBACKEND"] = "Agg"

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")
