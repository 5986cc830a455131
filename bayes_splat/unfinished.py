"""Draws of runs that were stopped before their results were written: never lost without a word."""

from contextlib import suppress
from pathlib import Path

from bayes_splat.errors import OutputError
from bayes_splat.samplers.sampling import Draws, stored_draws

DRAWS = "draws"
"""Folder below that of the results into which draws go as they come; gone when all is written."""

EXTREME = "options or photographs with extreme numbers do that; take less extreme ones"
"""What to do about a step that raised."""


def unfinished_draws(out: Path) -> Draws:
    """What a run has left in its folder.

    Raises:
        OutputError: nothing.
    """
    try:
        return stored_draws(out / DRAWS)
    except ValueError as error:
        raise OutputError(
            f"{out} holds no unfinished draws: give the out=<folder> of a run that was killed "
            f"while it sampled, in which a folder {DRAWS} is left."
        ) from error


def refuse_to_overwrite(out: Path) -> None:
    """For runs that are about to begin in a folder.

    Raises:
        OutputError: draws are left there.
    """
    left = num_unfinished(out)
    if left:
        raise OutputError(
            f"{out} holds {left} draws of a run that was stopped before its results were written: "
            f"bayes-splat finish {out} writes them; delete {out / DRAWS} or choose another "
            "out=<folder> to begin anew"
        )


def remedy(out: Path) -> str:
    """What can be done where a step of the sampler raised."""
    left = num_unfinished(out)
    if left:
        return f"bayes-splat finish {out} writes the results of the {left} draws until then"
    return EXTREME


def num_unfinished(out: Path) -> int:
    """How many draws are left in a folder."""
    with suppress(ValueError, OSError):
        return stored_draws(out / DRAWS).num_draws
    return 0
