"""Figures of ``bayes-splat evaluate-encoder``: reliability curves, and examples side by side."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bayes_splat import report
from bayes_splat.depth_metrics import LEVELS
from bayes_splat.evaluate_encoder_report import Row, grouped, mean_row
from bayes_splat.report import Map

_COLORS = ("#c2410c", "#3b6ea5", "#1b7837", "#7b3294")
_CELL = 2.3  # inches of a picture's long side

Picture = Float[np.ndarray, "height width 3"]
Values = Float[np.ndarray, "height width"]


class Panel(NamedTuple):
    """One example in the figure of a proposal.

    Attributes:
        title: the example, with its scores.
        target, render: photograph and picture of a target view; None where there is none.
        photo: of a context view; the maps below are its own.
        depth: at the mode.
        truth: NaN where unknown; None where nothing is known.
        bits: entropy of the bucket probabilities.
    """

    title: str
    target: Picture | None
    render: Picture | None
    photo: Picture
    depth: Values
    truth: Values | None
    bits: Values


def reliability_figure(rows: Sequence[Row]) -> Figure | None:
    """Share of true depths in the likeliest buckets, a panel a source; None without any depth."""
    means = [mean_row(group) for group in grouped(rows).values()]
    known = [row for row in means if not np.isnan(row.inside).all()]
    sources = list(dict.fromkeys(row.source for row in known))
    if not sources:
        return None
    names = list(dict.fromkeys(row.proposal for row in known))
    figure = Figure(figsize=(4.2 * len(sources) + 0.3, 4.6), layout="constrained")
    for axes, source in zip(
        figure.subplots(1, len(sources), squeeze=False)[0], sources, strict=True
    ):
        axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
        for row in known:
            if row.source == source:
                color = _COLORS[names.index(row.proposal) % len(_COLORS)]
                axes.plot(LEVELS, row.inside, "o-", ms=3.5, color=color, label=row.proposal)
                axes.plot(LEVELS, row.mass, "--", lw=1, color=color, label="if it were calibrated")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=source)
        axes.set_xlabel("probability asked of the likeliest buckets")
        axes.legend(loc="lower right", fontsize=8)
    figure.axes[0].set_ylabel("share of true depths inside")
    return figure


def panel_figure(title: str, panels: Sequence[Panel], most_bits: float) -> Figure:
    """A row an example: photograph, picture, context photograph, depth, true depth, entropy.

    Args:
        title: of the figure.
        panels: at least one.
        most_bits: entropy of knowing nothing, the end of its colours.
    """
    height, width = panels[0].depth.shape
    size = _CELL * np.array([width, height]) / max(height, width)
    figure = Figure(
        figsize=(6 * (size[0] + 0.55), len(panels) * (size[1] + 0.5) + 0.5), layout="constrained"
    )
    figure.suptitle(title)
    parts = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for part, panel in zip(parts, panels, strict=True):
        part.suptitle(panel.title, fontsize=9)
        for axes, drawn in zip(part.subplots(1, 6), _maps(panel, most_bits), strict=True):
            if drawn is None:
                axes.set_axis_off()
            else:
                report.draw_map(axes, drawn)
    return figure


def _maps(panel: Panel, most_bits: float) -> list[Map | None]:
    reference = panel.depth if panel.truth is None else panel.truth
    known = reference[np.isfinite(reference)]
    near, far = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    scale = Normalize(float(near), max(float(far), float(near) * 1.001))
    depths = [
        None if values is None else _depth(title, values, scale)
        for title, values in (("depth at the mode", panel.depth), ("true depth", panel.truth))
    ]
    return [
        None if panel.target is None else Map("target", panel.target),
        None if panel.render is None else Map("render", panel.render),
        Map("context", panel.photo),
        *depths,
        Map("entropy", panel.bits, colormaps["magma"], Normalize(0, most_bits), "bits"),
    ]


def _depth(title: str, values: np.ndarray, scale: Normalize) -> Map:
    return Map(title, values, colormaps["viridis"], scale, "", report.open_ends(values, scale))
