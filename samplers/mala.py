"""MALA: the Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import langevin, metropolis, positions
from bayes_splat.samplers.adaptation import DiagonalAdaptation, DualAveraging, check_aim
from bayes_splat.samplers.base import Generators, Info, Position, Target


class Adaptation(NamedTuple):
    """What MALA tunes.

    Attributes:
        step_size: dual averaging a chain.
        diagonal: the preconditioner, where it is adapted.
    """

    step_size: DualAveraging
    diagonal: DiagonalAdaptation | None


class MALAState(NamedTuple):
    """Where the chains are, with what the target says there.

    Attributes:
        position: unconstrained.
        potential_energy: at the position.
        gradient: of the potential energy, zero in chains where it is not finite.
        adaptation: frozen after warmup.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    gradient: Position
    adaptation: Adaptation


@dataclass(frozen=True)
class MALA:
    """A Langevin step, accepted with the exact Metropolis-Hastings probability.

    With q(x' | x) = Normal(x - eps M^-1 grad U(x), 2 eps M^-1) the move from x to x' is accepted
    with probability min(1, exp(U(x) - U(x')) q(x | x') / q(x' | x)). It leaves exp(-U) invariant
    whatever the gradient is, as long as it is a function of the position.

    In warmup the step size follows dual averaging and, if asked for, the preconditioner the
    variance of each chain's recent past; both are frozen afterwards.

    Attributes:
        target: what to sample.
        step_size: eps at the start.
        target_acceptance_rate: aim of the step size; 0.574 is optimal for many dimensions
            (Roberts & Rosenthal 1998).
        preconditioner: diagonal of M^-1 a site, broadcast against [chain, ...]; None: ones.
        adapt_step_size: False keeps ``step_size`` as it is.
        adapt_preconditioner: learn the diagonal, starting from ``preconditioner``.
        shared_step_size: one step size for all chains. Chains then depend on each other in warmup.
    """

    target: Target
    step_size: float = 0.1
    target_acceptance_rate: float = 0.574
    preconditioner: Position | None = None
    adapt_step_size: bool = True
    adapt_preconditioner: bool = False
    shared_step_size: bool = False

    def __post_init__(self) -> None:
        check_aim(self.target_acceptance_rate)

    def init(self, position: Position, adaptation: Adaptation | None = None) -> MALAState:
        """Evaluate the target once and start from there; ``adaptation`` carries tuning over."""
        energy, gradient = self.target.potential_and_gradient(position)
        if adaptation is None:
            diagonal = (
                DiagonalAdaptation.start(position, self.preconditioner)
                if self.adapt_preconditioner
                else None
            )
            adaptation = Adaptation(DualAveraging.start(self.step_size, energy), diagonal)
        return MALAState(position, energy, positions.finite_or_zero(gradient), adaptation)

    def step(
        self, generators: Generators, state: MALAState, is_warmup: bool = False
    ) -> tuple[MALAState, Info]:
        """One move of every chain, accepted or rejected chain by chain."""
        step_size = state.adaptation.step_size.step_size(is_warmup)
        diagonal = state.adaptation.diagonal
        inverse_mass = self.preconditioner if diagonal is None else diagonal.preconditioner

        candidate = langevin.step(
            generators, state.position, state.gradient, step_size, inverse_mass
        )
        energy, gradient = self.target.potential_and_gradient(candidate)
        gradient = positions.finite_or_zero(gradient)
        log_ratio = langevin.log_ratio(
            candidate, state.position, state.gradient, gradient, step_size, inverse_mass
        )
        acceptance_rate = metropolis.acceptance_rate(state.potential_energy, energy, log_ratio)
        is_accepted = positions.rand(generators).to(energy.device) < acceptance_rate

        moved = MALAState(
            positions.select(is_accepted, candidate, state.position),
            torch.where(is_accepted, energy, state.potential_energy),
            positions.select(is_accepted, gradient, state.gradient),
            state.adaptation,
        )
        if is_warmup:
            moved = moved._replace(adaptation=self._adapt(moved, acceptance_rate))
        return moved, Info(
            acceptance_rate, moved.potential_energy, step_size, ~energy.isfinite(), {}
        )

    def _adapt(self, state: MALAState, acceptance_rate: Float[Tensor, " chain"]) -> Adaptation:
        """The tuning after one more step of warmup."""
        averaging, diagonal = state.adaptation
        if self.adapt_step_size:
            averaging = averaging.update(
                acceptance_rate, self.target_acceptance_rate, is_shared=self.shared_step_size
            )
        if diagonal is not None:
            updated = diagonal.update(state.position)
            if self.adapt_step_size:
                # Keeps eps M^-1 as large as it was: only its shape changes.
                averaging = averaging.rescaled(diagonal.log_scale() - updated.log_scale())
            diagonal = updated
        return Adaptation(averaging, diagonal)
