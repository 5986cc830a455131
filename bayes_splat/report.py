"""Pictures, maps and the few lines that a run leaves for people.

Figures are made by matplotlib's objects alone: no pyplot, no global state, no screen.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, image
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from bayes_splat import metrics
from bayes_splat.diagnostics import PixelDiagnostics
from bayes_splat.files import atomic_path
from bayes_splat.uncertainty import Prediction, combine_channels
from bayes_splat.verdict import Verdict

COLOR_STD_LABEL = "standard deviation of colour (0-1)"
RHAT_STEPS = (1.0, 1.01, 1.05, 1.1, 1.2, 1.5)
"""Where the colours of an R-hat map change: blue below 1.05, yellow to red above."""

_RHAT_COLORS = (0.0, 0.25, 0.55, 0.7, 0.85, 1.0)  # on the colour map, one a step
_UNKNOWN = "0.85"  # light grey: no value
_DPI = 110
_LONG_SIDE = 4.6  # inches of a single map
_SMALLEST = 512  # pixels on the long side below which plain pictures are enlarged


class Map(NamedTuple):
    """One picture of a figure: a photograph, or values with the colours that stand for them."""

    title: str
    values: Any
    colormap: Colormap | None = None
    norm: Normalize | None = None
    label: str = ""
    extend: str = "neither"


def write_targets(
    out: Path | str,
    names: Sequence[str],
    prediction: Prediction,
    *,
    images: Float[np.ndarray, "view 3 height width"] | None = None,
    rhat: Float[np.ndarray, "view height width"] | None = None,
    depth_unit: str = "scene units",
) -> list[Path]:
    """Write a folder of pictures and maps for every target view.

    Each ``<out>/<name>/`` gets ``mean.png`` (the posterior mean, enlarged by a whole factor if
    small), ``std.png``, ``depth.png`` and ``depth_std.png`` (with colour bars and units),
    ``panel.png`` (all side by side; error and standard deviation share one scale) and ``maps.npz``
    (every map as float32).

    Args:
        out: folder of the run; made if missing.
        names: of the target views; characters that file systems dislike become underscores.
        prediction: of the target views.
        images: their photographs in [0, 1], laid out as ``Views.images``; None without truth.
        rhat: from ``diagnostics.rhat_map``, NaN outside its grid.
        depth_unit: such as "metres".

    Returns:
        The folders, in the order of the views.

    Raises:
        OutputError: a file cannot be written.
    """
    folders = [Path(out) / name for name in folder_names(names)]
    for i, folder in enumerate(folders):
        photo = None if images is None else np.asarray(images[i]).transpose(1, 2, 0)
        view_rhat = None if rhat is None else rhat[i]
        maps = view_maps(prediction, i)
        _write_picture(folder / "mean.png", maps["mean"])
        for name, drawn in _single_maps(maps, depth_unit).items():
            save_figure(folder / f"{name}.png", _single_figure(drawn))
        save_figure(
            folder / "panel.png", panel_figure(names[i], maps, photo, view_rhat, depth_unit)
        )
        known = {"photo": photo, "rhat": view_rhat}
        arrays = maps | {name: values for name, values in known.items() if values is not None}
        with atomic_path(folder / "maps.npz") as partial:
            np.savez_compressed(
                partial,
                allow_pickle=False,
                **{name: values.astype(np.float32) for name, values in arrays.items()},
            )
    return folders


def view_maps(prediction: Prediction, view: int) -> dict[str, np.ndarray]:
    """All maps of one view, by the names of ``Prediction``; absent ones are left out."""
    return {
        name: values[:, view] if name == "quantiles" else values[view]
        for name, values in prediction._asdict().items()
        if name != "num_draws" and values is not None
    }


def panel_figure(
    name: str,
    maps: dict[str, np.ndarray],
    photo: Float[np.ndarray, "height width 3"] | None = None,
    rhat: Float[np.ndarray, "height width"] | None = None,
    depth_unit: str = "scene units",
) -> Figure:
    """Photograph, mean, absolute error, std, depth and R-hat of one view side by side.

    Without a photograph the error gives way to the standard deviation of depth and the mean
    alpha; without ``rhat`` its place stays empty. The error is the root mean square over
    channels, as the standard deviation is, and both have the same colours.
    """
    std = combine_channels(maps["std"])
    error = None if photo is None else combine_channels(maps["mean"] - photo)
    both = std if error is None else np.concatenate([std.ravel(), error.ravel()])
    scale = Normalize(0, upper_end(both))
    singles = _single_maps(maps, depth_unit)
    mean = Map("posterior mean", maps["mean"])
    std_map = singles["std"]._replace(
        norm=scale, extend=open_ends(std, scale), label="colour (0-1)"
    )
    if photo is None or error is None:
        drawn = [
            mean,
            std_map,
            singles["depth"],
            singles["depth_std"]._replace(label=f"depth ({depth_unit})"),
            Map("mean alpha", maps["alpha_mean"], colormaps["gray"], Normalize(0, 1)),
        ]
    else:
        error_map = Map(
            "absolute error",
            error,
            colormaps["magma"],
            scale,
            "colour (0-1)",
            open_ends(error, scale),
        )
        drawn = [Map("photograph", photo), mean, error_map, std_map, singles["depth"]]
    if rhat is not None:
        drawn.append(rhat_picture(rhat))

    height, width = std.shape
    cell = 3.4 * np.array([width, height]) / max(height, width)
    figure = Figure(figsize=(3 * (cell[0] + 0.9), 2 * (cell[1] + 0.45) + 0.4), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, item in zip(axes, drawn, strict=False):
        draw_map(axis, item)
    for axis in axes[len(drawn) :]:
        axis.set_axis_off()
    figure.suptitle(_headline(name, maps, photo))
    return figure


def summary_text(
    prediction: Prediction,
    pixels: PixelDiagnostics,
    found: Verdict,
    *,
    out: Path | str,
    seconds: float,
    images: Float[np.ndarray, "view 3 height width"] | None = None,
) -> str:
    """Five lines on the run, the verdict, and where the results lie; no line break at the end.

    Args:
        prediction: of the target views.
        pixels: diagnostics at the grid of target pixels.
        found: the verdict on them.
        out: folder of the run.
        seconds: wall time of the whole run.
        images: photographs of the target views; None without truth.
    """
    if images is None:
        quality, coverage = "unknown (no photograph of the target views)", "unknown"
    else:
        scores = [
            metrics.psnr(mean, photo.transpose(1, 2, 0))
            for mean, photo in zip(prediction.mean, images, strict=True)
        ]
        quality = f"{np.mean(scores):.2f} dB, mean of {_count(len(scores), 'target view')}"
        coverage = (
            "unknown"
            if prediction.pit is None
            else f"{100 * metrics.coverage_from_pit(prediction.pit, 0.9):.1f} % of target colours"
        )
    minutes, rest = divmod(round(seconds), 60)
    lines = [
        ("PSNR of the mean picture", quality),
        ("90 % interval covers", coverage),
        (
            "worst R-hat, least ESS",
            f"{pixels.worst_rhat:.3g}, {pixels.least_ess:.3g} "
            f"over {_count(len(pixels.is_covered), 'target pixel')}",
        ),
        (
            "draws",
            f"{_count(pixels.num_chains, 'chain')} of {_count(pixels.num_draws, 'draw')}",
        ),
        ("wall time", f"{minutes} min {rest} s" if minutes else f"{rest} s"),
    ]
    table = [f"{name + ':':<26}{value}" for name, value in lines]
    return "\n".join([*table, found.sentence, f"Results lie in {out}"])


def folder_names(names: Sequence[str]) -> list[str]:
    """Names fit for folders, all different even where file systems ignore case."""
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", name).strip("._") or "view"
        candidate, number = plain, 2
        while candidate.lower() in taken:
            candidate, number = f"{plain}_{number}", number + 1
        taken.add(candidate.lower())
        result.append(candidate)
    return result


def _single_maps(maps: dict[str, np.ndarray], depth_unit: str) -> dict[str, Map]:
    """The maps that have a file of their own, by its name."""
    std = combine_channels(maps["std"])
    scale = Normalize(0, upper_end(std))
    depth, depth_std = maps["depth_mean"], maps["depth_std"]
    near, far = _range(depth)
    depth_scale, spread_scale = Normalize(near, far), Normalize(0, upper_end(depth_std))
    return {
        "std": Map(
            "standard deviation",
            std,
            colormaps["magma"],
            scale,
            COLOR_STD_LABEL,
            open_ends(std, scale),
        ),
        "depth": Map(
            "mean depth",
            depth,
            colormaps["viridis"],
            depth_scale,
            f"depth ({depth_unit})",
            open_ends(depth, depth_scale),
        ),
        "depth_std": Map(
            "standard deviation of depth",
            depth_std,
            colormaps["magma"],
            spread_scale,
            f"standard deviation of depth ({depth_unit})",
            open_ends(depth_std, spread_scale),
        ),
    }


def rhat_picture(rhat: np.ndarray) -> Map:
    """An R-hat map with fixed colours, so that maps of different runs compare."""
    colors = ListedColormap(colormaps["RdYlBu_r"](_RHAT_COLORS))
    steps = BoundaryNorm(RHAT_STEPS, len(_RHAT_COLORS), extend="max")
    values = np.clip(fill_grid(rhat), 1, 10 * RHAT_STEPS[-1])  # infinity would count as unknown
    return Map("R-hat of colour and depth", values, colors, steps, "R-hat", "max")


def fill_grid(values: np.ndarray) -> np.ndarray:
    """Give the pixels between those of a grid the value of the nearest; far ones stay NaN."""
    is_known = ~np.isnan(values)
    if not is_known.any():
        return values
    nearest = []
    for axis in (0, 1):
        known = np.flatnonzero(is_known.any(1 - axis))
        distance = np.abs(np.arange(values.shape[axis])[:, None] - known)
        reach = np.median(np.diff(known)) if len(known) > 1 else values.shape[axis]
        nearest.append(np.where(distance.min(1) <= reach, known[distance.argmin(1)], -1))
    rows, columns = nearest
    filled = values[rows][:, columns]
    filled[rows < 0] = np.nan
    filled[:, columns < 0] = np.nan
    return filled


def _single_figure(drawn: Map) -> Figure:
    height, width = drawn.values.shape
    size = _LONG_SIDE * np.array([width, height]) / max(height, width)
    figure = Figure(
        figsize=(max(size[0], 2.2) + 1.0, max(size[1], 2.6) + 0.3), layout="constrained"
    )
    draw_map(figure.add_subplot(), drawn._replace(title=""))
    return figure


def draw_map(axes: Axes, drawn: Map) -> None:
    """One picture with its colour bar."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(drawn.title, fontsize=10)
    if drawn.colormap is None:
        axes.imshow(np.clip(drawn.values, 0, 1), interpolation="nearest")
        return
    shown = axes.imshow(
        drawn.values,
        cmap=drawn.colormap.with_extremes(bad=_UNKNOWN),
        norm=drawn.norm,
        interpolation="nearest",
    )
    bar = axes.inset_axes((1.03, 0.0, 0.045, 1.0))
    axes.figure.colorbar(shown, cax=bar, extend=drawn.extend, label=drawn.label)


def _headline(name: str, maps: dict[str, np.ndarray], photo: np.ndarray | None) -> str:
    if photo is None:
        return f"{name}: no photograph to compare with"
    text = f"{name}: PSNR {metrics.psnr(maps['mean'], photo):.2f} dB"
    if "pit" in maps:
        covered = 100 * metrics.coverage_from_pit(maps["pit"], 0.9)
        text += f", the 90 % interval covers {covered:.1f} %"
    return text


def _write_picture(path: Path, colors: np.ndarray) -> None:
    factor = -(-_SMALLEST // max(colors.shape[:2]))
    pixels = np.round(255 * np.clip(colors, 0, 1)).astype(np.uint8)
    with atomic_path(path) as partial:
        image.imsave(partial, pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def save_figure(path: Path, figure: Figure) -> None:
    """Write a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as partial:
        FigureCanvasAgg(figure).print_figure(
            partial, dpi=_DPI, bbox_inches="tight", pad_inches=0.08
        )


def _range(values: np.ndarray) -> tuple[float, float]:
    """All but the outermost 2 %, so that a few strays do not take all the colours."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.quantile(known, (0.01, 0.99))
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def upper_end(values: np.ndarray) -> float:
    """The 99 % quantile of the finite values; 1 if there is none above zero."""
    known = values[np.isfinite(values)]
    top = float(np.quantile(known, 0.99)) if known.size else 1.0
    return top if top > 0 else 1.0


def open_ends(values: np.ndarray, scale: Normalize) -> str:
    """Which ends of the colour bar are open, for values beyond the scale."""
    low, high = scale.vmin, scale.vmax
    assert low is not None
    assert high is not None
    ends = (bool(np.any(values < low)), bool(np.any(values > high)))
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[ends]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
