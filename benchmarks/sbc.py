"""Simulation-based calibration of samplers: ranks of depths, opacities, noise and pixels.

Replications are chains of one call, each with a truth and photographs of its own, on a scene of two
views. Writes ``sbc.csv`` and a rank histogram and an ECDF band a quantity (Talts et al. 2018;
Sailynoja et al. 2022).

    python -m benchmarks.sbc                        # 200 replications of gibbs, minutes
    python -m benchmarks.sbc --sampler block_mala --replications 400
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from bayes_splat import calibration
from bayes_splat.config import GROUPS
from tests import helpers_scenes as scenes
from tests.helpers_sbc import Calibration, calibrate

BINS = 8


def draw(found: Calibration, title: str) -> Figure:
    """A histogram with its binomial band above, the ECDF difference with its band below."""
    names, ranks = list(found.ranks), found.num_draws
    figure = Figure(figsize=(2.1 * len(names), 4.6), layout="constrained")
    panels = figure.subplots(2, len(names), sharey="row", squeeze=False)
    size = len(next(iter(found.ranks.values())))
    low, high = stats.binom.ppf((0.025, 0.975), size, 1 / BINS)
    band = calibration.ecdf_band(size, ranks)
    for name, above, below in zip(names, *panels, strict=True):
        counts = np.bincount(found.ranks[name] * BINS // (ranks + 1), minlength=BINS)
        above.axhspan(low, high, color="0.88")
        above.bar(np.arange(BINS), counts, color="#2f6f8f", width=0.9)
        above.set_title(name, fontsize=9)
        above.set_xticks([])
        share = np.arange(1, ranks + 1) / (ranks + 1)
        below.fill_between(share, -band, band, color="0.88", lw=0)
        below.step(share, calibration.ecdf_difference(found.ranks[name], ranks), color="#c2410c")
        below.axhline(0, color="0.5", lw=0.6)
    panels[0][0].set_ylabel(f"replications of {size}")
    panels[1][0].set_ylabel("ECDF minus uniform")
    figure.supxlabel("rank of the truth among its draws; grey: 95 % bands")
    figure.suptitle(title, fontsize=10)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sampler", choices=list(GROUPS["sampler"]), default="gibbs")
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--draws", type=int, default=31)
    parser.add_argument("--thinning", type=int, default=16, help="steps a draw")
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--shape", type=int, nargs=2, default=[4, 4], help="pixels of a view")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/sbc"))
    given = parser.parse_args()
    model = scenes.tiny_model(
        4, image_shape=tuple(given.shape), renderer="cpu", noise_prior=[8.0, 0.08]
    )
    begin = time.perf_counter()
    found = calibrate(
        model,
        GROUPS["sampler"][given.sampler](),
        replications=given.replications,
        draws=given.draws,
        thinning=given.thinning,
        warmup=given.warmup,
        seed=given.seed,
    )
    print(f"{given.sampler}: {given.replications} replications, {len(model.proposal)} Gaussians, ")
    print(
        f"{given.draws} draws every {given.thinning} steps: {time.perf_counter() - begin:.0f} s\n"
    )
    judged = found.judge(BINS)
    print(f"| quantity | chi-square ({BINS - 1}) | p | farthest ECDF difference / 95 % band |")
    print("|---|---|---|---|")
    for name, one in judged.items():
        print(f"| {name} | {one.chi_square:.1f} | {one.p_value:.3f} | {one.worst:.2f} |")
    name, strays = found.worst(0.05 / len(judged))
    print(
        f"\nall together: {name} goes farthest, {strays:.2f} of the band for {len(judged)} at once"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "sbc.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(found.ranks)
        table.writerows(np.stack(list(found.ranks.values()), 1).tolist())
    draw(found, f"{given.sampler}, {given.replications} replications").savefig(
        given.out / "sbc.png", dpi=110
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
