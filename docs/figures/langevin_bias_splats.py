"""docs/figures/langevin_bias_splats.png: ``python docs/figures/langevin_bias_splats.py``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.langevin_bias_splats import PART, STEP_SIZES, measured, print_table

HERE = Path(__file__).parent

LABELS = {
    "mala": "MALA",
    "ula": "ULA",
    "sgld": f"SGLD, {PART:.0%} of the pixels",
    "sgld, anchored": "SGLD, control variate",
}


def main() -> None:
    rows = measured()
    print_table(rows)
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for marker, (name, label) in zip("osDx", LABELS.items(), strict=True):
        values, errors = ([row[key] for row in rows] for key in (name, f"{name} error"))
        axes.errorbar(STEP_SIZES, values, errors, fmt=f"{marker}-", ms=5, lw=0.8, label=label)
    axes.axhline(0.0, color="0.85", zorder=0)
    axes.set(xscale="log", xlabel="step size", ylabel="potential energy above the exact one")
    axes.set_yscale("symlog", linthresh=2.0)
    ticks = [-1, 0, 1, 2, 5, 10, 20, 50, 100]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xticks(STEP_SIZES, [f"{size:g}" for size in STEP_SIZES])
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(HERE / "langevin_bias_splats.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
