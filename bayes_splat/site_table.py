"""The table ``summary.csv``: every site and the rendered target pixels, a few lines each."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from bayes_splat import diagnostics
from bayes_splat.diagnostics import PixelDiagnostics, Statistics, nan_extreme
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.files import atomic_path


class Row(NamedTuple):
    """One line of ``summary.csv``.

    Attributes:
        name: of the site, or ``target <quantity>`` for rendered pixels, with its index if any.
        over: "" for one quantity; min, median or max over several, column by column.
        num_quantities: how many the line speaks of.
        mean, std, low, high, mcse_mean, ess_bulk, ess_tail, rhat: see ``Statistics``.
        failing: share of the quantities that miss the thresholds of R-hat or bulk ESS.
    """

    name: str
    over: str
    num_quantities: int
    mean: float
    std: float
    low: float
    high: float
    mcse_mean: float
    ess_bulk: float
    ess_tail: float
    rhat: float
    failing: float


def site_table(
    sites: Mapping[str, Shaped[np.ndarray, "chain draw *axes"] | DrawArray],
    pixels: PixelDiagnostics | None = None,
    max_rows: int = 8,
    max_quantities: int = 4096,
) -> list[Row]:
    """The lines of ``summary.csv``: sites, then rendered target pixels.

    A site of at most ``max_rows`` numbers gets a line for each. A larger one (a number a Gaussian)
    gets three, the least, median and greatest of each column, over at most ``max_quantities`` of
    its numbers, evenly spaced.
    """
    rows: list[Row] = []
    for name, values in sites.items():
        draws = values if isinstance(values, DrawArray) else DrawArray(sites, name)
        size = draws.num_columns
        if size > max_rows:
            step = -(-size // max_quantities)
            rows += _spread(name, diagnostics.statistics_in_parts(draws, step))
            continue
        found = diagnostics.statistics_in_parts(draws)
        for i, index in enumerate(np.ndindex(draws.shape[2:])):
            label = f"{name}[{', '.join(map(str, index))}]" if index else name
            failing = float(not diagnostics.has_converged(found)[i])
            numbers = (float(column[i]) for column in found)
            rows.append(Row._make([label, "", 1, *numbers, failing]))
    if pixels is not None:
        for i, quantity in enumerate(pixels.quantities):
            moves = ~pixels.is_constant[:, i]
            columns = Statistics(*(column[moves, i] for column in pixels.statistics))
            rows += _spread(f"target {quantity}", columns)
    return rows


def write_table(path: Path | str, rows: Sequence[Row]) -> None:
    """Write the lines as comma-separated values, with a header.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)


def _spread(name: str, found: Statistics) -> list[Row]:
    size = len(found.mean)
    failing = float(1 - diagnostics.has_converged(found).mean()) if size else np.nan
    ways: dict[str, Callable[[Any], Any]] = {"min": np.min, "median": np.median, "max": np.max}
    return [
        Row._make([name, over, size, *(nan_extreme(way, column) for column in found), failing])
        for over, way in ways.items()
    ]
