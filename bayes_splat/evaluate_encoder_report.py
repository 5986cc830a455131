"""Rows, tables and figures of ``bayes-splat evaluate-encoder``."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bayes_splat.depth_metrics import LEVELS
from bayes_splat.files import atomic_path, output_error

TABLE = "evaluate_encoder.csv"
UNKNOWN = float("nan")
_NO_LEVELS = (UNKNOWN,) * len(LEVELS)
_TITLES = (
    "source",
    "proposal",
    "examples",
    "PSNR, dB",
    "SSIM",
    "LPIPS",
    "abs-rel",
    "delta<1.25",
    "NLL, nats",
    "inside 90 % (calibrated)",
    "encode, s",
    "render, s",
    "peak, MB",
)
_MOST_ERRORS = 10  # that are shown; all are in the table


class Row(NamedTuple):
    """One proposal on one example; NaN for what is not known.

    Attributes:
        source, example: where the views come from.
        proposal: its name, or ``nearest_view`` for the copied photograph.
        targets: how many views were held out.
        psnr, ssim, lpips: means over target views.
        abs_rel, delta, nll, impossible, known: see ``proposal_scores.DepthScores``.
        inside, mass: see ``depth_metrics.Reliability``, a number a level.
        encode_seconds: from photographs to the proposal, weights read anew.
        render_seconds: a picture.
        peak_memory: MB of main memory, the whole process, while it proposed and rendered.
        error: what went wrong; else empty.
    """

    source: str
    example: str
    proposal: str
    targets: int = 0
    psnr: float = UNKNOWN
    ssim: float = UNKNOWN
    lpips: float = UNKNOWN
    abs_rel: float = UNKNOWN
    delta: float = UNKNOWN
    nll: float = UNKNOWN
    impossible: float = UNKNOWN
    known: float = UNKNOWN
    inside: tuple[float, ...] = _NO_LEVELS
    mass: tuple[float, ...] = _NO_LEVELS
    encode_seconds: float = UNKNOWN
    render_seconds: float = UNKNOWN
    peak_memory: float = UNKNOWN
    error: str = ""


def cells(row: Row) -> dict[str, object]:
    """The row as columns of the table: levels apart, in percent, as ``inside_90``."""
    flat: dict[str, object] = {}
    for name, value in row._asdict().items():
        if isinstance(value, tuple):
            flat |= {f"{name}_{round(100 * p)}": x for p, x in zip(LEVELS, value, strict=True)}
        else:
            flat[name] = value
    return flat


@contextmanager
def open_table(path: Path) -> Iterator[Callable[[Row], None]]:
    """Write rows as they come, each at once, so that whatever stops the program keeps them.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise output_error(path, error) from error
    with stream:
        table = csv.DictWriter(stream, list(cells(Row("", "", ""))))

        def add(row: Row) -> None:
            try:
                table.writerow(cells(row))
                stream.flush()
            except OSError as error:
                raise output_error(path, error) from error

        try:
            table.writeheader()
            stream.flush()
        except OSError as error:
            raise output_error(path, error) from error
        yield add


def mean_row(rows: Sequence[Row]) -> Row:
    """Means over the examples that a number is known for, medians of seconds, most of memory."""
    good = [row for row in rows if not row.error]
    first = rows[0]._replace(example=f"{len(good)} of {len(rows)}", error="")
    means: dict[str, Any] = {
        name: _over(np.mean, [getattr(row, name) for row in good])
        for name in ("psnr", "ssim", "lpips", "abs_rel", "delta", "nll", "impossible", "known")
    }
    levels: dict[str, Any] = {
        name: tuple(
            _over(np.mean, [getattr(row, name)[i] for row in good]) for i in range(len(LEVELS))
        )
        for name in ("inside", "mass")
    }
    return first._replace(
        **means,
        **levels,
        targets=sum(row.targets for row in good),
        encode_seconds=_over(np.median, [row.encode_seconds for row in good]),
        render_seconds=_over(np.median, [row.render_seconds for row in good]),
        peak_memory=_over(np.max, [row.peak_memory for row in good]),
    )


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by source and proposal, in the order in which these first appear."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.source, row.proposal), []).append(row)
    return groups


def markdown(rows: Sequence[Row]) -> str:
    """A line a source and proposal."""
    at = LEVELS.index(0.9)
    lines = [f"| {' | '.join(_TITLES)} |", "|---" * len(_TITLES) + "|"]
    for found in map(mean_row, grouped(rows).values()):
        inside, mass = found.inside[at], found.mass[at]
        calibrated = f"{_told(inside, 3)} ({_told(mass, 3)})"
        line = (
            found.source,
            found.proposal,
            found.example,
            _told(found.psnr, 2),
            _told(found.ssim, 3),
            _told(found.lpips, 3),
            _told(found.abs_rel, 4),
            _told(found.delta, 3),
            _told(found.nll, 3),
            "-" if np.isnan(inside) else calibrated,
            _told(found.encode_seconds, 2),
            _told(found.render_seconds, 3),
            _told(found.peak_memory, 0),
        )
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def comparisons(rows: Sequence[Row]) -> list[str]:
    """Sentences: every proposal against the plane sweep and the copied view, example by example."""
    groups = grouped(rows)
    sentences = []
    for (source, name), own in groups.items():
        for other in ("plane_sweep", "nearest_view"):
            if other == name or name == "nearest_view" or (source, other) not in groups:
                continue
            theirs = {row.example: row for row in groups[source, other]}
            pairs = [(row, theirs[row.example]) for row in own if row.example in theirs]
            parts = _compared([(a, b) for a, b in pairs if not a.error and not b.error])
            if parts:
                sentences.append(f"{source}: {name} against {other}: {'; '.join(parts)}.")
    return sentences


def _compared(pairs: Sequence[tuple[Row, Row]]) -> list[str]:
    parts = []
    psnr, abs_rel, nll = (
        np.array([[getattr(row, name) for row in pair] for pair in pairs]).reshape(-1, 2)
        for name in ("psnr", "abs_rel", "nll")
    )
    psnr, abs_rel, nll = (both[~np.isnan(both).any(-1)] for both in (psnr, abs_rel, nll))
    if len(psnr):
        wins = int((psnr[:, 0] > psnr[:, 1]).sum())
        gain = float(np.mean(psnr[:, 0] - psnr[:, 1]))
        parts.append(
            f"PSNR higher in {wins} of {len(psnr)} ({wins / len(psnr):.0%}), by {gain:+.2f} dB"
        )
    if len(abs_rel):
        ratio = float(abs_rel[:, 0].mean() / abs_rel[:, 1].mean())
        parts.append(f"mean abs-rel {ratio - 1:+.0%}")
    if len(nll):
        parts.append(f"NLL {float(np.mean(nll[:, 0] - nll[:, 1])):+.3f} nats")
    return parts


def impossibilities(rows: Sequence[Row]) -> list[str]:
    """Sentences: what NLL leaves out."""
    means = [mean_row(group) for group in grouped(rows).values()]
    return [
        f"{row.source}: {row.proposal} holds {row.impossible:.3%} of the true depths for "
        "impossible (density zero); NLL is that of the others."
        for row in means
        if row.impossible > 0
    ]


def summary(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Table, comparisons, notes and the first errors, as Markdown."""
    said = [*comparisons(rows), *impossibilities(rows), *notes]
    parts = [markdown(rows), *([""] if said else []), *said]
    failed = [row for row in rows if row.error]
    if failed:
        parts += ["", f"{len(failed)} rows failed; each is in {TABLE} with its reason."]
        reasons: dict[str, list[Row]] = {}
        for row in failed:
            reasons.setdefault(row.error, []).append(row)
        for reason, same in list(reasons.items())[:_MOST_ERRORS]:
            first = f"{same[0].source} {same[0].example}, {same[0].proposal}"
            more = f" and {len(same) - 1} more" if len(same) > 1 else ""
            parts.append(f"- {first}{more}: {reason}")
    return "\n".join(parts)


def write_summary(out: Path, text: str) -> None:
    """``summary.md``. Raises OutputError if it cannot be written."""
    with atomic_path(out / "summary.md") as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _over(combine: Callable[[np.ndarray], np.floating], values: Sequence[float]) -> float:
    known = np.array([value for value in values if not np.isnan(value)])
    return float(combine(known)) if known.size else UNKNOWN


def _told(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"
