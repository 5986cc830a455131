"""Figures of a depth proposal: maps over a view, and all that is believed of one pixel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bayes_splat import report
from bayes_splat.report import Map

_MARK, _TRUTH, _BARS = "#e11d48", "#15803d", "#3b6ea5"
_CELL = 3.3  # inches of a picture's long side
_MOST_LOOKS = 4  # pictures of other views in a figure


class Look(NamedTuple):
    """Points of another view that stand for depths of the pixel.

    Attributes:
        title: which view, and what the weights are.
        image: the photograph.
        points: (x, y) in its pixels, near first.
        weights: of the points, not negative.
    """

    title: str
    image: Float[np.ndarray, "height width 3"]
    points: Float[np.ndarray, "point 2"]
    weights: Float[np.ndarray, " point"]


class PixelStory(NamedTuple):
    """What is believed of one pixel.

    Attributes:
        title: which pixel.
        image: the photograph that it belongs to.
        column, row: of the pixel.
        edges: depths between buckets, near first, scene units.
        probabilities: of the buckets.
        depth: at the mode.
        truth: the true depth in buckets from near and in scene units; None where unknown.
        looks: along epipolar lines.
    """

    title: str
    image: Float[np.ndarray, "height width 3"]
    column: int
    row: int
    edges: Float[np.ndarray, " edge"]
    probabilities: Float[np.ndarray, " bucket"]
    depth: float
    truth: tuple[float, float] | None
    looks: list[Look]


def entropy(probabilities: Float[np.ndarray, "*batch bucket"]) -> Float[np.ndarray, "*batch"]:
    """In bits: 0 where one bucket has it all, log2 of their number where all are alike."""
    safe = np.maximum(probabilities, 1e-30)
    bits: np.ndarray = -(probabilities * np.log2(safe)).sum(-1)
    return np.asarray(np.maximum(bits, 0.0))


def overview(
    title: str,
    image: Float[np.ndarray, "height width 3"],
    depth: Float[np.ndarray, "height width"],
    bits: Float[np.ndarray, "height width"],
    opacity: Float[np.ndarray, "height width"],
    most_bits: float,
    pixels: list[tuple[int, int]],
) -> Figure:
    """Photograph with the pixels marked, depth at the mode, entropy and opacity side by side.

    Args:
        title: of the figure.
        image, depth, bits, opacity: maps of one view; depth in scene units.
        most_bits: entropy of knowing nothing, the end of its colours.
        pixels: (column, row) that get a figure of their own, numbered from 1.
    """
    near, far = np.quantile(depth, [0.01, 0.99])
    scale = Normalize(float(near), max(float(far), float(near) * 1.001))
    maps = [
        Map("photograph", image),
        Map("depth at the mode", depth, colormaps["viridis"], scale, "scene units", "both"),
        Map("entropy", bits, colormaps["magma"], Normalize(0, most_bits), "bits"),
        Map("opacity to start from", opacity, colormaps["gray"], Normalize(0, 1), "0 to 1"),
    ]
    width, height = _cell(image)
    figure = Figure(figsize=(2 * (width + 1.1), 2 * (height + 0.45) + 0.4), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for axis, item in zip(axes, maps, strict=True):
        report.draw_map(axis, item)
    for number, (column, row) in enumerate(pixels, start=1):
        _mark(axes[0], column, row)
        axes[0].annotate(
            str(number),
            (column, row),
            xytext=(6, -14 if row < 0.1 * image.shape[0] else 6),
            textcoords="offset points",
            color="white",
            fontsize=11,
            fontweight="bold",
            bbox={"facecolor": _MARK, "edgecolor": "none", "pad": 1.5},
        )
    figure.suptitle(title)
    return figure


def pixel_figure(story: PixelStory) -> Figure:
    """The pixel, where it looks in other views, and its distribution over depth buckets."""
    looks = story.looks[:_MOST_LOOKS]
    width, height = _cell(story.image)
    across = 1 + len(looks)
    figure = Figure(figsize=(across * (width + 0.35), height + 3.1), layout="constrained")
    grid = figure.add_gridspec(2, across, height_ratios=[height + 0.4, 2.4])
    photo = figure.add_subplot(grid[0, 0])
    _picture(photo, "the pixel", story.image)
    _mark(photo, story.column, story.row)
    for place, look in enumerate(looks, start=1):
        _draw_look(figure.add_subplot(grid[0, place]), look)
    _draw_distribution(figure.add_subplot(grid[1, :]), story)
    figure.suptitle(story.title)
    return figure


def _cell(image: np.ndarray) -> tuple[float, float]:
    height, width = image.shape[:2]
    return _CELL * width / max(height, width), _CELL * height / max(height, width)


def _picture(axes: Axes, title: str, image: np.ndarray) -> None:
    axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)


def _mark(axes: Axes, column: int, row: int) -> None:
    axes.plot(column, row, "s", markersize=9, markeredgecolor="white", fillstyle="none", mew=3)
    axes.plot(column, row, "s", markersize=9, markeredgecolor=_MARK, fillstyle="none", mew=1.5)


def _draw_look(axes: Axes, look: Look) -> None:
    height, width = look.image.shape[:2]
    _picture(axes, look.title, 0.35 + 0.65 * look.image)  # pale, so that points stand out
    x, y = look.points.T - 0.5  # pictures are drawn with pixel centres on whole numbers
    if len(x):
        share = look.weights / max(float(look.weights.max()), 1e-30)
        axes.plot(x, y, "-", color="0.2", linewidth=0.6, zorder=2)
        order = np.argsort(share)
        # Points of a short segment are smaller, so that they do not hide each other.
        apart = 72 * _CELL / max(height, width) * np.ptp(look.points, axis=0).max() / len(x)
        largest = float(np.clip(2 * apart, 4.5, 9.5)) ** 2
        axes.scatter(
            x[order],
            y[order],
            s=4 + largest * share[order],
            c=share[order],
            cmap="YlOrRd",
            norm=Normalize(-0.15, 1),
            edgecolors="0.2",
            linewidths=0.4,
            zorder=3,
        )
        ends = {"near": (x[0], y[0]), "far": (x[-1], y[-1])}
        for word, (at_x, at_y) in ends.items():
            axes.annotate(
                word,
                (np.clip(at_x, 0, width - 1), np.clip(at_y, 0, height - 1)),
                xytext=(0, -11),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8},
            )
    else:
        axes.text(0.5, 0.5, "not seen here", transform=axes.transAxes, ha="center")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _draw_distribution(axes: Axes, story: PixelStory) -> None:
    size = len(story.probabilities)
    axes.bar(np.arange(size) + 0.5, story.probabilities, width=0.92, color=_BARS)
    axes.axhline(1 / size, color="0.5", linewidth=0.8, linestyle=":", label="all alike")
    if story.truth is not None:
        where, depth = story.truth
        axes.axvline(where, color=_TRUTH, linewidth=1.8, label=f"truth, depth {depth:.3g}")
    bits = float(entropy(story.probabilities))
    axes.set_title(
        f"depth at the mode {story.depth:.3g}, probability there "
        f"{story.probabilities.max():.2f}, entropy {bits:.1f} of {np.log2(size):.1f} bits",
        fontsize=10,
    )
    ticks = np.unique(np.linspace(0, size, 9).round().astype(int))
    axes.set_xticks(ticks, [f"{story.edges[tick]:.3g}" for tick in ticks])
    axes.set_xlim(0, size)
    axes.set_xlabel("depth (scene units); buckets are even in disparity, near to the left")
    axes.set_ylabel("probability")
    axes.set_ylim(0, 1.3 * float(story.probabilities.max()))
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
