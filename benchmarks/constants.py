"""Constants of the model and of its error of new views, chosen on random scenes: no photograph.

On procedural scenes of the split ``val`` the default sampler runs for a moment with several
strengths of the smooth prior (``model.smoothness``); the pictures of the target views are compared
with their photographs. Then, for the strength that is the default, the discrepancy is fitted on the
held-out context views with several degrees of freedom f, and the target views are judged with
several factors e (``bayes_splat.discrepancy``): mean over scenes of coverage of the 90 % interval,
its range, expected calibration error and minus the log density, nats a colour.

    python benchmarks/constants.py                    # 7 scenes, 48 pixels: about 8 CPU minutes
"""

import argparse
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy import stats

from bayes_splat import discrepancy, held_out, metrics, predictions
from bayes_splat.discrepancy import Pictures
from bayes_splat.inference import sample_posterior
from bayes_splat.models import proposals
from bayes_splat.models.assembly import assemble
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import ModelConfig
from bayes_splat.scenes.procedural import procedural_scene

CHAINS, WARMUP, DRAWS = 4, 30, 36
FREEDOMS = (2.5, 3.0, 4.0, 6.0, 12.0)
EASES = (1.0, 0.8, 0.6)


class Seen(NamedTuple):
    """What one scene shows: held-out context views and target views, each with photographs."""

    context: Pictures
    context_photographs: np.ndarray
    target: Pictures
    target_photographs: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=7)
    parser.add_argument("--resolution", type=int, default=48)
    parser.add_argument("--smoothness", type=float, nargs="+", default=[10.0, 20.0, 40.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| smoothness | PSNR, dB, by scene | mean |\n|---|---|---|")
    default, kept = ModelConfig().smoothness, []
    for strength in arguments.smoothness:
        scenes = [seen(seed, arguments.resolution, strength) for seed in range(arguments.scenes)]
        ratios = [metrics.psnr(s.target.mean, s.target_photographs) for s in scenes]
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {strength:g} | {listed} | {np.mean(ratios):.2f} |", flush=True)
        kept = scenes if strength == default else kept
    if not kept:
        return
    print("\n| f | e | 90 % interval covers (range over scenes) | ECE | NLL, nats |")
    print("|---|---|---|---|---|")
    for freedom in FREEDOMS:
        for ease in EASES:
            with mock.patch.multiple(discrepancy, FREEDOM=freedom, EASE=ease):
                rows = np.array([judged(scene, freedom) for scene in kept])
            covered, error, energy = rows.mean(0)
            low, high = rows[:, 0].min(), rows[:, 0].max()
            print(
                f"| {freedom:g} | {ease:g} | {100 * covered:.1f} % ({100 * low:.0f} to "
                f"{100 * high:.0f}) | {error:.3f} | {energy:.4f} |",
                flush=True,
            )


def seen(seed: int, resolution: int, strength: float) -> Seen:
    """A random scene, two context views and three targets, sampled for a moment."""
    views = procedural_scene(seed=seed, split="val", resolution=resolution, num_views=5)
    context, targets = views[:2], views[2:]
    proposal = proposals.propose(context, EncoderConfig())
    model = assemble(proposal, context, replace(ModelConfig(), smoothness=strength), "cpu")
    with mock.patch.object(discrepancy, "fit", wraps=discrepancy.fit) as fitted:
        learned = held_out.learn(model)
    draws = sample_posterior(learned.model, chains=CHAINS, warmup=WARMUP, draws=DRAWS, seed=0)
    every = torch.ones(CHAINS, dtype=torch.bool)
    pictures = predictions.summarise(learned.model, draws, every, targets.cameras)
    assert pictures is not None
    photographs = targets.images.movedim(1, -1).double().numpy()
    return Seen(*fitted.call_args.args, pictures, photographs)


def judged(scene: Seen, freedom: float) -> tuple[float, float, float]:
    """Coverage of the 90 % interval, expected calibration error, minus the log density."""
    found = discrepancy.fit(scene.context, scene.context_photographs)
    scale = np.sqrt(found.squared_scale(scene.target))
    ratio = (scene.target_photographs - scene.target.mean) / scale
    pit = stats.t.cdf(ratio, freedom)
    energy = np.mean(np.log(scale) - stats.t.logpdf(ratio, freedom))
    return (
        metrics.coverage_from_pit(pit, 0.9),
        metrics.expected_calibration_error(pit),
        float(energy),
    )


if __name__ == "__main__":
    main()
