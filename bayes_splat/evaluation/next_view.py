"""``bayes-splat next-view``: rank camera positions by what their photograph is expected to tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bayes_splat import mixtures, report, view_choice
from bayes_splat.config import RunConfig
from bayes_splat.errors import ConfigError
from bayes_splat.evaluation import information, judging, predictive, seen, tables
from bayes_splat.evaluation.information import Unknown
from bayes_splat.evaluation.methods import METHODS, Task, was_stopped
from bayes_splat.evaluation.next_view_config import NextViewPlan
from bayes_splat.evaluation.tables import Row
from bayes_splat.files import writable_folder
from bayes_splat.models import proposals
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.report import Map
from bayes_splat.scenes import loader, splits
from bayes_splat.scenes.synthetic import demo_scene
from bayes_splat.types import Views
from bayes_splat.uncertainty import combine_channels


class NextView(NamedTuple):
    """What came out.

    Attributes:
        text: the ranking and where it lies.
        rows: best first: rank, frame, view, information_pixels and information_joint in nats,
            mean_std (of the scene's colours, 0-1), outside (share of pixels that no
            context view can see), gap_degrees.
        is_interrupted: the sampler was stopped, and the ranking is made of the draws until then.
    """

    text: str
    rows: list[Row]
    is_interrupted: bool


def next_view(plan: NextViewPlan, tell: Callable[[str], None] = print) -> NextView:
    """Draw the scene, render the candidates, rank them and write the table and the figure.

    Raises:
        BayesSplatError: a scene or frame that cannot be used; there is nothing to choose from.
    """
    options, config = plan
    out = writable_folder(options.out)
    judging.set_threads(config.threads)
    frames = options.candidates or other_frames(config)
    context, candidates = view_choice.load_views(replace(config, targets=frames))
    tell(f"drawing the scene by {options.method}")
    proposal = proposals.propose(context, config.proposal)
    task = Task(context, proposal, config, RenderCount(), options.components)
    fitted = METHODS[options.method](task)
    tell(f"rendering {len(candidates)} candidates")
    record = predictive.predict(fitted.model, fitted.draws, candidates.cameras, options.components)
    unseen = seen.find(fitted.model, candidates)
    found = information.unknown(record, fitted.discrepancy)
    rows = rank(found, frames, candidates.names, unseen.is_outside, unseen.gap, options.score)
    tables.write_csv(out / "candidates.csv", rows)
    order = [frames.index(int(row["frame"])) for row in rows[: options.shown]]
    report.save_figure(
        out / "candidates.png", figure(found, candidates, rows, order, options.score)
    )
    lines = [
        f"{row['rank']:.0f}. frame {row['frame']:.0f} ({row['view']}): "
        f"{row[f'information_{options.score}']:.1f} nats"
        for row in rows[: options.shown]
    ]
    text = "\n".join([*lines, f"The ranking of all {len(rows)} and a figure lie in {out}"])
    return NextView(text, rows, was_stopped(fitted.draws, config.time_limit))


def other_frames(config: RunConfig) -> list[int]:
    """The frames of the scene that are not in the context.

    Raises:
        ConfigError: there is none.
    """
    context = config.context or [0, 1]
    if config.scene == "demo":
        frames = list(range(len(demo_scene(config.resolution))))
    else:
        folder = Path(config.scene)
        if config.split is not None and config.context is None:
            context = list(splits.load_split(folder, config.split).context)
        frames = sorted(loader.poses(folder))
    found = [frame for frame in frames if frame not in context]
    if not found:
        raise ConfigError(f"{config.scene} has no frame but those in context; there is no choice")
    return found


def rank(
    unknown: Unknown,
    frames: list[int],
    names: tuple[str, ...],
    is_outside: np.ndarray,
    gap: Float[np.ndarray, " view"],
    score: str,
) -> list[Row]:
    """A row a candidate, the one that tells most first; see ``NextView``."""
    scores = {name: function(unknown) for name, function in information.SCORES.items()}
    std = combine_channels(_std(unknown))
    rows: list[Row] = []
    for number, i in enumerate(np.argsort(-scores[score], kind="stable"), 1):
        rows.append(
            {
                "rank": float(number),
                "frame": float(frames[i]),
                "view": names[i],
                **{f"information_{name}": float(found[i]) for name, found in scores.items()},
                "mean_std": float(std[i].mean()),
                "outside": float(is_outside[i].mean()),
                "gap_degrees": float(gap[i]),
            }
        )
    return rows


def _std(unknown: Unknown) -> np.ndarray:
    """What is not known of the scene's colours, as a standard deviation."""
    return np.asarray(np.sqrt(np.square(mixtures.spread(unknown.means)) + unknown.unseen))


def figure(unknown: Unknown, views: Views, rows: list[Row], order: list[int], score: str) -> Figure:
    """The best candidates: expected picture, and where it is uncertain, on one scale."""
    means = mixtures.mean(unknown.means)
    spreads = combine_channels(_std(unknown))
    scale = Normalize(0, report.upper_end(spreads[order]))
    height, width = views.cameras.image_shape
    cell = 2.4 * np.array([width, height]) / max(height, width)
    drawn = Figure(
        figsize=(len(order) * (cell[0] + 0.15) + 1.0, 2 * (cell[1] + 0.15) + 0.7),
        layout="constrained",
    )
    grid = drawn.subplots(2, len(order), squeeze=False)
    for column, (i, row) in enumerate(zip(order, rows, strict=False)):
        title = f"{views.names[i]}: {row[f'information_{score}']:.0f} nats"
        report.draw_map(grid[0, column], Map(title, means[i]))
        axes = grid[1, column]
        axes.set_xticks([])
        axes.set_yticks([])
        shown = axes.imshow(
            spreads[i], cmap=colormaps["magma"], norm=scale, interpolation="nearest"
        )
    grid[0, 0].set_ylabel("expected picture", fontsize=9)
    grid[1, 0].set_ylabel("std", fontsize=9)
    drawn.colorbar(shown, ax=grid.ravel().tolist(), label="colour (0-1)", aspect=30, fraction=0.04)
    return drawn
