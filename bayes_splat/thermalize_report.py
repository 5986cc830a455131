"""Tables, figure and sentences of ``bayes-splat thermalize``."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayes_splat import energy_meeting
from bayes_splat.files import atomic_path

_TEACHER, _PROPOSAL = "#1b7837", "#c2410c"
_ACROSS = 3  # panels in a row


class Trace(NamedTuple):
    """Chains of one start.

    Attributes:
        energy: potential energy (minus the log joint, unconstrained) at the start and after every
            step.
        renders: pictures drawn until then, of all chains.
        seconds: of sampling until then, all chains side by side.
    """

    energy: Float[np.ndarray, "chain state"]
    renders: Float[np.ndarray, " state"]
    seconds: Float[np.ndarray, " state"]


class Run(NamedTuple):
    """One sampler from both starts.

    Attributes:
        sampler: its name.
        warmup: steps in which it tuned itself.
        teacher, proposal: where its chains went.
    """

    sampler: str
    warmup: int
    teacher: Trace
    proposal: Trace


class Row(NamedTuple):
    """One sampler in the table.

    Attributes:
        sampler: its name.
        has_met: the energies met for good within the budget.
        step, renders, seconds: of the proposal-started chains when they met; of the whole run
            where they did not.
        steps: made by each chain.
        teacher_energy, proposal_energy: means over the later half of the steps.
        difference: of these, proposal minus teacher.
        score: the difference in standard errors.
    """

    sampler: str
    has_met: bool
    step: int
    renders: float
    seconds: float
    steps: int
    teacher_energy: float
    proposal_energy: float
    difference: float
    score: float

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        if self.has_met:
            return (
                f"{self.sampler}: energies meet at step {self.step}, after {self.renders:.0f} "
                f"pictures and {self.seconds:.1f} s."
            )
        if self.steps < 2 * energy_meeting.FIRST:
            return (
                f"{self.sampler}: FAILS, {self.steps} steps in {self.seconds:.1f} s "
                f"({self.renders:.0f} pictures) are too few for any meeting to be confirmed; it "
                f"takes {2 * energy_meeting.FIRST} or more."
            )
        return (
            f"{self.sampler}: FAILS, energies do not meet within {self.steps} steps "
            f"({self.renders:.0f} pictures, {self.seconds:.1f} s); over the later half they differ "
            f"by {self.difference:.4g}, {self.score:.3g} standard errors."
        )


def row(run: Run) -> Row:
    """Judge one sampler by ``energy_meeting.meeting_step``."""
    # Without the start itself, so that column t is what t + 1 steps led to.
    teacher, proposal = run.teacher.energy[:, 1:], run.proposal.energy[:, 1:]
    steps = proposal.shape[1]
    met = energy_meeting.meeting_step(proposal, teacher)
    found = energy_meeting.gaps(proposal, teacher)
    at = steps if met is None else met
    later_half = slice(steps // 2, None)
    return Row(
        run.sampler,
        met is not None,
        at,
        float(run.proposal.renders[at]),
        float(run.proposal.seconds[at]),
        steps,
        float(teacher[:, later_half].mean()),
        float(proposal[:, later_half].mean()),
        float(found.difference[-1]) if found.step.size else np.nan,
        float(found.score[-1]) if found.step.size else np.inf,
    )


def text(rows: Sequence[Row], out: Path) -> str:
    """A table, a sentence a sampler, and where the rest lies."""
    lines = [
        "| sampler | meets | at step | pictures | seconds | energy of teacher | of proposal |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in rows:
        cost = (
            (str(found.step), f"{found.renders:.0f}", f"{found.seconds:.1f}")
            if found.has_met
            else ("-", "-", "-")
        )
        cells = (
            found.sampler,
            "yes" if found.has_met else "NO",
            *cost,
            f"{found.teacher_energy:.1f}",
            f"{found.proposal_energy:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", *(found.sentence for found in rows), f"Tables and figure lie in {out}"]
    )


def write(out: Path, runs: Sequence[Run], rows: Sequence[Row]) -> None:
    """``thermalize.csv`` (a row a sampler), ``energies.csv`` (a row a step) and the figure."""
    with (
        atomic_path(out / "thermalize.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(Row._fields)
        table.writerows(rows)
    with (
        atomic_path(out / "energies.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream)
        chains = range(len(runs[0].proposal.energy)) if runs else ()
        table.writerow(["sampler", "start", "step", "renders", "seconds", *map(_chain, chains)])
        for run in runs:
            for start, trace in (("teacher", run.teacher), ("proposal", run.proposal)):
                for step, energies in enumerate(trace.energy.T):
                    table.writerow(
                        [
                            run.sampler,
                            start,
                            step,
                            trace.renders[step],
                            trace.seconds[step],
                            *energies.tolist(),
                        ]
                    )
    figure = draw(runs, rows)
    with atomic_path(out / "thermalize.png") as partial:
        FigureCanvasAgg(figure).print_figure(
            partial, dpi=110, bbox_inches="tight", pad_inches=0.08, format="png"
        )


def draw(runs: Sequence[Run], rows: Sequence[Row]) -> Figure:
    """Energy traces of both starts, a panel a sampler, steps on a logarithmic axis.

    Energies are linear inside the grey band, logarithmic outside of it.
    """
    across = min(_ACROSS, len(runs))
    down = -(-len(runs) // across)
    figure = Figure(figsize=(4.4 * across, 3.3 * down), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
    spread = _spread(runs)
    for axes, run, found in zip(panels, runs, rows, strict=False):
        _draw_run(axes, run, found, spread)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    panels[0].set_ylim(*_limits(runs, spread))
    figure.supxlabel("step (logarithmic)")
    figure.supylabel("energy, teacher's median 0")
    entries = {
        label: line
        for axes in figure.axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [*entries.values()], [*entries], loc="outside upper center", ncols=len(entries), fontsize=8
    )
    return figure


def _draw_run(axes: Axes, run: Run, found: Row, spread: float) -> None:
    zero = _level(run)
    for trace, color, label in (
        (run.teacher, _TEACHER, "from the teacher"),
        (run.proposal, _PROPOSAL, "from the proposal"),
    ):
        steps = np.arange(trace.energy.shape[1]) + 1  # the start itself stands at 1
        for number, energies in enumerate(trace.energy):
            shown = np.where(np.isfinite(energies), energies - zero, np.nan)
            axes.plot(steps, shown, color=color, lw=0.9, alpha=0.8, label="" if number else label)
    axes.axhspan(-spread, spread, color="0.93", zorder=-1)
    axes.axvline(run.warmup + 1, color="0.55", lw=0.8, ls=":", label="end of warmup")
    if found.has_met:
        axes.axvline(found.step + 1, color="black", lw=1.0, ls="--", label="energies meet")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=spread)
    axes.axhline(0.0, color="0.6", lw=0.6, zorder=-1)
    title = f"meets at step {found.step}" if found.has_met else "does not meet"
    axes.set_title(f"{run.sampler}: {title}", fontsize=10)


def _level(run: Run) -> float:
    """The teacher's energy in the middle: chains may explode on the way."""
    known = run.teacher.energy[np.isfinite(run.teacher.energy)]
    return float(np.median(known)) if known.size else 0.0


def _limits(runs: Sequence[Run], spread: float) -> tuple[float, float]:
    """Of the axis that all share; what few chains do for a short time may leave it."""
    shown = np.concatenate(
        [(t.energy - _level(r)).ravel() for r in runs for t in (r.teacher, r.proposal)]
    )
    shown = shown[np.isfinite(shown)]
    low, high = np.quantile(shown, (0.005, 0.99)) if shown.size else (0.0, 0.0)
    return min(2.0 * low, -2.0 * spread), max(2.0 * high, 2.0 * spread)


def _spread(runs: Sequence[Run]) -> float:
    """Three standard deviations of the calmest sampler's teacher-started energies."""
    spreads = [float(np.std(r.teacher.energy[np.isfinite(r.teacher.energy)])) for r in runs]
    known = [value for value in spreads if np.isfinite(value) and value > 0]
    return 3.0 * float(np.median(known)) if known else 1.0


def _chain(number: int) -> str:
    return f"chain_{number}"
