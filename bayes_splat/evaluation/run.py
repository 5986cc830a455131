"""``bayes-splat evaluate``: every method on every scene, kept as it comes, and what it comes to.

A method that is done on a scene stays done: the same command on the same ``out`` goes on where it
was stopped. A method that fails leaves a row that says why, and is tried again next time.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bayes_splat import report, view_choice
from bayes_splat.errors import BayesSplatError, OutputError
from bayes_splat.evaluation import figures, judging, summary, tables
from bayes_splat.evaluation.config import (
    EvaluateConfig,
    Plan,
    PlannedScene,
    has_learned_error,
    is_baseline,
    kind_of,
    label_of,
)
from bayes_splat.evaluation.curves import Curves
from bayes_splat.evaluation.judging import RAW, SCALED, Judged, Target
from bayes_splat.evaluation.methods import METHODS, Task, with_learned_error
from bayes_splat.evaluation.tables import Row
from bayes_splat.files import atomic_path, writable_folder
from bayes_splat.models import proposals
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.types import Views

VIEWS, SCENES, RESULT, MAPS = "metrics.csv", "scenes.csv", "result.json", "maps.npz"
"""Files: a row a view; a row a scene; of one method on one scene; its pictures."""

Tell = Callable[[str], None]


class Evaluation(NamedTuple):
    """What an evaluation came to.

    Attributes:
        text: a short table and where everything lies.
        views, scenes: rows.
        is_interrupted: stopped before its end; what was done is in the tables.
    """

    text: str
    views: list[Row]
    scenes: list[Row]
    is_interrupted: bool


def evaluate(plan: Plan, tell: Tell = print) -> Evaluation:
    """Do what is planned, or put earlier evaluations together.

    Args:
        plan: from ``config.compose_evaluate``.
        tell: told what happens.

    Raises:
        BayesSplatError: a scene that cannot be used, or nothing to write.
        KeyboardInterrupt: stopped before any method was done.
    """
    options = plan.options
    if options.runs is not None:
        return _finish(options, [Path(folder) for folder in options.runs], False)
    out = writable_folder(options.out)
    folders = [out / scene.name for scene in plan.scenes]
    is_interrupted = False
    try:
        for number, scene in enumerate(plan.scenes, 1):
            tell(f"{scene.name}: scene {number} of {len(plan.scenes)}")
            evaluate_scene(out / scene.name, scene, options, tell)
            _write_page(options, [f for f in folders if (f / SCENES).is_file()])
    except KeyboardInterrupt:
        is_interrupted = True
        folders = [folder for folder in folders if (folder / SCENES).is_file()]
        if not folders:
            raise
    return _finish(options, folders, is_interrupted)


def evaluate_scene(
    folder: Path, scene: PlannedScene, options: EvaluateConfig, tell: Tell = print
) -> None:
    """Every method that is not done yet on one scene; then its tables and figures.

    Raises:
        BayesSplatError: the scene cannot be used.
        KeyboardInterrupt: the user stopped a method; those before it are kept.
    """
    labels = {label_of(entry): entry for entry in options.methods}
    missing = [name for name in labels if not _is_done(folder / name, scene.settings[name])]
    if not missing and _methods_of(folder) == set(labels):
        tell(f"{scene.name}: done already")
        return
    config = next(iter(scene.configs.values()))
    judging.set_threads(config.threads)
    context, targets = view_choice.load_views(config)
    if targets.images.isnan().all():
        targets = _depth_targets(context, scene.name)
    if not missing:  # the tables are those of other methods
        _write_scene(folder, list(labels), targets)
        return
    proposal = proposals.propose(context, config.proposal)
    prepared = judging.prepare(Task(context, proposal, config, RenderCount()), targets)
    try:
        for name in missing:
            task = Task(context, proposal, scene.configs[name], RenderCount(), options.components)
            tell(f"{scene.name}: {name}")
            _run(folder / name, labels[name], task, prepared, scene, options, tell)
    finally:
        if any((folder / name / RESULT).is_file() for name in labels):
            _write_scene(folder, list(labels), targets)


def _depth_targets(context: Views, name: str) -> Views:
    """Context views with true depth, their photographs blanked: a stereo pair has no others.

    Raises:
        BayesSplatError: there is nothing to judge by.
    """
    depths = context.depths
    if depths is None:
        raise BayesSplatError(
            f"{name} has neither a photograph of a target view nor true depth to judge by; give "
            "targets=[...]"
        )
    known = [i for i, depth in enumerate(depths) if bool(depth.isfinite().any())]
    return replace(context[known], images=torch.full_like(context.images[known], torch.nan))


def _run(
    folder: Path,
    entry: str,
    task: Task,
    target: Target,
    scene: PlannedScene,
    options: EvaluateConfig,
    tell: Tell,
) -> None:
    """One method; a failure becomes its result."""
    name, method = label_of(entry), METHODS[kind_of(entry)]
    if has_learned_error(entry):
        method = with_learned_error(method)
    about: Row = {"scene": scene.scene, "split": scene.split, "method": name}
    record: dict[str, Any] = {"settings": scene.settings[name]}
    try:
        judged = judging.judge(task, method, target, options.scale_from)
    except Exception as error:  # whatever it is, the other methods go on
        text = " ".join(str(error).split()) or type(error).__name__
        tell(f"{scene.name}: {name} failed: {text}")
        failed: Row = {**about, "scaling": RAW, "error": text}
        record |= {"error": text, "views": [failed], "scene": [failed], "curves": {}}
    else:
        record |= {
            "error": None,
            "views": [{**about, **row} for row in judged.views],
            "scene": [{**about, **row} for row in judged.scene],
            "curves": judged.curves,
        }
        _save_maps(folder / MAPS, judged)
    with atomic_path(folder / RESULT) as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")


def _save_maps(path: Path, judged: Judged) -> None:
    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            allow_pickle=False,
            mean=judged.mean.astype(np.float16),
            std=judged.std.astype(np.float16),
        )


def _is_done(folder: Path, settings: Sequence[str]) -> bool:
    if not (folder / RESULT).is_file():
        return False
    record = _read(folder / RESULT)
    return record.get("settings") == list(settings) and record.get("error") is None


def _write_scene(folder: Path, labels: Sequence[str], targets: Views) -> None:
    """Tables and figures of one scene from the results of its methods."""
    records = {name: _read(folder / name / RESULT) for name in labels if _has(folder / name)}
    _write_rows(folder, list(records.values()))
    done = [name for name, record in records.items() if record["error"] is None]
    if not done or bool(targets.images.isnan().all()):
        return
    _write_curves(folder, *_curves_of([records[name] for name in done], done))
    maps = {name: np.load(folder / name / MAPS) for name in done}
    means = {name: found["mean"].astype(np.float64) for name, found in maps.items()}
    stds = {name: found["std"].astype(np.float64) for name, found in maps.items()}
    photos = targets.images.movedim(1, -1).double().numpy()
    for i, view in enumerate(report.folder_names(targets.names)):
        drawn = figures.panel(
            f"{folder.name}: {targets.names[i]}",
            photos[i],
            {name: mean[i] for name, mean in means.items()},
            {name: std[i] for name, std in stds.items()},
        )
        report.save_figure(folder / "panels" / f"{view}.png", drawn)


def _write_rows(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    for file, key in ((VIEWS, "views"), (SCENES, "scene")):
        tables.write_csv(folder / file, [row for record in records for row in record[key]])


def _curves_of(
    records: Sequence[dict[str, Any]], names: Sequence[str]
) -> tuple[dict[str, Curves], dict[str, Curves]]:
    raw, scaled = (
        {name: record["curves"][key] for name, record in zip(names, records, strict=True)}
        for key in (RAW, SCALED)
    )
    return raw, scaled


def _write_curves(folder: Path, raw: dict[str, Curves], scaled: dict[str, Curves]) -> list[str]:
    drawn = {
        "sparsification.png": figures.sparsification(raw),
        "reliability.png": figures.reliability(raw, scaled),
        "scatter.png": figures.scatter(raw),
    }
    for name, figure in drawn.items():
        report.save_figure(folder / name, figure)
    return list(drawn)


def _finish(options: EvaluateConfig, folders: Sequence[Path], is_interrupted: bool) -> Evaluation:
    """Tables and figures of all scenes together."""
    views, scenes = _write_page(options, folders)
    out = Path(options.out)
    where = f"Tables and figures lie in {out}; {out / 'summary.html'} shows them together"
    return Evaluation(f"{summary.short(views)}\n\n{where}", views, scenes, is_interrupted)


def _write_page(options: EvaluateConfig, folders: Sequence[Path]) -> tuple[list[Row], list[Row]]:
    out = Path(options.out)
    views = [row for folder in folders for row in tables.read_csv(folder / VIEWS)]
    scenes = [row for folder in folders for row in tables.read_csv(folder / SCENES)]
    if not views:
        raise OutputError(f"there is nothing to put together in {', '.join(map(str, folders))}")
    tables.write_csv(out / VIEWS, views)
    tables.write_csv(out / SCENES, scenes)
    columns = [name for name, _, _ in (*summary.METRICS, *summary.CALIBRATION, *summary.DEPTH)]
    tables.write_csv(out / "aggregate.csv", tables.aggregate(views, columns))
    drawn = _mean_curves(folders)
    names = _write_curves(out, *drawn) if drawn[0] else []
    ours = [name for name, _ in tables.methods(views) if not is_baseline(name)]
    text = summary.markdown(views, scenes, list(dict.fromkeys(ours)), names)
    for file, content in (("summary.md", text), ("summary.html", summary.as_html(text))):
        with atomic_path(out / file) as partial:
            partial.write_text(content, encoding="utf-8")
    return views, scenes


def _mean_curves(folders: Sequence[Path]) -> tuple[dict[str, Curves], dict[str, Curves]]:
    """Curves of every method, means over the scenes below the folders that hold results."""
    raw: dict[str, list[Curves]] = {}
    scaled: dict[str, list[Curves]] = {}
    for record in _records(folders):
        name = str(record["views"][0]["method"])
        raw.setdefault(name, []).append(record["curves"][RAW])
        scaled.setdefault(name, []).append(record["curves"][SCALED])
    return tuple(  # type: ignore[return-value]
        {name: figures.mean_curves(every) for name, every in found.items()}
        for found in (raw, scaled)
    )


def _records(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The results that the folders' tables are made of; others may lie there from before."""
    for folder in folders:
        known = {_place(row) for row in tables.read_csv(folder / SCENES)}
        for path in sorted(folder.rglob(RESULT), key=lambda path: path.stat().st_mtime):
            record = _read(path)
            is_shown = _place(record["scene"][0]) in known
            if is_shown and record.get("error") is None and record["curves"]:
                yield record


def _place(row: Row) -> tuple[str, ...]:
    """What a row of a scene's table is about."""
    return str(row["scene"]), str(row["split"]), str(row["method"])


def _methods_of(folder: Path) -> set[str]:
    """Methods in the tables of a scene; none where there are no tables."""
    if not (folder / SCENES).is_file():
        return set()
    return {str(row["method"]) for row in tables.read_csv(folder / SCENES)}


def _has(folder: Path) -> bool:
    return (folder / RESULT).is_file()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}); delete it and run again") from error
    return dict(record)
