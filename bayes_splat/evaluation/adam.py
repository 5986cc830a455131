"""Adam to convergence: what an ensemble member and the centre of a Laplace posterior are.

Kingma and Ba (2015), algorithm 1, in the unconstrained coordinates of a target, so that its minimum
is the mode of the density over these coordinates, Jacobian included.
"""

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers.base import Position

_FIRST, _SECOND, _LEAST = 0.9, 0.999, 1e-8


class Target(Protocol):
    """What is minimised."""

    def potential_and_gradient(self, position: Position) -> tuple[Tensor, Position]:
        """Energies [chain] and their gradient."""
        ...


class Minimum(NamedTuple):
    """Where optimisation ended.

    Attributes:
        position: the best seen, every chain.
        energy: there.
        steps: gradients a chain took.
        has_converged: the rule was met before the last step.
    """

    position: Position
    energy: Float[Tensor, " chain"]
    steps: int
    has_converged: bool


def minimise(
    target: Target,
    position: Position,
    tolerance: float,
    *,
    step_size: float = 0.05,
    window: int = 40,
    cuts: int = 3,
    max_steps: int = 3000,
) -> Minimum:
    """Go downhill until the energy has stopped falling at ever smaller steps.

    The rule, chain by chain: where the mean energy of ``window`` steps is less than ``tolerance``
    below that of the window before, the step size is divided by four; after ``cuts`` of these
    divisions the next such window ends the chain. Chains do not influence each other.

    Args:
        target: energies in nats.
        position: where each chain starts.
        tolerance: nats.
        step_size: the first.
        window: steps.
        cuts: divisions.
        max_steps: after which it ends in any case.
    """
    first = {site: torch.zeros_like(value) for site, value in position.items()}
    second = {site: torch.zeros_like(value) for site, value in position.items()}
    chains = len(next(iter(position.values())))
    sizes = torch.full((chains,), step_size, dtype=torch.float64)
    left = torch.full((chains,), cuts)
    before = torch.full((chains,), torch.inf, dtype=torch.float64)
    best = Minimum(position, torch.full((chains,), torch.inf, dtype=torch.float64), 0, False)
    seen: list[Tensor] = []
    for step in range(1, max_steps + 1):
        energy, gradient = target.potential_and_gradient(position)
        best = _better(best, position, energy)._replace(steps=step)
        seen.append(energy)
        if len(seen) == window:
            mean = torch.stack(seen).mean(0)
            has_stalled = ~(mean < before - tolerance)
            left = left - has_stalled.long()
            sizes = torch.where(has_stalled, sizes / 4.0, sizes)
            before, seen = mean, []
            if (left < 0).all():
                return best._replace(has_converged=True)
        moving = torch.where(left < 0, torch.zeros_like(sizes), sizes)
        for site, slope in gradient.items():
            first[site] = _FIRST * first[site] + (1 - _FIRST) * slope
            second[site] = _SECOND * second[site] + (1 - _SECOND) * slope.square()
            mean_slope = first[site] / (1 - _FIRST**step)
            scale = (second[site] / (1 - _SECOND**step)).sqrt() + _LEAST
            column = moving.reshape(-1, *[1] * (slope.ndim - 1)).to(slope)
            position = {**position, site: position[site] - column * mean_slope / scale}
    return best


def _better(best: Minimum, position: Position, energy: Tensor) -> Minimum:
    is_better = energy < best.energy
    kept = {
        site: torch.where(
            is_better.reshape(-1, *[1] * (value.ndim - 1)), value, best.position[site]
        )
        for site, value in position.items()
    }
    return best._replace(position=kept, energy=torch.where(is_better, energy, best.energy))
