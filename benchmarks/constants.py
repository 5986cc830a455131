"""Constants of the model and of its error of new views, chosen on random scenes: no photograph.

On procedural scenes of the split ``val`` the default sampler runs for a moment with several
strengths of the smooth prior (``model.smoothness``); the pictures of the target views are compared
with their photographs. Scenes are of three kinds in turn, by their exposure: steady, as in
photographs of one minute; drifting, a Brownian motion along the cameras, where every other scene
has target views outside of its pair; and moving from photograph to photograph.

Then, for the strength that is the default, the discrepancy (``bayes_splat.discrepancy``) is fitted
on the held-out context views and the target views are judged, with other r, t, f and q, and with
one factor on all errors in place of e and t: means over scenes of a kind.

    python benchmarks/constants.py --smoothness 20    # 48 scenes, 64 pixels: about 15 CPU minutes
    python benchmarks/constants.py                    # with two other strengths beside it
    python benchmarks/constants.py --smoothness 20 --context 3 --resolution 48
"""

import argparse
import math
from dataclasses import replace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy import stats

from bayes_splat import (
    calibration_metrics,
    discrepancy,
    error_law,
    held_out,
    metrics,
    predictions,
    remoteness,
)
from bayes_splat.discrepancy import Pictures
from bayes_splat.evaluation import seen as never_seen
from bayes_splat.inference import sample_posterior
from bayes_splat.models import proposals
from bayes_splat.models.assembly import assemble
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import ModelConfig
from bayes_splat.scenes.procedural import ProceduralOptions, procedural_scene
from bayes_splat.types import Views
from bayes_splat.uncertainty import combine_channels

CHAINS, WARMUP, DRAWS = 4, 30, 60
STEADY, MOVING = 0.02, 0.08
"""``ProceduralOptions.exposure``."""

DRIFT = (0.01, 0.12)
"""Standard deviation of log gains over the distance of the pair: least and most, log-uniform."""

KINDS = ("steady", "drifting", "moving")

ROWS: list[dict[str, float]] = [
    {"e": 0.65},
    {"e": 0.95},
    {},
    {"r": 1.4},
    {"r": 2.1},
    {"t": 0.5},
    {"t": 1.0},
    {"f": 2.2, "r": 1.6, "t": 0.66},
    {"f": 3.0, "r": 1.9, "t": 0.74},
    {"f": 4.0, "r": 2.1, "t": 0.8},
    {"q": 1.0},
    {"q": 0.5},
]
"""What is changed; e: one factor in place of r, t and the distance of cameras."""


class Seen(NamedTuple):
    """What one scene shows: held-out context views and target views, each with photographs."""

    context: Pictures
    context_photographs: np.ndarray
    target: Pictures
    target_photographs: np.ndarray
    remoteness: np.ndarray
    is_never_seen: np.ndarray
    kind: str


class Judged(NamedTuple):
    """Of one scene: what the columns of the table say."""

    covered: float
    calibration_error: float
    patches: float
    width: float
    nll: float
    auroc: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--context", type=int, default=2, help="context views")
    parser.add_argument("--smoothness", type=float, nargs="+", default=[10.0, 20.0, 40.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| smoothness | PSNR, dB, by scene | mean |\n|---|---|---|")
    default, kept = ModelConfig().smoothness, []
    for strength in arguments.smoothness:
        scenes = [
            seen(seed, arguments.resolution, strength, arguments.context)
            for seed in range(arguments.scenes)
        ]
        ratios = [metrics.psnr(s.target.mean, s.target_photographs) for s in scenes]
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {strength:g} | {listed} | {np.mean(ratios):.2f} |", flush=True)
        kept = scenes if strength == default else kept
    if not kept:
        return
    columns = "covers (range) | ECE | NLL | patches | width"
    print(f"\n| | kind of scene | {columns} | AUROC never seen (least) |\n|{'---|' * 8}")
    for row in ROWS:
        for kind in KINDS:
            found = [judged(scene, row) for scene in kept if scene.kind == kind]
            if found:
                print(line(row, kind, found), flush=True)


def line(row: dict[str, float], kind: str, found: "list[Judged]") -> str:
    """A row of the table."""
    values = np.array(found)
    mean, least, most = values.mean(0), values.min(0), values.max(0)
    changed = ", ".join(f"{name} = {value:g}" for name, value in row.items()) or "as it is"
    return (
        f"| {changed} | {kind} | {100 * mean[0]:.1f} % ({100 * least[0]:.0f} to "
        f"{100 * most[0]:.0f}) | {mean[1]:.4f} | {mean[4]:.4f} | {100 * mean[2]:.1f} % | "
        f"{mean[3]:.3f} | {np.nanmean(values[:, 5]):.3f} ({np.nanmin(values[:, 5]):.2f}) |"
    )


def photographs(seed: int, resolution: int, num_context: int) -> tuple[Views, Views, str]:
    """Context views, three target views, and the kind of the scene."""
    kind, number = KINDS[seed % len(KINDS)], num_context + 3
    exposure = {"steady": STEADY, "drifting": 0.0, "moving": MOVING}[kind]
    options = ProceduralOptions(exposure=exposure)
    views = procedural_scene(seed, "val", resolution, num_views=number, options=options)
    if kind == "drifting":
        views = drifting(views, seed)
        if seed // len(KINDS) % 2:  # the second context view changes places with the last target
            views = views[[0, number - 1, *range(2, number - 1), 1]]
    return views[:num_context], views[num_context:], kind


def drifting(views: Views, seed: int) -> Views:
    """The views with log gains that follow a Brownian motion along the cameras, also by channel."""
    rng = np.random.default_rng(seed)
    places = views.cameras.extrinsics[:, :3, 3].double().numpy()
    unit = np.linalg.norm(places[0] - places[1])
    start = places[0] - unit * rng.normal(size=3)
    from_start = np.linalg.norm(places - start, axis=1)
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    covariance = 0.5 * (from_start[:, None] + from_start - apart) / unit
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(places)))
    size = math.exp(rng.uniform(*np.log(DRIFT)))
    shape = (len(places), 1), (len(places), 3)
    gains = size * root @ (rng.normal(size=shape[0]) + rng.normal(size=shape[1]) / 3.0)
    factors = torch.from_numpy(np.exp(gains)).float()[..., None, None]
    return replace(views, images=(views.images * factors).clamp(0.0, 1.0))


def seen(seed: int, resolution: int, strength: float, num_context: int = 2) -> Seen:
    """A random scene, some context views and three targets, sampled for a moment."""
    context, targets, kind = photographs(seed, resolution, num_context)
    proposal = proposals.propose(context, EncoderConfig())
    model = assemble(proposal, context, replace(ModelConfig(), smoothness=strength), "cpu")
    with mock.patch.object(discrepancy, "fit", wraps=discrepancy.fit) as fitted:
        learned = held_out.learn(model)
    draws = sample_posterior(learned.model, chains=CHAINS, warmup=WARMUP, draws=DRAWS, seed=0)
    maps, *_ = predictions.predict(learned.model, draws, targets)
    pictures = predictions.pictures_of(maps)
    truth = targets.images.movedim(1, -1).double().numpy()
    far = remoteness.of_views(context.cameras, targets.cameras)
    unseen = never_seen.find(model, targets).is_never_seen
    return Seen(*fitted.call_args.args, pictures, truth, far, unseen, kind)


def judged(scene: Seen, row: dict[str, float]) -> Judged:
    """The target views under the Student-t itself, not the mixture that stands for it."""
    freedom, number = row.get("f", error_law.FREEDOM), len(scene.context_photographs)
    changed: dict[str, Any] = {"FREEDOM": freedom, "THINNING": row.get("q", discrepancy.THINNING)}
    if "r" in row or "e" in row:
        changed["ROUGH"] = {number: row.get("r", row.get("e"))}
    if "t" in row or "e" in row:
        changed["UNSEEN"] = row.get("t", row.get("e"))
    with mock.patch.multiple(discrepancy, **changed):
        found = discrepancy.fit(scene.context, scene.context_photographs)
        if "e" in row:
            found = found._replace(smooth_share=0.0)
        scale = np.sqrt(found.squared_scale(scene.target, scene.remoteness))
    mean, truth = scene.target.mean, scene.target_photographs
    ratio = (truth - mean) / scale
    pit = stats.t.cdf(ratio, freedom)
    inside = calibration_metrics.is_inside(pit, 0.9)
    reach = stats.t.ppf(0.95, freedom) * scale
    width = calibration_metrics.width_at_coverage(mean - reach, mean, mean + reach, truth)
    return Judged(
        covered=metrics.coverage_from_pit(pit, 0.9),
        calibration_error=metrics.expected_calibration_error(pit),
        patches=calibration_metrics.event_coverage(inside),
        width=width / calibration_metrics.constant_width(mean, truth),
        nll=float(np.mean(np.log(scale) - stats.t.logpdf(ratio, freedom))),
        auroc=calibration_metrics.auroc(combine_channels(scale), scene.is_never_seen),
    )


if __name__ == "__main__":
    main()
