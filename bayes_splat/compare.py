"""``bayes-splat compare``: samplers on one scene and one budget, or runs of different days."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bayes_splat import compare_report
from bayes_splat.compare_config import CompareConfig, PlannedRun
from bayes_splat.errors import BayesSplatError, OutputError
from bayes_splat.files import distinct_names
from bayes_splat.saved_runs import SavedRun, load_run
from bayes_splat.verdict import Verdict

INTERRUPTED = 130
"""Exit code of a run that was stopped."""


class Comparison(NamedTuple):
    """What a comparison came to.

    Attributes:
        text: the table, a verdict a run, and the place of the figures.
        rows: of the table.
        verdicts: by run.
    """

    text: str
    rows: list[compare_report.Row]
    verdicts: dict[str, Verdict]


class Runs(NamedTuple):
    """What ``run_samplers`` made.

    Attributes:
        folders: of the runs that have results.
        is_interrupted: the user stopped the last of them, and those after it were not begun.
    """

    folders: list[Path]
    is_interrupted: bool


def run_samplers(
    planned: Sequence[PlannedRun],
    start: Callable[[PlannedRun], int] | None = None,
    report: Callable[[str], None] = print,
) -> Runs:
    """Make the runs one after the other, each in a process of its own.

    A process of its own shows how much memory each needs, and none inherits warm caches.

    Args:
        planned: from ``compare_config.compose_compare``.
        start: makes one run and returns its exit code; None: a new Python process.
        report: told which run begins, and which failed.

    Raises:
        OutputError: not one run has results.
        KeyboardInterrupt: the user stopped the first run before it had any.
    """
    folders, is_interrupted = [], False
    for run in planned:
        report(f"{run.sampler}: {run.config.sampling_limit:g} s of sampling after its warmup")
        folder, began = Path(run.config.out or ""), time.time()
        code = (start or _start)(run)
        is_interrupted = code == INTERRUPTED
        if not code or (is_interrupted and _has_results(folder, began)):
            folders.append(folder)
        elif not is_interrupted:
            report(f"{run.sampler} failed (exit code {code}) and is left out")
        if is_interrupted:
            break
    if not folders and is_interrupted:
        raise KeyboardInterrupt
    if not folders:
        raise OutputError("no sampler came to results; the messages above say why")
    return Runs(folders, is_interrupted)


def _has_results(folder: Path, since: float) -> bool:
    """Whether a run has written all of its results since then."""
    last = folder / "posterior.nc"
    return last.is_file() and last.stat().st_mtime >= since


def compare(folders: Sequence[Path | str], options: CompareConfig) -> Comparison:
    """Judge runs side by side and write table, figures and maps.

    Args:
        folders: of ``bayes-splat reconstruct``.
        options: where to write, and how many pixels to draw.

    Raises:
        OutputError: a folder holds no results, or nothing can be written.
        BayesSplatError: the runs have different target views, so that no pixel can be compared.
    """
    names = distinct_names(folders)
    runs = [load_run(folder, name) for folder, name in zip(folders, names, strict=True)]
    _require_same_targets(runs)
    judged = [run.judge() for run in runs]
    rows = [
        compare_report.row(run, pixels, found)
        for run, (pixels, found) in zip(runs, judged, strict=True)
    ]
    out = Path(options.out)
    compare_report.write_tables(out, rows)
    compare_report.write_figures(out, runs, [pixels for pixels, _ in judged], options.pixels)
    verdicts = {run.name: found for run, (_, found) in zip(runs, judged, strict=True)}
    sentences = [f"{name}: {found.sentence}" for name, found in verdicts.items()]
    text = "\n".join(
        [compare_report.markdown(rows), *sentences, f"Table, figures and maps lie in {out}"]
    )
    return Comparison(text, rows, verdicts)


def _start(run: PlannedRun) -> int:
    command = [sys.executable, "-m", "bayes_splat", "reconstruct", *run.overrides]
    # In a session of its own, so that Ctrl-C reaches it once: from here, and it may then write what
    # it has drawn. A second one ends it.
    process = subprocess.Popen(command, env=os.environ.copy(), start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        return INTERRUPTED
    finally:
        if process.poll() is None:
            process.kill()


def _require_same_targets(runs: Sequence[SavedRun]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if (run.image_shape, run.view_names) != (first.image_shape, first.view_names):
            raise BayesSplatError(
                f"{first.name} has target views {', '.join(first.view_names)} of "
                f"{first.image_shape[1]}x{first.image_shape[0]} pixels and {run.name} has "
                f"{', '.join(run.view_names)} of {run.image_shape[1]}x{run.image_shape[0]}; "
                "compare runs with the same targets and resolution"
            )
