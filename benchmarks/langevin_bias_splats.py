"""How wrong ULA and SGLD are on a splat scene, by step size.

    python -m benchmarks.langevin_bias_splats
    python -m benchmarks.langevin_bias_splats --buckets 1    # a picture without jumps

Every chain has a scene from the prior and photographs from that scene, so that it starts at an
exact draw of its own posterior. What is printed is by how much the potential energy has gone up,
the mean over the later half of the steps and over the chains: 0 is right. A Normal whose variance
is r times too large along each of d axes has (r - 1) d / 2 more. MALA stands beside them.
"""

import argparse
from typing import Any

import torch

from bayes_splat.models.minibatch import TileBatches
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from bayes_splat.samplers.schedules import Constant
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.ula import ULA
from tests import helpers_scenes as scenes

STEP_SIZES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)
CHAINS, STEPS, PART = 200, 200, 0.25
SCENE: dict[str, Any] = {"image_shape": (3, 4), "renderer": "cpu", "noise_prior": [8.0, 0.1]}
NAMES = ("mala", "ula", "sgld", "sgld, anchored")


def measured(
    num_buckets: int = 4, chains: int = CHAINS, steps: int = STEPS
) -> list[dict[str, float]]:
    """A row a step size: energies above the exact ones by kernel, their errors, MALA's rate."""
    model = scenes.tiny_model(num_buckets, **SCENE)
    sites = scenes.prior_draws(model, chains)
    model = scenes.with_data(model, sites, 1)
    target = PyroTarget(model, vectorized=True)
    start = target.unconstrain(sites)
    exact = target.potential_energy(start)
    batches = TileBatches(model.num_views, model.views.cameras.image_shape, PART)
    parts = Minibatches(target, batches.draw)
    rows = []
    for step_size in STEP_SIZES:
        kernels = {
            "mala": MALA(target, step_size),
            "ula": ULA(target, step_size),
            "sgld": SGLD(parts, Constant(step_size)),
            "sgld, anchored": SGLD(parts, Constant(step_size), anchor_every=50),
        }
        row = {"step size": step_size}
        for name, kernel in kernels.items():
            generators, state = make_generators(2, chains), kernel.init(start)
            excess, rates = torch.zeros_like(exact), []
            for step in range(steps):
                state, info = kernel.step(generators, state)
                if step >= steps // 2:
                    rates.append(info.acceptance_rate.mean())
                    risen = target.potential_energy(state.position) - exact
                    excess += risen / (steps - steps // 2)
            row[name] = excess.mean().item()
            row[f"{name} error"] = excess.std().item() / chains**0.5
            if name == "mala":
                row["rate"] = torch.stack(rates).mean().item()
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, float]]) -> None:
    """As the documentation holds it."""
    print("| step size | MALA's acceptance | " + " | ".join(NAMES) + " |")
    print("|" + "---|" * (2 + len(NAMES)))
    for row in rows:
        cells = [f"{row[n]:.2f} ± {row[f'{n} error']:.2f}" for n in NAMES]
        print(f"| {row['step size']} | {row['rate']:.3f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--buckets", type=int, default=4, help="of depth; they hold the order")
    print_table(measured(parser.parse_args().buckets))
