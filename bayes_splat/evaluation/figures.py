"""Figures of an evaluation: methods side by side, one colour a method throughout."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from bayes_splat import metrics, report
from bayes_splat.evaluation.curves import LEVELS, Curves
from bayes_splat.report import Map
from bayes_splat.uncertainty import combine_channels

_ACROSS = 4  # scatter plots in a row
_BINS = 12
_HIGHEST = 1.8  # of sparsification curves: an order that is worse than random may go far up
_TICKS = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LEAST = 1e-3  # errors below are drawn there: a quarter of a step of 8 bits


def sparsification(curves: Mapping[str, Curves]) -> Figure:
    """Error of the pixels that remain, and how far above the best order it lies, by method."""
    figure = Figure(figsize=(10.5, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, color in _colors(curves).items():
        ours, oracle = (np.array(curves[name][key]) for key in ("sparsification", "oracle"))
        area = np.trapezoid(ours - oracle, metrics.FRACTIONS)
        left.plot(metrics.FRACTIONS, ours, color=color, label=name)
        left.plot(metrics.FRACTIONS, oracle, color=color, linewidth=0.7, linestyle=":")
        right.plot(metrics.FRACTIONS, ours - oracle, color=color, label=f"{name}  {area:.3f}")
    left.axhline(1.0, color="0.5", linewidth=0.8, linestyle="--")
    left.set_ylabel("mean error of the rest / of all")
    left.set_title("dashed: random order, dotted: order of the error itself", fontsize=9)
    right.set_ylabel("above the order of the error itself")
    right.set_title("the area below is the AUSE (MAE)", fontsize=9)
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.set_xlabel("share of pixels removed, most uncertain first")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, min(axes.get_ylim()[1], _HIGHEST))
    return figure


def reliability(raw: Mapping[str, Curves], scaled: Mapping[str, Curves]) -> Figure:
    """Coverage against level: above the diagonal intervals are too wide, below too narrow."""
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    colors = _colors(raw)
    for axes, curves, title in zip(
        figure.subplots(1, 2),
        (raw, scaled),
        ("raw", "with one scale fitted on context pixels"),
        strict=True,
    ):
        axes.plot([0, 1], [0, 1], color="0.5", linewidth=0.8, linestyle="--")
        for name, found in curves.items():
            axes.plot(LEVELS, found["reliability"], color=colors[name], label=name)
        axes.set_xlabel("level of the central interval")
        axes.set_title(title, fontsize=10)
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    figure.axes[0].set_ylabel("share of target colours inside")
    figure.axes[0].legend(fontsize=8)
    return figure


def scatter(curves: Mapping[str, Curves]) -> Figure:
    """Absolute error against predicted standard deviation, and the mean error in bins of it.

    Dashed: the mean error of a Normal of that standard deviation.
    """
    down = -(-len(curves) // _ACROSS)
    across = min(_ACROSS, len(curves))
    figure = Figure(figsize=(3.0 * across + 0.3, 2.9 * down + 0.3), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    every = np.maximum(np.concatenate([_points(found) for found in curves.values()]), _LEAST)
    ends = [np.quantile(x, (0.005, 0.998)) * (0.8, 1.25) for x in every.T]
    for axes, (name, color) in zip(grid, _colors(curves).items(), strict=False):
        _draw_points(axes, _points(curves[name]), color, name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends[0])
        axes.set_ylim(*ends[1])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(_TICKS))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_locator(NullLocator())
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    figure.supxlabel("predicted standard deviation of colour (0-1)", fontsize=9)
    figure.supylabel("absolute error", fontsize=9)
    return figure


def panel(
    name: str,
    photo: Float[np.ndarray, "height width 3"],
    means: Mapping[str, Float[np.ndarray, "height width 3"]],
    stds: Mapping[str, Float[np.ndarray, "height width 3"]],
) -> Figure:
    """One target view: the photograph, then a column a method: mean, absolute error, std.

    Errors and standard deviations of all methods share one scale.
    """
    errors = {key: combine_channels(mean - photo) for key, mean in means.items()}
    flat = {key: combine_channels(std) for key, std in stds.items()}
    every = np.concatenate([x.ravel() for x in (*errors.values(), *flat.values())])
    scale = Normalize(0, report.upper_end(every))
    height, width = photo.shape[:2]
    cell = 1.9 * np.array([width, height]) / max(height, width)
    columns = len(means) + 1
    figure = Figure(
        figsize=(columns * (cell[0] + 0.1) + 1.2, 3 * (cell[1] + 0.1) + 0.8), layout="constrained"
    )
    grid = figure.subplots(3, columns, squeeze=False)
    _draw(grid[0, 0], Map("photograph", photo))
    for axes in grid[1:, 0]:
        axes.set_axis_off()
    for i, key in enumerate(means, 1):
        title = f"{key}\n{metrics.psnr(means[key], photo):.2f} dB"
        _draw(grid[0, i], Map(title, means[key]))
        _draw(grid[1, i], Map("", errors[key], colormaps["magma"], scale))
        _draw(grid[2, i], Map("", flat[key], colormaps["magma"], scale))
    for axes, label in zip(grid[:, 1], ("mean", "absolute error", "std"), strict=True):
        axes.set_ylabel(label, fontsize=9)
    figure.colorbar(
        grid[2, 1].images[0],
        ax=grid[1:].ravel().tolist(),
        extend=report.open_ends(every, scale),
        label="colour (0-1)",
        aspect=30,
        fraction=0.04,
    )
    figure.suptitle(name, fontsize=10)
    return figure


def mean_curves(every: Sequence[Curves]) -> Curves:
    """The mean of the curves of several scenes; of points, as many of each."""
    share = max(1, len(every))

    def mean(key: str) -> list[float]:
        found = np.nanmean([one[key] for one in every], axis=0)  # type: ignore[literal-required]
        return [float(value) for value in found]

    return Curves(
        sparsification=mean("sparsification"),
        oracle=mean("oracle"),
        reliability=mean("reliability"),
        points=[point for one in every for point in one["points"][::share]],
    )


def _draw(axes: Axes, item: Map) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(item.title, fontsize=9)
    values = item.values if item.colormap is not None else np.clip(item.values, 0, 1)
    axes.imshow(values, cmap=item.colormap, norm=item.norm, interpolation="nearest")


def _draw_points(axes: Axes, points: np.ndarray, color: str, name: str) -> None:
    std, error = points.T
    axes.plot([1e-4, 1], [8e-5, 0.8], color="0.5", linewidth=0.8, linestyle="--")
    axes.scatter(
        std, np.maximum(error, _LEAST), s=2, alpha=0.2, color=color, linewidths=0, rasterized=True
    )
    order = np.argsort(std, kind="stable")
    if len(points) >= _BINS:
        parts = np.array_split(order, _BINS)
        axes.plot(
            [std[part].mean() for part in parts],
            [error[part].mean() for part in parts],
            color="black",
            marker="o",
            markersize=2.5,
            linewidth=1,
        )
    axes.set_title(name, fontsize=9)


def _points(found: Curves) -> np.ndarray:
    return np.array(found["points"], dtype=np.float64).reshape(-1, 2)


def _colors(curves: Mapping[str, Curves]) -> dict[str, str]:
    return {name: f"C{i % 10}" for i, name in enumerate(curves)}
