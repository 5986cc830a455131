"""Table, figures and maps of runs side by side.

The figures are those that ArviZ makes of one run (trace, rank, autocorrelation, evolution of ESS),
with the runs beside each other on common axes. They are drawn by matplotlib's objects alone, from
``convergence``'s numbers, so that they are the same with every version of ArviZ.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from scipy import stats

from bayes_splat import convergence, diagnostics, report
from bayes_splat.diagnostics import PixelDiagnostics, nan_extreme
from bayes_splat.files import atomic_path
from bayes_splat.report import Map
from bayes_splat.saved_runs import SavedRun
from bayes_splat.verdict import Verdict

_MOST_LAGS = 100
_RANK_BINS = 20
_POINTS = 12  # of the evolution of ESS
_LEAST_DRAWS = 20  # from which on it means something
_ADVICE = {"trust": "trust it", "longer": "run longer", "distrust": "do not trust"}


class Row(NamedTuple):
    """One run in the table; NaN where its folder does not say.

    Attributes:
        run, sampler: names.
        chains: that made all draws; stopped ones are left out of everything below.
        draws: a chain.
        least_ess_per_second, median_ess_per_second: bulk ESS over the colours and depths of target
            pixels, by seconds of sampling, warmup not counted.
        worst_rhat, median_rhat: over the same.
        converged: share of them that meet the thresholds.
        acceptance: mean over chains and draws.
        renders_per_effective_draw: pictures drawn, warmup included, over the median ESS.
        warmup_seconds, sampling_seconds, total_seconds: wall time.
        peak_memory: MB.
        advice: of the verdict.
    """

    run: str
    sampler: str
    chains: int
    draws: int
    least_ess_per_second: float
    median_ess_per_second: float
    worst_rhat: float
    median_rhat: float
    converged: float
    acceptance: float
    renders_per_effective_draw: float
    warmup_seconds: float
    sampling_seconds: float
    total_seconds: float
    peak_memory: float
    advice: str


_HEADINGS = (
    "run",
    "sampler",
    "chains",
    "draws",
    "ESS/s least",
    "ESS/s median",
    "R-hat worst",
    "R-hat median",
    "converged, %",
    "acceptance",
    "renders per effective draw",
    "warmup, s",
    "sampling, s",
    "all, s",
    "peak memory, MB",
    "verdict",
)


def row(run: SavedRun, pixels: PixelDiagnostics, found: Verdict) -> Row:
    """The numbers of one run."""
    judged = pixels.is_judged
    ess, rhat = pixels.statistics.ess_bulk[judged], pixels.statistics.rhat[judged]
    passed = diagnostics.has_converged(pixels.statistics)[judged]
    seconds = run.seconds
    median_ess = nan_extreme(np.median, ess)
    rates = run.acceptance_rate[run.is_whole]
    return Row(
        run=run.name,
        sampler=run.sampler,
        chains=pixels.num_chains,
        draws=pixels.num_draws,
        least_ess_per_second=nan_extreme(np.min, ess) / seconds["sampling"],
        median_ess_per_second=median_ess / seconds["sampling"],
        worst_rhat=nan_extreme(np.max, rhat),
        median_rhat=nan_extreme(np.median, rhat),
        converged=100 * float(passed.mean()) if passed.size else 0.0,
        acceptance=nan_extreme(np.mean, rates.ravel()),
        renders_per_effective_draw=run.renders / median_ess,
        warmup_seconds=seconds["warmup"],
        sampling_seconds=seconds["sampling"],
        total_seconds=float(np.sum(list(seconds.values()))),
        peak_memory=run.peak_memory,
        advice=_ADVICE[found.advice],
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown; unknown numbers are dashes."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
    lines += ["| " + " | ".join(_shown(value) for value in one) + " |" for one in rows]
    return "\n".join(lines)


def write_tables(out: Path | str, rows: Sequence[Row]) -> None:
    """Write ``comparison.md`` and ``comparison.csv``.

    Raises:
        OutputError: they cannot be written.
    """
    with atomic_path(Path(out) / "comparison.md") as partial:
        partial.write_text(markdown(rows) + "\n", encoding="utf-8")
    with (
        atomic_path(Path(out) / "comparison.csv") as partial,
        partial.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in one] for one in rows)


def write_figures(
    out: Path | str,
    runs: Sequence[SavedRun],
    pixels: Sequence[PixelDiagnostics],
    num_pixels: int,
) -> list[Path]:
    """Write trace.png, rank.png, autocorrelation.png, ess_evolution.png and maps/<view>.png.

    Args:
        out: folder; made if missing.
        runs, pixels: the runs and their diagnostics, in one order, with the same grid.
        num_pixels: target pixels whose chains are drawn: from the one with the least ESS to the
            one with the greatest, each with its slowest quantity.

    Returns:
        The files.

    Raises:
        OutputError: one cannot be written.
    """
    chosen = choose_pixels(pixels, num_pixels)
    figures = {
        "trace.png": _grid_figure(runs, chosen, _draw_trace, "draw"),
        "rank.png": _grid_figure(runs, chosen, _draw_ranks, "rank over all chains"),
        "autocorrelation.png": _grid_figure(runs, chosen, _draw_autocorrelation, "lag, draws"),
        "ess_evolution.png": _evolution_figure(runs, chosen),
    }
    names = report.folder_names(runs[0].view_names)
    for view, name in enumerate(names):
        figures[f"maps/{name}.png"] = _maps_figure(runs, pixels, view)
    paths = [Path(out) / name for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        report.save_figure(path, figure)
    return paths


def choose_pixels(pixels: Sequence[PixelDiagnostics], count: int) -> list[tuple[int, int]]:
    """(pixel, quantity) to be drawn, evenly spaced in the order of the least ESS over the runs."""
    slowest = np.full((len(pixels), *pixels[0].is_judged.shape), np.nan)
    for i, found in enumerate(pixels):
        slowest[i] = np.where(found.is_judged, found.statistics.ess_bulk, np.nan)
    least = np.fmin.reduce(slowest, axis=0)
    by_pixel = np.fmin.reduce(least, axis=1)
    known = np.flatnonzero(~np.isnan(by_pixel))
    if not known.size:  # nothing moved anywhere: the first pixels show that
        return [(pixel, 0) for pixel in range(min(count, len(by_pixel)))]
    order = known[np.argsort(by_pixel[known], kind="stable")]
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return [(int(order[i]), int(np.nanargmin(least[order[i]]))) for i in places]


def chains_of(run: SavedRun, pixel: int, quantity: int) -> Float[np.ndarray, "chain draw"]:
    """Draws of one quantity at one pixel, whole chains only: red, green, blue or depth."""
    values = run.depth[..., pixel] if quantity == 3 else run.color[..., pixel, quantity]
    return np.asarray(values[run.is_whole], dtype=np.float64)


def _grid_figure(
    runs: Sequence[SavedRun],
    chosen: Sequence[tuple[int, int]],
    draw: Callable[[Axes, np.ndarray], None],
    label: str,
) -> Figure:
    """A row a run, a column a pixel."""
    figure = Figure(figsize=(3.1 * len(chosen) + 0.6, 1.9 * len(runs) + 0.7), layout="constrained")
    axes = figure.subplots(len(runs), len(chosen), squeeze=False)
    for i, run in enumerate(runs):
        for j, (pixel, quantity) in enumerate(chosen):
            series = chains_of(run, pixel, quantity)
            if series.size:
                draw(axes[i, j], series)
            axes[i, j].tick_params(labelsize=7)
            if i == 0:
                axes[i, j].set_title(_title(run, pixel, quantity), fontsize=8)
        axes[i, 0].set_ylabel(run.name, fontsize=9)
    figure.supxlabel(label, fontsize=9)
    return figure


def _draw_trace(axes: Axes, series: np.ndarray) -> None:
    for chain in series:
        axes.plot(chain, linewidth=0.6, alpha=0.8)


def _draw_ranks(axes: Axes, series: np.ndarray) -> None:
    """Histogram of every chain's ranks, one above the other; dashed is what it should be."""
    num_chains, num_draws = series.shape
    ranks = stats.rankdata(series).reshape(series.shape)
    bins = max(2, min(_RANK_BINS, num_draws // 5))
    edges = np.linspace(0, series.size, bins + 1)
    counts = np.array([np.histogram(chain, edges)[0] for chain in ranks])
    scale = 0.9 / max(counts.max(), 2 * num_draws / bins)
    for i, heights in enumerate(scale * counts):
        axes.bar(edges[:-1], heights, np.diff(edges), bottom=i, align="edge", alpha=0.8)
        axes.axhline(i + scale * num_draws / bins, color="0.3", linewidth=0.6, linestyle="--")
    axes.set_yticks(range(num_chains), [str(i) for i in range(num_chains)])


def _draw_autocorrelation(axes: Axes, series: np.ndarray) -> None:
    """Of every chain about its own mean, and their mean in black."""
    lags = min(_MOST_LAGS, series.shape[1] // 2)
    every = convergence.autocorrelation(series)[:, : lags + 1]
    for chain in every:
        axes.plot(chain, linewidth=0.6, alpha=0.6)
    axes.plot(np.nanmean(every, axis=0) if not np.isnan(every).all() else [], color="black")
    axes.axhline(0, color="0.5", linewidth=0.6)
    axes.set_ylim(-0.35, 1.05)


def _evolution_figure(runs: Sequence[SavedRun], chosen: Sequence[tuple[int, int]]) -> Figure:
    """ESS of the draws until then against time, a line a run; dashed is what a verdict asks for."""
    figure = Figure(figsize=(3.1 * len(chosen) + 1.4, 2.8), layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)[0]
    has_times = all(np.isfinite(run.seconds["sampling"]) for run in runs)
    for j, (pixel, quantity) in enumerate(chosen):
        for run in runs:
            series = chains_of(run, pixel, quantity)
            num_draws = series.shape[1] if series.size else 0
            ends = np.unique(np.linspace(0, num_draws, _POINTS + 1).astype(int))
            ends = ends[ends >= min(_LEAST_DRAWS, num_draws)]
            if num_draws < diagnostics.MIN_DRAWS:
                axes[j].plot([], label=f"{run.name}: too few draws")  # keeps the colours in step
                continue
            ess = [float(convergence.ess_bulk(series[:, :end])) for end in ends]
            each = run.seconds["sampling"] / num_draws if has_times else 1.0
            axes[j].plot(ends * each, ess, marker="o", markersize=2.5, label=run.name)
        axes[j].axhline(diagnostics.MIN_ESS, color="0.4", linewidth=0.7, linestyle="--")
        axes[j].set_yscale("log")
        axes[j].set_title(_title(runs[0], pixel, quantity), fontsize=8)
        axes[j].tick_params(labelsize=7)
    axes[0].set_ylabel("bulk ESS", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, fontsize=8, loc="outside right upper")
    figure.supxlabel("seconds of sampling" if has_times else "draws a chain", fontsize=9)
    return figure


def _maps_figure(runs: Sequence[SavedRun], pixels: Sequence[PixelDiagnostics], view: int) -> Figure:
    """R-hat, ESS and MCSE of one view, a row a run, with common colours."""
    height, width = runs[0].image_shape
    shape = (len(runs[0].view_names), height, width)
    found = [
        [function(one, run.grid, shape)[view] for one, run in zip(pixels, runs, strict=True)]
        for function in (diagnostics.rhat_map, diagnostics.ess_map, diagnostics.mcse_map)
    ]
    ess, mcse = np.array(found[1]), np.array(found[2])
    ess_scale = LogNorm(1, np.fmax(2.0, nan_extreme(np.max, ess.ravel())))
    mcse_scale = Normalize(0, report.upper_end(mcse))
    size = 2.6 * np.array([width, height]) / max(height, width)
    figure = Figure(
        figsize=(3 * (size[0] + 1.1) + 0.4, len(runs) * (size[1] + 0.35) + 0.4),
        layout="constrained",
    )
    axes = figure.subplots(len(runs), 3, squeeze=False)
    for i, run in enumerate(runs):
        drawn = (
            report.rhat_picture(found[0][i]),
            Map(
                "least bulk ESS",
                report.fill_grid(found[1][i]),
                colormaps["viridis"],
                ess_scale,
                "ESS",
            ),
            Map(
                "MCSE of the mean colour",
                report.fill_grid(found[2][i]),
                colormaps["magma"],
                mcse_scale,
                "colour (0-1)",
                report.open_ends(found[2][i], mcse_scale),
            ),
        )
        for axis, item in zip(axes[i], drawn, strict=True):
            report.draw_map(axis, item if i == 0 else item._replace(title=""))
        axes[i, 0].set_ylabel(run.name, fontsize=9)
    figure.suptitle(runs[0].view_names[view], fontsize=10)
    return figure


def _title(run: SavedRun, pixel: int, quantity: int) -> str:
    name = ("red", "green", "blue", "depth")[quantity]
    view = run.view_names[run.grid.view[pixel]]
    return f"{name} at {view}, row {run.grid.row[pixel]}, column {run.grid.column[pixel]}"


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if not np.isnan(value) else "-"
    return str(value)
