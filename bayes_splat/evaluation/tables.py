"""Rows of an evaluation: written, read, averaged with intervals, and compared method by method."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bayes_splat.errors import OutputError
from bayes_splat.files import atomic_path

Row: TypeAlias = dict[str, Any]
"""One method on one view (or all views of a scene), by column."""

TEXT = ("scene", "split", "method", "scaling", "view", "unseen_by", "error")
"""Columns that hold words; all others hold numbers, NaN where unknown."""

_RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean over views, and where 95 % of its bootstrap replications lie."""

    mean: float
    low: float
    high: float
    size: int


class Duel(NamedTuple):
    """One method against another on one metric, where less is better.

    Attributes:
        method, other, metric: what is compared.
        difference: mean over the views of method minus other: negative is better.
        wins: share of the scenes where the method's mean over views is less.
        scenes: how many scenes both were judged on.
    """

    method: str
    other: str
    metric: str
    difference: Interval
    wins: float
    scenes: int


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows under the union of their columns, words first.

    Raises:
        OutputError: it cannot be written.
    """
    numbers = dict.fromkeys(key for row in rows for key in row if key not in TEXT)
    columns = [*[key for key in TEXT if any(key in row for row in rows)], *numbers]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(column, "")) for column in columns])


def read_csv(path: Path) -> list[Row]:
    """Rows of ``write_csv`` from an evaluation.

    Raises:
        OutputError: there is no such table, or it is not one of an evaluation.
    """
    found = read_plain(path)
    if found and not {"method", "scaling"} <= found[0].keys():
        raise OutputError(
            f"{path} is no table of bayes-splat evaluate: it has no method or scaling"
        )
    return found


def read_plain(path: Path) -> list[Row]:
    """Rows of ``write_csv``.

    Raises:
        OutputError: there is no such table, or its numbers are none.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found: list[Row] = [
                {key: value if key in TEXT else float(value or "nan") for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise OutputError(
            f"{path} cannot be read as a table of bayes-splat evaluate ({error}); give the "
            "out=<folder> of a finished evaluation"
        ) from error
    return found


def methods(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """(method, scaling) in the order in which they come, without those that only failed."""
    return list(
        dict.fromkeys((str(r["method"]), str(r["scaling"])) for r in rows if not r.get("error"))
    )


def values(rows: Iterable[Row], method: str, scaling: str, column: str) -> np.ndarray:
    """The numbers of a column, of one method; NaN left out."""
    found = np.array(
        [
            float(row.get(column, math.nan))
            for row in rows
            if row["method"] == method and row["scaling"] == scaling
        ]
    )
    return np.asarray(found[~np.isnan(found)])


def bootstrap(numbers: np.ndarray, seed: int = 0) -> Interval:
    """Mean, and the 2.5 and 97.5 % quantiles of the means of resamples with replacement.

    The percentile bootstrap (Efron 1979); views of one scene are resampled as if independent.
    """
    if not numbers.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    picked = np.random.default_rng(seed).integers(0, numbers.size, (_RESAMPLES, numbers.size))
    low, high = np.quantile(numbers[picked].mean(1), (0.025, 0.975))
    return Interval(float(numbers.mean()), float(low), float(high), numbers.size)


def aggregate(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """One row a method and scaling: mean over its views and the ends of the interval."""
    result: list[Row] = []
    for method, scaling in methods(rows):
        row: Row = {"method": method, "scaling": scaling}
        for column in columns:
            found = bootstrap(values(rows, method, scaling, column))
            row |= {column: found.mean, f"{column}_low": found.low, f"{column}_high": found.high}
        result.append(row)
    return result


def duel(rows: Sequence[Row], method: str, other: str, scaling: str, metric: str) -> Duel:
    """Compare two methods on the views that both were judged on."""
    ours, theirs = (_by_view(rows, name, scaling, metric) for name in (method, other))
    both = [key for key in ours if key in theirs]
    differences = np.array([ours[key] - theirs[key] for key in both])
    scenes: dict[tuple[str, str], list[float]] = {}
    for key, difference in zip(both, differences, strict=True):
        scenes.setdefault(key[:2], []).append(float(difference))
    wins = [float(np.mean(found) < 0) for found in scenes.values()]
    share = float(np.mean(wins)) if wins else math.nan
    return Duel(method, other, metric, bootstrap(differences), share, len(wins))


def over_scenes(
    rows: Sequence[Row],
    method: str,
    scaling: str,
    column: str,
    reduce: Callable[[np.ndarray], float] = lambda found: float(np.mean(found)),
) -> float:
    """A number of all scenes from rows of one scene each; NaN without any."""
    found = values(rows, method, scaling, column)
    return reduce(found) if found.size else math.nan


def _by_view(
    rows: Sequence[Row], method: str, scaling: str, metric: str
) -> dict[tuple[str, str, str], float]:
    found = {}
    for row in rows:
        if row["method"] == method and row["scaling"] == scaling:
            value = float(row.get(metric, math.nan))
            if not math.isnan(value):
                found[str(row["scene"]), str(row["split"]), str(row.get("view", ""))] = value
    return found


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.7g}"
