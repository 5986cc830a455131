"""SGLD: stochastic gradient Langevin dynamics (Welling & Teh 2011)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import langevin, positions
from bayes_splat.samplers.base import Generators, Info, MinibatchTarget, Position
from bayes_splat.samplers.schedules import Constant, Schedule


class Adaptation(NamedTuple):
    """What SGLD carries along.

    Attributes:
        num_steps: made so far, the time of the schedule.
        square_gradient: running mean of the squared gradient, for RMSprop; None otherwise.
    """

    num_steps: int
    square_gradient: Position | None


class SGLDState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: unconstrained.
        potential_energy: at the position; estimated from one minibatch after the first step.
        gradient: at the position, estimated from the same minibatch.
        adaptation: time, and RMSprop's memory, which is frozen after warmup.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    gradient: Position
    adaptation: Adaptation


@dataclass(frozen=True)
class SGLD:
    """A Langevin step along the gradient of a minibatch, never rejected.

        x' = x - eps_t M^-1 g(x) + sqrt(2 eps_t M^-1) xi,    E g(x) = grad U(x)

    It samples exp(-U) with a bias: of order eps from the discretisation (without minibatches this
    is ULA, whose stationary variance of a Normal with standard deviation s along one axis is
    s^2 / (1 - eps M^-1 / (2 s^2))), and from the noise of the gradient, which adds
    eps^2 M^-1 Cov(g) M^-1 to the variance of every step. Both vanish only as eps does: hold it
    against MALA before trusting an interval.

    After each step a new minibatch is drawn and energy and gradient are estimated at the new
    position. If that estimate is not finite, the chain stays where it was and is flagged as
    diverging; the acceptance rate of such a step is 0, otherwise 1.

    Attributes:
        target: gives minibatches and estimates.
        schedule: eps_t.
        preconditioner: "none", "fixed" (give ``diagonal``) or "rmsprop": M^-1 =
            1 / (lambda + sqrt(V)), V the running mean of squared gradients (Li et al. 2016). V
            moves in warmup only; their correction for a moving preconditioner is then zero.
        diagonal: of the fixed M^-1 a site, broadcast against [chain, ...].
        rmsprop_decay: weight of the past in V.
        rmsprop_floor: lambda, in the unit of the gradient.
    """

    target: MinibatchTarget
    schedule: Schedule = field(default_factory=lambda: Constant(1e-3))
    preconditioner: str = "none"
    diagonal: Position | None = None
    rmsprop_decay: float = 0.99
    rmsprop_floor: float = 1e-5

    def __post_init__(self) -> None:
        if self.preconditioner not in ("none", "fixed", "rmsprop"):
            raise ValueError(
                f"preconditioner must be 'none', 'fixed' or 'rmsprop', got {self.preconditioner!r}"
            )
        if (self.diagonal is not None) != (self.preconditioner == "fixed"):
            raise ValueError(
                "preconditioner='fixed' and a diagonal belong together,"
                f" got preconditioner={self.preconditioner!r}"
            )

    def init(self, position: Position, adaptation: Adaptation | None = None) -> SGLDState:
        """Evaluate the target on all data once; ``adaptation`` carries time and tuning over."""
        energy, gradient = self.target.potential_and_gradient(position)
        if adaptation is None:
            known = positions.finite_or_zero(gradient)
            squares = {site: value.square() for site, value in known.items()}
            is_rmsprop = self.preconditioner == "rmsprop"
            adaptation = Adaptation(0, squares if is_rmsprop else None)
        return SGLDState(position, energy, gradient, adaptation)

    def step(
        self, generators: Generators, state: SGLDState, is_warmup: bool = False
    ) -> tuple[SGLDState, Info]:
        """One step of every chain."""
        num_steps, squares = state.adaptation
        step_size = torch.full_like(state.potential_energy, self.schedule(num_steps))
        candidate = langevin.step(
            generators,
            state.position,
            positions.finite_or_zero(state.gradient),
            step_size,
            self._inverse_mass(squares),
        )
        batch = self.target.draw_batch(generators)
        energy, gradient = self.target.potential_and_gradient(candidate, batch)
        is_moved = energy.isfinite() & positions.is_finite(gradient)
        if squares is not None and is_warmup:
            decay = self.rmsprop_decay
            blend = {s: decay * v + (1.0 - decay) * gradient[s] ** 2 for s, v in squares.items()}
            squares = positions.select(is_moved, blend, squares)
        moved = SGLDState(
            positions.select(is_moved, candidate, state.position),
            torch.where(is_moved, energy, state.potential_energy),
            positions.select(is_moved, gradient, state.gradient),
            Adaptation(num_steps + 1, squares),
        )
        return moved, Info(
            is_moved.to(energy.dtype), moved.potential_energy, step_size, ~is_moved, {}
        )

    def _inverse_mass(self, squares: Position | None) -> Position | None:
        """The diagonal of M^-1 in use."""
        if squares is None:
            return self.diagonal
        return {site: 1.0 / (self.rmsprop_floor + v.sqrt()) for site, v in squares.items()}
