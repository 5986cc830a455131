"""Which targets and samplers converge on real pairs: ``benchmarks/convergence.py [scene:split]``.

Every line is one run of ``bayes-splat reconstruct`` with two context views and four chains that
start apart, judged by colour and depth at about 1,024 fixed pixels of the target views: a quantity
has converged if its R-hat is below 1.05 and its bulk ESS above 100. Pixels that no Gaussian covers
in any draw are constant, have no R-hat, and count as not converged; "constant" is their share.
``--variant name:option=value,...`` compares targets and samplers; ``--figure`` draws curves over
the draws. Scenes are read from BAYES_SPLAT_DATA (default ../shared/data).

    python benchmarks/convergence.py --all        # every two-view split, ten minutes each
    python benchmarks/convergence.py fox:pair_medium_0 --set resolution=48 --set time_limit=60 \\
        --variant bucket:model.order=bucket --variant center:model.order=center --figure order.png
"""

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from omegaconf import OmegaConf

from bayes_splat import arviz_bridge, config, convergence, pipeline, results, view_choice
from bayes_splat.diagnostics import MAX_RHAT, MIN_ESS
from bayes_splat.progress import Progress

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SETTINGS = (
    "resolution=128",
    "chains=4",
    "warmup=50",
    "draws=100000",
    "time_limit=600",
    "save=none",
)
COLUMNS = (
    "scene, split",
    "variant",
    "draws",
    "seconds",
    "PSNR, dB",
    "coverage 90 %",
    "colours converged",
    "depths converged",
    "constant",
    "R-hat of colour, median (90 %)",
    "R-hat of depth, median (90 %)",
    "ESS colour, depth",
)
POINTS = 8
"""Lengths of run at which a curve is looked at."""


class Series(NamedTuple):
    """Draws at target pixels.

    Attributes:
        color: every channel of every pixel, [chain draw quantity].
        depth: [chain draw pixel].
        alpha: mean over draws, [pixel].
        place: view, row and column of every pixel, [3 pixel].
    """

    color: np.ndarray
    depth: np.ndarray
    alpha: np.ndarray
    place: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", nargs="*", default=["fox:pair_medium_0"], help="scene:split")
    parser.add_argument("--all", action="store_true", help="every split with two context views")
    parser.add_argument("--set", action="append", default=[], help="an option of every run")
    parser.add_argument("--variant", action="append", default=[], help="name:option=value,...")
    parser.add_argument("--figure", type=Path, help="curves, one panel a scene")
    parser.add_argument("--out", default="outputs/convergence", type=Path)
    arguments = parser.parse_args()
    data = Path(os.environ.get("BAYES_SPLAT_DATA", "../shared/data"))
    scenes = every_pair(data) if arguments.all else arguments.scenes
    variants = dict(_variant(text) for text in arguments.variant or ["default:"])
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    curves: dict[str, dict[str, np.ndarray]] = {}
    notes = []
    for scene in scenes:
        for name, options in variants.items():
            out = arguments.out / f"{scene.replace(':', '-')}-{name}"
            series, run, photographs = sampled(data, scene, out, [*arguments.set, *options])
            print(row(scene, name, series, run), flush=True)
            notes.append(f"{scene} {name}: {what_fails(series, photographs)}")
            curves.setdefault(scene, {})[name] = curve(series)
            if arguments.figure:
                draw(curves, arguments.figure)
    print(
        "\nWhat the depths that have not converged have in common (medians, against the others):\n"
    )
    print("\n".join(notes))


def every_pair(data: Path) -> list[str]:
    """``scene:split`` of all splits with two context views and a target."""
    found = []
    for path in sorted(data.glob("*/splits.json")):
        for split in json.loads(path.read_text()):
            if len(split["context"]) == 2:
                found.append(f"{path.parent.name}:{split['name']}")
    return found


def sampled(
    data: Path, scene: str, out: Path, options: list[str]
) -> tuple[Series, dict, np.ndarray]:
    """One run: its draws at target pixels, its ``run.json`` and the target photographs."""
    folder, _, split = scene.partition(":")
    chosen, tree = config.compose_config(
        [f"scene={data / folder}", f"split={split}", f"out={out}", *SETTINGS, *options]
    )
    with Progress(line_every=120.0) as progress:
        summary = pipeline.reconstruct(chosen, OmegaConf.to_yaml(tree), progress)
    names = ("predictions", "predictions_constant_data")
    saved = results.load(summary.out / "posterior.nc", names)
    drawn, fixed = (arviz_bridge.group(saved, name) for name in names)
    color = drawn["color"].values
    series = Series(
        color.reshape(*color.shape[:2], -1),
        drawn["depth"].values,
        drawn["alpha"].values.mean((0, 1)),
        np.stack([fixed[f"pixel_{axis}"].values for axis in ("view", "row", "column")]),
    )
    _, targets = view_choice.load_views(chosen)
    run = json.loads((summary.out / "run.json").read_text())
    return series, run, targets.images.numpy()


def converged(draws: np.ndarray) -> np.ndarray:
    """Which quantities of [chain draw quantity] have."""
    found: np.ndarray = (convergence.rhat(draws) < MAX_RHAT) & (
        convergence.ess_bulk(draws) > MIN_ESS
    )
    return found


def curve(series: Series) -> np.ndarray:
    """Draws made, share of colours and share of depths that have converged: [point 3]."""
    total = series.depth.shape[1]
    lengths = np.unique(np.linspace(max(8, total // POINTS), total, POINTS).astype(int))
    return np.array(
        [
            [n, *(converged(draws[:, n // 3 : n]).mean() for draws in (series.color, series.depth))]
            for n in lengths
        ]
    )


def row(scene: str, variant: str, series: Series, run: dict) -> str:
    """One line of the table; the first third of the draws is left out as warmup."""
    kept = [draws[:, draws.shape[1] // 3 :] for draws in (series.color, series.depth)]
    rhats = [convergence.rhat(draws) for draws in kept]
    sizes = [float(np.nanmedian(convergence.ess_bulk(draws))) for draws in kept]
    scores, seconds = run["scores"], run["seconds"]
    cells = (
        scene,
        variant,
        f"{run['num_chains']} x {run['num_draws']}",
        f"{seconds['warmup'] + seconds['sampling']:.0f}",
        f"{np.mean(scores['psnr']):.2f}" if "psnr" in scores else "-",
        f"{100 * scores['coverage_90']:.1f}" if "coverage_90" in scores else "-",
        *(f"{100 * converged(draws).mean():.1f} %" for draws in kept),
        f"{100 * (np.ptp(kept[1], axis=(0, 1)) == 0).mean():.1f} %",
        *(f"{np.nanmedian(r):.3f} ({np.nanquantile(r, 0.9):.3f})" for r in rhats),
        f"{sizes[0]:.0f}, {sizes[1]:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def what_fails(series: Series, photographs: np.ndarray) -> str:
    """Where depths have not converged: contrast, light that gets through, spread, border."""
    kept = series.depth[:, series.depth.shape[1] // 3 :]
    good = converged(kept)
    view, line, column = series.place
    contrast = np.stack([_local_contrast(image.mean(0)) for image in photographs])
    height, width = contrast.shape[1:]
    border = np.minimum.reduce([line, column, height - 1 - line, width - 1 - column])
    features = {
        "contrast of the photograph": contrast[view, line, column],
        "alpha": series.alpha,
        "std / mean of depth": kept.std((0, 1)) / kept.mean((0, 1)),
        "std between / within chains": kept.mean(1).std(0) / np.maximum(kept.std(1).mean(0), 1e-12),
        "pixels to the border": border.astype(float),
    }
    if good.all() or not good.any():
        return "all have" if good.all() else "none has"
    return "; ".join(
        f"{name} {np.nanmedian(values[~good]):.3g} against {np.nanmedian(values[good]):.3g}"
        for name, values in features.items()
    )


def _local_contrast(image: np.ndarray) -> np.ndarray:
    """Standard deviation of grey values over 5 x 5 pixels."""
    padded = np.pad(image, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    found: np.ndarray = windows.std((-2, -1))
    return found


def draw(curves: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Share that has converged against the draws made; full lines colour, dashed depth."""
    figure, axes = plt.subplots(
        1, len(curves), figsize=(4.2 * len(curves) + 1.5, 3.6), squeeze=False, sharey=True
    )
    for axis, (scene, variants) in zip(axes[0], curves.items(), strict=True):
        for number, (name, points) in enumerate(variants.items()):
            color = f"C{number}"
            axis.plot(points[:, 0], 100 * points[:, 1], "-", color=color, label=f"{name}, colour")
            axis.plot(points[:, 0], 100 * points[:, 2], "--", color=color, label=f"{name}, depth")
        axis.set(title=scene, xlabel="draws a chain", ylim=(0, 100))
    axes[0, 0].set_ylabel("target quantities converged, %")
    axes[0, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def _variant(text: str) -> tuple[str, list[str]]:
    name, _, options = text.partition(":")
    return name, _split_options(options)


def _split_options(text: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


if __name__ == "__main__":
    main()
