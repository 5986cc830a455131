"""Exact kernels on correlated Normals up to d=1000: ``python benchmarks/correlated_normals.py``.

Neighbouring coordinates have correlation 0.5, x_i = 0.5 x_{i-1} + sqrt(0.75) xi_i, and standard
deviations run from 0.1 to 10. Chains start at zero. Printed are, over all coordinates, the largest
deviation of mean and variance from the truth in standard errors (the largest of 2 d numbers), the
acceptance rate, the smallest and the median number of effective draws a chain and gradient, and
seconds of CPU time.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from bayes_splat.samplers.base import Position
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from tests.helpers_targets import FunctionTarget

CORRELATION, CHAINS = 0.5, 32


def normal(size: int) -> tuple[FunctionTarget, Tensor]:
    """The target, and its standard deviations."""
    scales = torch.logspace(-1, 1, size, dtype=torch.float64)

    def energy(position: Position) -> Tensor:
        z = position["x"] / scales
        steps = z[:, 1:] - CORRELATION * z[:, :-1]
        return 0.5 * z[:, 0] ** 2 + 0.5 * steps.square().sum(1) / (1.0 - CORRELATION**2)

    return FunctionTarget(energy), scales


def row(name: str, kernel: Any, scales: Tensor, warmup: int, steps: int) -> str:
    begin = time.process_time()
    generators = make_generators(0, CHAINS)
    state = kernel.init({"x": torch.zeros(CHAINS, len(scales)).double()})
    for _ in range(warmup):
        state, _ = kernel.step(generators, state, is_warmup=True)
    kept, rates = [], []
    for _ in range(steps):
        state, info = kernel.step(generators, state)
        kept.append(state.position["x"] / scales)
        rates.append(info.acceptance_rate)
    z = torch.stack(kept, 1)  # [chain, draw, coordinate]
    functions = torch.cat([z, z.square() - 1.0], dim=-1)
    means = functions.mean(1)
    error = means.std(0) / CHAINS**0.5
    worst = (means.mean(0) / error).abs().max().item()
    effective = z.flatten(0, 1).var(0) / means[:, : len(scales)].var(0) / steps
    seconds = time.process_time() - begin
    return (
        f"| {len(scales)} | {name} | {worst:.1f} | {torch.stack(rates).mean().item():.2f}"
        f" | {effective.min().item():.4f} | {effective.median().item():.4f} | {seconds:.0f} |"
    )


def main() -> None:
    print("| d | kernel | worst deviation | acceptance | least ESS/step | median | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for size in (10, 100, 1000):
        target, scales = normal(size)
        steps = 2000 if size < 1000 else 4000
        known = {"x": scales.square()}
        kernels = {
            "MALA, adapted diagonal": MALA(target, 0.01, adapt_preconditioner=True),
            "MALA, given diagonal": MALA(target, 0.1, preconditioner=known),
            "random walk, given diagonal": RandomWalkMetropolis(target, preconditioner=known),
        }
        for name, kernel in kernels.items():
            print(row(name, kernel, scales, steps // 2, steps), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
