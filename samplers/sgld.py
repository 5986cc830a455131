"""SGLD: stochastic gradient Langevin dynamics (Welling & Teh 2011)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from bayes_splat.samplers import langevin, positions, schedules, stochastic_gradients
from bayes_splat.samplers.base import Generators, Info, MinibatchTarget, Position
from bayes_splat.samplers.schedules import Constant, Schedule
from bayes_splat.samplers.stochastic_gradients import StochasticGradientState


class Adaptation(NamedTuple):
    """What SGLD carries along.

    Attributes:
        num_steps: made so far, the time of the schedule.
        square_gradient: running mean of the squared gradient, for RMSprop, frozen after warmup;
            None otherwise.
    """

    num_steps: int
    square_gradient: Position | None


@dataclass(frozen=True)
class SGLD:
    """A Langevin step along the gradient of a minibatch, never rejected.

        x' = x - eps_t M^-1 g(x) + sqrt(2 eps_t T M^-1) xi,    E g(x) = grad U(x)

    It samples exp(-U / T) with a bias: of order eps from the discretisation (without minibatches
    this is ULA, whose stationary variance of a Normal with standard deviation s along one axis is
    s^2 / (1 - eps M^-1 / (2 s^2)) at T = 1), and from the noise of the gradient, which adds
    eps^2 M^-1 Cov(g) M^-1 to the variance of every step. Both vanish only as eps does: hold it
    against MALA before trusting an interval.

    After each step a new minibatch is drawn and energy and gradient are estimated at the new
    position. If that estimate is not finite, the chain stays where it was and is flagged as
    diverging; the acceptance rate of such a step is 0, otherwise 1.

    Attributes:
        target: gives minibatches and estimates.
        schedule: eps_t; a cyclical one also says which states to keep (``is_sampling``).
        preconditioner: "none", "fixed" (give ``diagonal``) or "rmsprop": M^-1 =
            1 / (lambda + sqrt(V)), V the running mean of squared gradients (Li et al. 2016,
            equations 4 and 5). Where V moves with the chain, exp(-U) needs a further drift
            Gamma_i(x) = sum_j d M^-1_ij / d x_j, which Li et al. drop, at the price of a bias. Here
            V moves in warmup only and is a constant afterwards: Gamma is zero and nothing dropped.
        diagonal: of the fixed M^-1 a site (an inverse Fisher information, say), broadcast against
            [chain, ...].
        rmsprop_decay: weight of the past in V.
        rmsprop_floor: lambda, in the unit of the gradient.
        anchor_every: steps between looks at all data, around which the gradients of minibatches are
            corrected (``stochastic_gradients``); None: no control variate.
        temperature: T. 0 leaves the noise out; Metropolis kernels of this room sample T = 1.

    Raises:
        ValueError: settings that contradict each other or are out of range.
    """

    target: MinibatchTarget
    schedule: Schedule = field(default_factory=lambda: Constant(1e-3))
    preconditioner: str = "none"
    diagonal: Position | None = None
    rmsprop_decay: float = 0.99
    rmsprop_floor: float = 1e-5
    anchor_every: int | None = None
    temperature: float = 1.0

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
        if not self.temperature >= 0.0:
            raise ValueError(f"temperature must be zero or positive, got {self.temperature}")
        stochastic_gradients.check_anchor_every(self.anchor_every)

    def init(
        self, position: Position, adaptation: Adaptation | None = None
    ) -> StochasticGradientState:
        """Evaluate the target on all data once; ``adaptation`` carries time and tuning over."""
        state = stochastic_gradients.start(self.target, position, adaptation, self.anchor_every)
        if adaptation is not None:
            return state
        squares = None
        if self.preconditioner == "rmsprop":
            known = positions.finite_or_zero(state.gradient)
            squares = {site: value.square() for site, value in known.items()}
        return state._replace(adaptation=Adaptation(0, squares))

    def step(
        self, generators: Generators, state: StochasticGradientState, is_warmup: bool = False
    ) -> tuple[StochasticGradientState, Info]:
        """One step of every chain."""
        num_steps, squares = state.adaptation
        step_size = torch.full_like(state.potential_energy, self.schedule(num_steps))
        inverse_mass = self._inverse_mass(squares)
        temperature = self.temperature * schedules.temperature(self.schedule, num_steps)
        downhill = {}
        for site, slope in positions.finite_or_zero(state.gradient).items():
            scale = positions.per_chain(step_size, slope)
            if inverse_mass is not None:
                scale = scale * inverse_mass[site]
            downhill[site] = state.position[site] - scale * slope
        # The drift is made: a Langevin step without a slope adds the noise.
        flat = {site: torch.zeros_like(value) for site, value in downhill.items()}
        candidate = langevin.step(generators, downhill, flat, temperature * step_size, inverse_mass)
        moved, is_moved = stochastic_gradients.arrive(
            self.target, generators, state, candidate, self.anchor_every
        )
        if squares is not None and is_warmup:
            decay = self.rmsprop_decay
            blend = {
                site: decay * value + (1.0 - decay) * moved.gradient[site].square()
                for site, value in squares.items()
            }
            squares = positions.select(is_moved, blend, squares)
        moved = moved._replace(adaptation=Adaptation(num_steps + 1, squares))
        return moved, Info(
            is_moved.to(step_size.dtype), moved.potential_energy, step_size, ~is_moved, {}
        )

    def is_sampling(self, state: StochasticGradientState) -> bool:
        """Whether the step that led to ``state`` was in a window of sampling."""
        return schedules.is_sampling(self.schedule, state.adaptation.num_steps - 1)

    def _inverse_mass(self, squares: Position | None) -> Position | None:
        """The diagonal of M^-1 in use."""
        if squares is None:
            return self.diagonal
        return {site: 1.0 / (self.rmsprop_floor + v.sqrt()) for site, v in squares.items()}
