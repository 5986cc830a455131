"""What a smooth prior of depth is worth: views that the model never saw, with and without it.

Every line is one run of ``bayes-splat reconstruct``, so the sampler is the default one; runs are
short and say in their R-hat how far they are from done. Scenes are read from BAYES_SPLAT_DATA
(default ../shared/data); ``demo`` is made on the spot.

    python benchmarks/prior.py
    python benchmarks/prior.py fox:pair_small_0 --strengths 30 100 --set resolution=48
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from bayes_splat import config, pipeline
from bayes_splat.progress import Progress

SCENES = ("demo", "fox:pair_small_0", "tabletop:pair_small_0")
SETTINGS = ("resolution=32", "chains=4", "renderer=cpu", "warmup=100", "draws=100")
COLUMNS = (
    "scene",
    "prior",
    "PSNR mode, dB",
    "PSNR mean, dB",
    "coverage 90 %",
    "R-hat median, worst",
    "draws",
    "seconds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=SCENES, help="demo, or scene:split")
    parser.add_argument("--strengths", nargs="*", type=float, default=(30.0, 100.0, 300.0))
    parser.add_argument("--set", action="append", default=[], help="an option of the run")
    parser.add_argument("--out", default="outputs/prior", type=Path)
    arguments = parser.parse_args()
    priors = {"uniform": ["model.prior=uniform"]} | {
        f"smooth {strength:g}": ["model.prior=smooth", f"model.smoothness={strength}"]
        for strength in arguments.strengths
    }
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for scene in arguments.scenes:
        for number, (prior, chosen) in enumerate(priors.items()):
            out = arguments.out / f"{scene.replace(':', '-')}-{number}"
            options, tree = config.compose_config(
                [*_source(scene), *SETTINGS, *arguments.set, *chosen, f"out={out}"]
            )
            with Progress(line_every=600.0) as progress:
                summary = pipeline.reconstruct(options, OmegaConf.to_yaml(tree), progress)
            run = json.loads((summary.out / "run.json").read_text())
            print(_row(scene, prior, run), flush=True)


def _source(scene: str) -> list[str]:
    """Options that name the photographs."""
    if scene == "demo":
        return []
    name, _, split = scene.partition(":")
    data = Path(os.environ.get("BAYES_SPLAT_DATA", "../shared/data"))
    return [f"scene={data / name}", f"split={split}"]


def _row(scene: str, prior: str, run: dict) -> str:
    """One line of the table from a run's ``run.json``."""
    scores, seconds = run["scores"], run["seconds"]
    cells = (
        scene,
        prior,
        f"{np.mean(scores['psnr_of_mode']):.2f}",
        f"{np.mean(scores['psnr']):.2f}",
        f"{100 * scores['coverage_90']:.1f}",
        f"{scores['median_rhat']:.2f}, {scores['worst_rhat']:.2f}",
        f"{run['num_chains']} x {run['num_draws']}",
        f"{seconds['warmup'] + seconds['sampling']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
