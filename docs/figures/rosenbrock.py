"""docs/figures/rosenbrock.png: ``python docs/figures/rosenbrock.py``.

SGD, SGD with noise and SGLD on the same banana, with the same step sizes and the same noisy
gradients, from the same start.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.schedules import Constant
from bayes_splat.samplers.sgd import SGD
from bayes_splat.samplers.sgld import SGLD
from tests import helpers_targets as targets

HERE = Path(__file__).parent

STEP, STEPS, CHAINS, GRADIENT_NOISE = 0.001, 16000, 32, 1.0
BANANA = targets.rosenbrock()


@dataclass(frozen=True)
class Noisy:
    """The banana, with gradients as noisy as those of minibatches."""

    target: targets.FunctionTarget = BANANA.target

    def potential_energy(self, position: Position) -> Tensor:
        return self.target.potential_energy(position)

    def draw_batch(self, generators: Generators) -> Batch:
        like = {site: torch.zeros(len(generators)).double() for site in ("x", "y")}
        return positions.randn_like(generators, like)

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Tensor, Position]:
        energy, gradient = self.target.potential_and_gradient(position)
        if batch is not None:
            gradient = {s: g + GRADIENT_NOISE * batch[s] for s, g in gradient.items()}
        return energy, gradient


def path(kernel) -> Tensor:
    """[chain, step, 2]"""
    start = {name: torch.full((CHAINS,), v).double() for name, v in (("x", -1.0), ("y", 3.0))}
    generators, state = make_generators(0, CHAINS), kernel.init(start)
    places = []
    for _ in range(STEPS):
        state, _ = kernel.step(generators, state)
        places.append(torch.stack([state.position["x"], state.position["y"]], 1))
    return torch.stack(places, 1)


def main() -> None:
    schedule = Constant(STEP)
    panels = {
        "SGD": SGD(Noisy(), schedule),
        "SGD with noise of scale 0.02": SGD(Noisy(), schedule, noise_scale=0.02),
        "SGLD": SGLD(Noisy(), schedule),
    }
    exact = BANANA.draw(4000, 1)
    figure, axes = plt.subplots(
        1, 3, figsize=(8.0, 3.2), sharex=True, sharey=True, layout="constrained"
    )
    print("exact: standard deviations 0.707 and 1.612")
    for ax, (title, kernel) in zip(axes, panels.items(), strict=True):
        places = path(kernel)
        late = places[:, STEPS // 4 :]
        spread = late.flatten(0, 1).std(0)
        print(f"{title}: standard deviations {spread[0]:.3f} and {spread[1]:.3f}")
        ax.plot(exact["x"], exact["y"], ".", ms=1.5, color="0.8", label="posterior")
        ax.plot(*late[:4, ::64].flatten(0, 1).T, ".", ms=1.5, color="C0", label="four chains")
        ax.plot(*places[0, : STEPS // 16].T, lw=0.7, color="C1", label="the beginning of one")
        ax.set_title(f"{title}\nstd {spread[0]:.2f}, {spread[1]:.2f} (exact 0.71, 1.61)", size=9)
        ax.set(xlim=(-2.3, 3.6), ylim=(-1.5, 9), xlabel="x")
    axes[0].set_ylabel("y")
    axes[0].legend(frameon=False, fontsize=8, markerscale=4, loc="upper center")
    figure.savefig(HERE / "rosenbrock.png", dpi=100)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
