"""docs/figures/random_walk_jumps.png: ``python docs/figures/random_walk_jumps.py``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sampling import sample
from bayes_splat.samplers.tempering import ParallelTempering, geometric_powers
from tests import helpers_targets as targets
from tests.helpers_jumps import NormalJump

HERE = Path(__file__).parent

STEPS, CHAINS = 1500, 4
PEAKS = targets.two_peaks()
FLAT = targets.Powers(lambda p: 0.5 * (p["x"] / 20.0) ** 2, PEAKS.energy)


def draws(kernel) -> Tensor:
    """[chain, draw]; all chains start in the left peak, which holds 0.3 of the mass."""
    start = {"x": torch.full((CHAINS,), -6.0).double()}
    found = sample(
        kernel,
        start,
        make_generators(0, CHAINS),
        num_warmup=200,
        num_draws=STEPS,
        constrain=lambda position: position,
    )
    return found.sites["x"]


def main() -> None:
    walk = {"step_size": 1.0, "adapt_step_size": False}
    jump = NormalJump("x", 0.0, 8.0)
    panels = {
        "random walk": RandomWalkMetropolis(PEAKS, **walk),
        "random walk, every fifth step a jump": RandomWalkMetropolis(
            PEAKS, **walk, jump=jump, jump_probability=0.2
        ),
        "MALA at 5 powers of the likelihood": ParallelTempering(
            FLAT, MALA, geometric_powers(5, 0.01), num_steps=1
        ),
    }
    grid = np.linspace(-11, 11, 400)
    density = np.exp(-PEAKS.potential_energy({"x": torch.from_numpy(grid)}).numpy())
    density /= density.sum() * (grid[1] - grid[0])
    figure, axes = plt.subplots(
        3, 2, figsize=(7.2, 5.2), width_ratios=(3, 1), sharey=True, layout="constrained"
    )
    for (trace, margin), (title, kernel) in zip(axes, panels.items(), strict=True):
        x = draws(kernel).numpy()
        right = (x > 0).mean()
        print(f"{title}: {right:.3f} of the draws in the right peak")
        trace.plot(x.T, lw=0.5)
        trace.set_title(f"{title}: {right:.2f} of the draws in the right peak", fontsize=9)
        trace.set_ylabel("x")
        margin.hist(x.ravel(), grid[::6], density=True, orientation="horizontal", color="0.8")
        margin.plot(density, grid, color="k", lw=1)
        margin.set_xticks([])
    axes[-1, 0].set_xlabel("draw (4 chains, all started in the left peak)")
    axes[-1, 1].set_xlabel("density; grey: draws")
    figure.savefig(HERE / "random_walk_jumps.png", dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
