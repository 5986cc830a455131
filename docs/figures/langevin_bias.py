"""docs/figures/langevin_bias.png: ``python docs/figures/langevin_bias.py``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.langevin_bias import measured

HERE = Path(__file__).parent

LABELS = {
    "mala": "MALA",
    "ula": "ULA",
    "sgld": "SGLD, 10 of 100 data",
    "sgld, anchored": "SGLD, control variate",
}


def main() -> None:
    rows = measured()
    shares = [row["share"] for row in rows]
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    axes.plot(shares, [row["formula"] for row in rows], color="0.6", label="ULA, formula")
    markers = dict(zip(LABELS, "osDx", strict=True))
    for name, label in LABELS.items():
        values, errors = ([row[key] for row in rows] for key in (name, f"{name} error"))
        axes.errorbar(shares, values, errors, fmt=markers[name], ms=5, capsize=2, label=label)
    axes.axhline(1.0, color="0.85", zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="step size / largest stable one")
    axes.set_ylabel("variance / exact, narrowest axis")
    axes.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"], minor=False)
    axes.minorticks_off()
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "langevin_bias.png", dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
