"""What a planted fault is, and all of them."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A fault to plant, and who should notice.

    Attributes:
        name: what is wrong, in words.
        file: in the repository.
        old: text that occurs there exactly once.
        new: what takes its place.
        tests: arguments of pytest; at least one of these tests must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def all_mutants() -> list[Mutant]:
    """Of all rooms. A new room adds its table here."""
    from tests.mutants import counts, models, new_views, rendering, samplers, sweeps

    rooms = (samplers, models, counts, rendering, sweeps, new_views)
    return [mutant for room in rooms for mutant in room.MUTANTS]
