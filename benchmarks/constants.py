"""Constants of the model and of its error of new views, chosen on random scenes: no photograph.

On procedural scenes of the split ``val`` the default sampler runs for a moment with several
strengths of the smooth prior (``model.smoothness``); the pictures of the target views are compared
with their photographs. Every other scene has steady exposure, as photographs of one minute have.
Then, for the strength that is the default, the discrepancy (``bayes_splat.discrepancy``) is fitted
on the held-out context views and the target views are judged, with other degrees of freedom f (and
the factor e that makes up for them), other p, and other q: means over scenes.

    python benchmarks/constants.py                    # 16 scenes, 48 pixels: about 20 CPU minutes
    python benchmarks/constants.py --smoothness 20    # the default alone: a third of that
    python benchmarks/constants.py --smoothness 20 --context 3 --resolution 32
"""

import argparse
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy import stats

from bayes_splat import calibration_metrics, discrepancy, held_out, metrics, predictions
from bayes_splat.discrepancy import Pictures
from bayes_splat.evaluation import seen as never_seen
from bayes_splat.inference import sample_posterior
from bayes_splat.models import proposals
from bayes_splat.models.assembly import assemble
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import ModelConfig
from bayes_splat.scenes.procedural import ProceduralOptions, procedural_scene
from bayes_splat.uncertainty import combine_channels

CHAINS, WARMUP, DRAWS = 4, 30, 36
STEADY = 0.02
"""``ProceduralOptions.exposure`` of every other scene."""

CHOSEN = {name: getattr(discrepancy, name) for name in ("FREEDOM", "EASE", "EVENNESS", "THINNING")}
BEFORE = {"FREEDOM": 3.0, "EASE": 0.8, "EVENNESS": 1.0, "THINNING": 1.0}
"""Without p and q."""

TABLES = {
    "f": [{"FREEDOM": f, "EASE": e} for f, e in ((2.2, 0.6), (3.0, 0.76), (4.0, 0.9), (6.0, 1.1))],
    "e": [{"EASE": e} for e in (0.55, 0.8)],
    "p": [{"EVENNESS": p} for p in (1.0, 0.8, 0.7)],
    "q": [{"THINNING": q, "EASE": e} for q, e in ((1.0, 0.71), (0.75, 0.68), (0.5, 0.62))],
}
"""What is changed, and what makes up for it, so that about as much is covered."""


class Seen(NamedTuple):
    """What one scene shows: held-out context views and target views, each with photographs."""

    context: Pictures
    context_photographs: np.ndarray
    target: Pictures
    target_photographs: np.ndarray
    is_never_seen: np.ndarray


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
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--resolution", type=int, default=48)
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
    columns = "90 % covers (range) | ECE | patches | width | NLL | AUROC never seen (least)"
    print(f"\n| f | e | p | q | {columns} |\n|{'---|' * 10}")
    rows = [BEFORE, CHOSEN] + [CHOSEN | other for table in TABLES.values() for other in table]
    if arguments.context > 2:  # their e is not the constant of pairs
        rows = [CHOSEN | {"EASE": e} for e in (0.65, 0.8, 1.0, 1.25)]
    for constants in rows:
        with (
            mock.patch.multiple(discrepancy, **constants),
            mock.patch.object(discrepancy.Discrepancy, "ease", constants["EASE"]),
        ):
            found = [judged(scene, constants["FREEDOM"]) for scene in kept]
        print(line(constants, found), flush=True)


def line(constants: dict[str, float], found: "list[Judged]") -> str:
    """A row of the table."""
    values = np.array(found)
    mean, least, most = values.mean(0), values.min(0), values.max(0)
    chosen = " | ".join(f"{value:g}" for value in constants.values())
    return (
        f"| {chosen} | {100 * mean[0]:.1f} % ({100 * least[0]:.0f} to {100 * most[0]:.0f}) | "
        f"{mean[1]:.4f} | {100 * mean[2]:.1f} % | {mean[3]:.3f} | {mean[4]:.4f} | "
        f"{np.nanmean(values[:, 5]):.3f} ({np.nanmin(values[:, 5]):.2f}) |"
    )


def seen(seed: int, resolution: int, strength: float, num_context: int = 2) -> Seen:
    """A random scene, some context views and three targets, sampled for a moment."""
    options = ProceduralOptions(exposure=STEADY) if seed % 2 else None
    views = procedural_scene(seed, "val", resolution, num_views=num_context + 3, options=options)
    context, targets = views[:num_context], views[num_context:]
    proposal = proposals.propose(context, EncoderConfig())
    model = assemble(proposal, context, replace(ModelConfig(), smoothness=strength), "cpu")
    with mock.patch.object(discrepancy, "fit", wraps=discrepancy.fit) as fitted:
        learned = held_out.learn(model)
    draws = sample_posterior(learned.model, chains=CHAINS, warmup=WARMUP, draws=DRAWS, seed=0)
    every = torch.ones(CHAINS, dtype=torch.bool)
    pictures = predictions.summarise(learned.model, draws, every, targets.cameras)
    assert pictures is not None
    photographs = targets.images.movedim(1, -1).double().numpy()
    unseen = never_seen.find(model, targets).is_never_seen
    return Seen(*fitted.call_args.args, pictures, photographs, unseen)


def judged(scene: Seen, freedom: float) -> Judged:
    """The target views under the Student-t itself, not the mixture that stands for it."""
    found = discrepancy.fit(scene.context, scene.context_photographs)
    scale = np.sqrt(found.squared_scale(scene.target))
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
