"""The main job on real photographs: the posterior mean against the proposal's mode.

Every line is one run of ``bayes-splat reconstruct`` on two context views, scored on views that the
model never saw. Scenes are read from BAYES_SPLAT_DATA (default ../shared/data).

    python benchmarks/real_scenes.py                        # the scenes of the README
    python benchmarks/real_scenes.py fox:pair_small_0 --set warmup=50 --set draws=100
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from bayes_splat import config, pipeline
from bayes_splat.progress import Progress

SCENES = (
    "fox:pair_medium_0",
    "fern:pair_medium_0",
    "kitchen_a:pair_medium_0",
    "tabletop:pair_large_0",
    "dtu37:pair_medium_2",
)
SETTINGS = ("resolution=64", "chains=4", "renderer=reference", "time_limit=420")

COLUMNS = (
    "scene, split",
    "targets",
    "PSNR mode, dB",
    "PSNR mean, dB",
    "coverage 90 %",
    "AUSE (random)",
    "Spearman",
    "R-hat median, worst",
    "ESS median, least",
    "draws",
    "renders",
    "seconds",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", default=SCENES, help="scene:split")
    parser.add_argument("--set", action="append", default=[], help="an option of the run")
    parser.add_argument("--out", default="outputs/real_scenes", type=Path)
    arguments = parser.parse_args()
    data = Path(os.environ.get("BAYES_SPLAT_DATA", "../shared/data"))
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    for name in arguments.scenes:
        scene, _, split = name.partition(":")
        out = arguments.out / f"{scene}-{split}"
        options, tree = config.compose_config(
            [f"scene={data / scene}", f"split={split}", f"out={out}", *SETTINGS, *arguments.set]
        )
        with Progress(line_every=120.0) as progress:
            summary = pipeline.reconstruct(options, OmegaConf.to_yaml(tree), progress)
        print(row(name, json.loads((summary.out / "run.json").read_text())), flush=True)


def row(name: str, run: dict) -> str:
    """One line of the table from a run's ``run.json``."""
    scores, seconds = run["scores"], run["seconds"]
    mean = {key: np.mean(scores[key]) for key in scores}
    cells = (
        name,
        str(len(scores["psnr"])),
        f"{mean['psnr_of_mode']:.2f}",
        f"{mean['psnr']:.2f}",
        f"{100 * scores['coverage_90']:.1f}",
        f"{mean['ause_mae']:.2f} ({mean['random_ause_mae']:.2f})",
        f"{mean['spearman']:.2f}",
        f"{scores['median_rhat']:.2f}, {scores['worst_rhat']:.2f}",
        f"{scores['median_ess']:.0f}, {scores['least_ess']:.0f}",
        f"{run['num_chains']} x {run['num_draws']}",
        f"{run['renders']['sampling']['forward']:.0f}",
        f"{seconds['warmup'] + seconds['sampling']:.0f} + {seconds['rest']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
