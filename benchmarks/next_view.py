"""What one more photograph buys, by the rule that chose it: information, distance, or chance.

Of the frames that stand nearest to the two context views, every other one may be chosen; the
rest are held out. Every candidate is tried, so that chance is the mean over candidates and the
best choice is known. Scenes are read from BAYES_SPLAT_DATA (default ../shared/data).

    python benchmarks/next_view.py                          # the scenes of docs/evaluation.md
    python benchmarks/next_view.py fox:pair_small_0 --pool 8 --set resolution=24
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bayes_splat import view_choice
from bayes_splat.config import RunConfig, compose_config
from bayes_splat.errors import BayesSplatError
from bayes_splat.evaluation import information, judging, predictive, scores, tables
from bayes_splat.evaluation.methods import METHODS, Fitted, Task
from bayes_splat.models import proposals
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.scenes import loader, splits
from bayes_splat.types import Views

SCENES = (
    "fox:pair_small_0",
    "fern:pair_small_0",
    "kitchen_a:pair_small_0",
    "dtu37:pair_small_0",
    "sceaux:pair_medium_0",
)
SETTINGS = ("resolution=32", "chains=2", "warmup=30", "draws=60", "threads=1")
RULES = ("chance", "farthest", "information_pixels", "information_joint", "best")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=SCENES, help="scene:split")
    parser.add_argument("--pool", type=int, default=12, help="frames, half of them held out")
    parser.add_argument("--set", action="append", default=[], help="an option of the runs")
    parser.add_argument("--out", default="outputs/next_view", type=Path)
    arguments = parser.parse_args()
    data = Path(os.environ.get("BAYES_SPLAT_DATA", "../shared/data"))
    rows = []
    for name in arguments.scenes:
        scene, _, split = name.partition(":")
        overrides = [f"scene={data / scene}", f"split={split}", *SETTINGS, *arguments.set]
        rows += of_scene(name, compose_config(overrides)[0], arguments.pool)
        tables.write_csv(arguments.out / "next_view.csv", rows)
        print(table(rows, [name]), flush=True)
    print(table(rows, arguments.scenes))


def of_scene(name: str, config: RunConfig, pool: int) -> list[tables.Row]:
    """One row before, and one a candidate: scores on the held-out frames, and what rules say."""
    folder = Path(config.scene)
    split = splits.load_split(folder, config.split or "")
    poses = {frame: pose[:3, 3] for frame, pose in loader.poses(folder).items()}
    distance = {
        frame: min(float((centre - poses[seen]).norm()) for seen in split.context)
        for frame, centre in poses.items()
        if frame not in split.context
    }
    near = sorted(sorted(distance, key=distance.__getitem__)[:pool])
    choices, held_out = near[::2], near[1::2]
    plain = replace(config, context=list(split.context), near=split.near, far=split.far, split=None)
    context, views = view_choice.load_views(replace(plain, targets=near))
    base, fitted = run(plain, context, views[[near.index(frame) for frame in held_out]])
    record = predictive.predict(
        fitted.model, fitted.draws, views[[near.index(f) for f in choices]].cameras
    )
    unknown = information.unknown(record, fitted.discrepancy)
    told = {rule: function(unknown) for rule, function in information.SCORES.items()}
    rows: list[tables.Row] = [{"scene": name, "frame": -1.0, **base}]
    for i, frame in enumerate(choices):
        more = view_choice.load_views(
            replace(plain, context=[*split.context, frame], targets=held_out)
        )
        row: tables.Row = {
            "scene": name,
            "frame": float(frame),
            "distance": distance[frame],
            **{f"information_{rule}": float(found[i]) for rule, found in told.items()},
        }
        try:
            row |= run(plain, *more)[0]
        except BayesSplatError as error:
            row["error"] = str(error)
        rows.append(row)
        print(row, flush=True)
    return rows


def run(config: RunConfig, context: Views, targets: Views) -> tuple[dict[str, float], Fitted]:
    """PSNR and NLL on the targets, and the fitted method."""
    proposal = proposals.propose(context, config.proposal)
    task = Task(context, proposal, config, RenderCount())
    fitted = METHODS[config.sampler.name](task)
    record = predictive.predict(
        fitted.model, fitted.draws, targets.cameras, discrepancy=fitted.discrepancy
    )
    truth = judging.prepare(task, targets).truth
    found = scores.score(scores.maps(record, truth), truth)
    return {key: found[key] for key in ("psnr", "nll", "crps", "coverage_90")}, fitted


def chosen(rows: Sequence[tables.Row], rule: str, metric: str) -> float:
    """The metric with the view that a rule chooses."""
    values = np.array([float(row[metric]) for row in rows])
    if rule == "chance":
        return float(values.mean())
    if rule == "best":
        return float(values.max() if metric == "psnr" else values.min())
    key = "distance" if rule == "farthest" else rule
    return float(values[int(np.argmax([float(row[key]) for row in rows]))])


def table(rows: Sequence[tables.Row], scenes: Sequence[str]) -> str:
    """Change of PSNR (dB, more is better) and NLL (nats, less is better), scene by scene."""
    lines = ["| scene | metric | two views | " + " | ".join(RULES) + " |", "|---" * 8 + "|"]
    every: dict[str, list[list[float]]] = {}
    for scene in scenes:
        mine = [row for row in rows if row["scene"] == scene]
        before, tried = mine[0], [row for row in mine[1:] if not row.get("error")]
        for metric in ("psnr", "nll"):
            gains = [chosen(tried, rule, metric) - float(before[metric]) for rule in RULES]
            every.setdefault(metric, []).append(gains)
            cells = [f"{gain:+.2f}" for gain in gains]
            lines.append(f"| {scene} | {metric} | {before[metric]:.2f} | {' | '.join(cells)} |")
    for metric, gains in every.items():
        cells = [f"{gain:+.2f}" for gain in np.mean(gains, 0)]
        lines.append(f"| mean | {metric} | | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
