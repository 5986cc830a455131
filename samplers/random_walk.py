"""Random-walk Metropolis, with jumps to independent draws from a given distribution."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import metropolis, positions
from bayes_splat.samplers.adaptation import DualAveraging, check_aim
from bayes_splat.samplers.base import Generators, Info, Position, Target


@runtime_checkable
class Jump(Protocol):
    """A distribution over some or all sites, to jump to from anywhere."""

    def sample(self, generators: Generators) -> Position:
        """A draw a chain of the sites that it covers, unconstrained."""
        ...

    def log_prob(self, position: Position) -> Float[Tensor, " chain"]:
        """Its log density at those sites of ``position``, in unconstrained coordinates."""
        ...


class RandomWalkState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: unconstrained.
        potential_energy: at the position.
        adaptation: dual averaging of the step size; frozen after warmup.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    adaptation: DualAveraging


@dataclass(frozen=True)
class RandomWalkMetropolis:
    """x' = x + eps sqrt(M^-1) xi or, with ``jump_probability``, x' ~ jump; accepted or rejected.

    The walk is symmetric, so its ratio is exp(U(x) - U(x')); that of a jump carries in addition
    jump(x) / jump(x') (Metropolis-Hastings, independence sampler). Which of the two it is does
    not depend on the state, so the mixture leaves exp(-U) invariant.

    Attributes:
        target: what to sample; gradients are not asked for.
        step_size: eps at the start, a standard deviation (in MALA it is half a variance).
        target_acceptance_rate: aim of the step size; 0.234 is optimal for many dimensions
            (Roberts, Gelman & Gilks 1997).
        preconditioner: diagonal of M^-1 a site, broadcast against [chain, ...]; None: ones.
        adapt_step_size: False keeps ``step_size`` as it is. Jumps do not count.
        shared_step_size: one step size for all chains. Chains then depend on each other in warmup.
        jump: the distribution to jump to.
        jump_probability: of a jump instead of a step of the walk, a chain and step.
    """

    target: Target
    step_size: float = 0.1
    target_acceptance_rate: float = 0.234
    preconditioner: Position | None = None
    adapt_step_size: bool = True
    shared_step_size: bool = False
    jump: Jump | None = None
    jump_probability: float = 0.0

    def __post_init__(self) -> None:
        check_aim(self.target_acceptance_rate)
        if not 0.0 <= self.jump_probability <= 1.0:
            raise ValueError(f"jump_probability must be in [0, 1], got {self.jump_probability}")
        if self.jump is None and self.jump_probability > 0.0:
            raise ValueError(
                f"jump_probability is {self.jump_probability} but there is no jump; give one"
            )

    def init(self, position: Position, adaptation: DualAveraging | None = None) -> RandomWalkState:
        """Evaluate the target once and start from there; ``adaptation`` carries tuning over."""
        energy = self.target.potential_energy(position)
        if adaptation is None:
            adaptation = DualAveraging.start(self.step_size, energy)
        return RandomWalkState(position, energy, adaptation)

    def step(
        self, generators: Generators, state: RandomWalkState, is_warmup: bool = False
    ) -> tuple[RandomWalkState, Info]:
        """One move of every chain, accepted or rejected chain by chain."""
        step_size = state.adaptation.step_size(is_warmup)
        noise = positions.randn_like(generators, state.position)
        candidate = {}
        for site, value in state.position.items():
            scale = positions.per_chain(step_size, value)
            if self.preconditioner is not None:
                scale = scale * self.preconditioner[site].sqrt()
            candidate[site] = value + scale * noise[site]
        is_jump = torch.zeros_like(state.potential_energy, dtype=torch.bool)
        log_proposal_ratio = torch.zeros_like(state.potential_energy)
        if self.jump is not None and self.jump_probability > 0.0:
            is_jump = positions.rand(generators).to(is_jump.device) < self.jump_probability
            landed = {**state.position, **self.jump.sample(generators)}
            candidate = positions.select(is_jump, landed, candidate)
            log_ratio = self.jump.log_prob(state.position) - self.jump.log_prob(landed)
            log_proposal_ratio = torch.where(is_jump, log_ratio, log_proposal_ratio)

        energy = self.target.potential_energy(candidate)
        acceptance_rate = metropolis.acceptance_rate(
            state.potential_energy, energy, log_proposal_ratio
        )
        is_accepted = positions.rand(generators).to(energy.device) < acceptance_rate
        adaptation = state.adaptation
        if is_warmup and self.adapt_step_size:
            adaptation = adaptation.update(
                acceptance_rate,
                self.target_acceptance_rate,
                is_shared=self.shared_step_size,
                where=~is_jump,
            )
        moved = RandomWalkState(
            positions.select(is_accepted, candidate, state.position),
            torch.where(is_accepted, energy, state.potential_energy),
            adaptation,
        )
        return moved, Info(
            acceptance_rate, moved.potential_energy, step_size, ~energy.isfinite(), {}
        )
