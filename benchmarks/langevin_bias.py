"""How wrong ULA and SGLD are, step size by step size: ``python benchmarks/langevin_bias.py``.

The target is the posterior of a mean m in two dimensions: 100 observations of Normal(m, C), flat
prior, which is Normal with covariance C/100. Steps are in units of the largest stable one, 2 over
the largest curvature. All chains start at exact draws of the posterior, and what is printed is the
variance along the narrowest axis over the exact one: 1 is right. SGLD sees 10 observations a step,
without and with a control variate.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.schedules import Constant
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.ula import ULA, normal_covariance

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
CHAINS, STEPS, SIZE, PART = 200, 600, 100, 10
COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double()


@dataclass(frozen=True)
class Mean:
    """U(m) = 1/2 sum_i (y_i - m)^T C^-1 (y_i - m), up to a constant."""

    data: Tensor
    precision: Tensor

    def potential_energy(self, position: Position, batch: Batch | None = None) -> Tensor:
        return self.potential_and_gradient(position, batch)[0]

    def draw_batch(self, generators: Generators) -> Batch:
        picks = [torch.randperm(SIZE, generator=g)[:PART] for g in generators]
        return {"index": torch.stack(picks)}

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Tensor, Position]:
        seen = self.data.mean(0) if batch is None else self.data[batch["index"]].mean(1)
        residual = position["m"] - seen
        gradient = SIZE * residual @ self.precision
        return 0.5 * (residual * gradient).sum(1), {"m": gradient}


def problem() -> tuple[Mean, Tensor]:
    """The target, and the covariance of the posterior."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(SIZE, 2, generator=generator, dtype=torch.float64)
    data = noise @ torch.linalg.cholesky(COVARIANCE).T
    return Mean(data, torch.linalg.inv(COVARIANCE)), COVARIANCE / SIZE


def narrow_ratio(kernel: Any, target: Mean, covariance: Tensor) -> tuple[float, float, float]:
    """Variance along the narrowest axis over the truth, its error, and MALA's acceptance rate."""
    values, axes = torch.linalg.eigh(covariance)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(CHAINS, 2, generator=generator, dtype=torch.float64)
    start = target.data.mean(0) + noise @ torch.linalg.cholesky(covariance).T
    generators, state = make_generators(2, CHAINS), kernel.init({"m": start})
    squares, rates = [], []
    for step in range(STEPS):
        state, info = kernel.step(generators, state)
        if step >= STEPS // 4:
            squares.append(((state.position["m"] - target.data.mean(0)) @ axes[:, 0]) ** 2)
            rates.append(info.blocks.get("metropolis", info.acceptance_rate))
    ratios = torch.stack(squares).mean(0) / values[0]
    error = ratios.std() / CHAINS**0.5
    return ratios.mean().item(), error.item(), torch.stack(rates).mean().item()


def measured() -> list[dict[str, float]]:
    """A row a step size: ratios by kernel, errors, and the closed form for ULA."""
    target, covariance = problem()
    largest = 2.0 * torch.linalg.eigvalsh(covariance).min().item()
    narrow = torch.linalg.eigh(covariance).eigenvectors[:, 0]
    rows = []
    for share in SHARES:
        step = share * largest
        kernels = {
            "mala": MALA(target, step),
            "ula": ULA(target, step),
            "sgld": SGLD(target, Constant(step)),
            "sgld, anchored": SGLD(target, Constant(step), anchor_every=50),
        }
        wider = narrow @ normal_covariance(covariance, step) @ narrow
        row = {"share": share, "formula": (wider / (narrow @ covariance @ narrow)).item()}
        for name, kernel in kernels.items():
            row[name], row[f"{name} error"], rate = narrow_ratio(kernel, target, covariance)
            if name == "ula":
                row["rate"] = rate
        rows.append(row)
    return rows


def main() -> None:
    names = ("mala", "ula", "sgld", "sgld, anchored")
    print("| step / largest | MALA's acceptance | formula for ULA | " + " | ".join(names) + " |")
    print("|" + "---|" * (3 + len(names)))
    for row in measured():
        cells = [f"{row[n]:.3f} ± {row[f'{n} error']:.3f}" for n in names]
        start = f"| {row['share']} | {row['rate']:.3f} | {row['formula']:.3f} | "
        print(start + " | ".join(cells) + " |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
