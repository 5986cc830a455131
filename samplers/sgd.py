"""Stochastic gradient descent, plain and with noise: baselines that look like SGLD and are not."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from bayes_splat.samplers import positions, stochastic_gradients
from bayes_splat.samplers.base import Generators, Info, MinibatchTarget, Position
from bayes_splat.samplers.schedules import Constant, Schedule
from bayes_splat.samplers.stochastic_gradients import StochasticGradientState


class Adaptation(NamedTuple):
    """What SGD carries along.

    Attributes:
        num_steps: made so far, the time of the schedule.
    """

    num_steps: int


@dataclass(frozen=True)
class SGD:
    """x' = x - eps_t g(x) + noise_scale xi: an optimiser, not a sampler.

    Without noise the chain falls to a mode and trembles there with the noise of the minibatches;
    with noise it trembles more. Its spread is that of the settings and not of the posterior: along
    an axis on which U is a parabola of curvature c and g exact, the stationary variance is
    noise_scale^2 / (1 - (1 - eps c)^2) where the posterior has 1 / c. Only noise_scale =
    sqrt(2 eps_t), which is SGLD, makes the two agree as eps goes to zero.

    It is here to be compared with. Steps to where the estimate is not finite are not made, and
    flagged, as in SGLD.

    Attributes:
        target: gives minibatches and estimates.
        schedule: eps_t, the learning rate.
        noise_scale: standard deviation of isotropic noise a step, whatever eps_t is; 0: plain SGD.
        anchor_every: steps between looks at all data (``stochastic_gradients``; Johnson & Zhang
            2013); None: no control variate.

    Raises:
        ValueError: the noise scale is negative or no number, or ``anchor_every`` below 1.
    """

    target: MinibatchTarget
    schedule: Schedule = field(default_factory=lambda: Constant(1e-3))
    noise_scale: float = 0.0
    anchor_every: int | None = None

    def __post_init__(self) -> None:
        if not self.noise_scale >= 0.0:
            raise ValueError(f"noise_scale must be zero or positive, got {self.noise_scale}")
        stochastic_gradients.check_anchor_every(self.anchor_every)

    def init(
        self, position: Position, adaptation: Adaptation | None = None
    ) -> StochasticGradientState:
        """Evaluate the target on all data once; ``adaptation`` carries the time over."""
        begin = Adaptation(0) if adaptation is None else adaptation
        return stochastic_gradients.start(self.target, position, begin, self.anchor_every)

    def step(
        self, generators: Generators, state: StochasticGradientState, is_warmup: bool = False
    ) -> tuple[StochasticGradientState, Info]:
        """One step of every chain; nothing is tuned."""
        num_steps = state.adaptation.num_steps
        step_size = torch.full_like(state.potential_energy, self.schedule(num_steps))
        slopes = positions.finite_or_zero(state.gradient)
        candidate = {
            site: value - positions.per_chain(step_size, value) * slopes[site]
            for site, value in state.position.items()
        }
        if self.noise_scale > 0.0:
            noise = positions.randn_like(generators, candidate)
            candidate = {s: v + self.noise_scale * noise[s] for s, v in candidate.items()}
        moved, is_moved = stochastic_gradients.arrive(
            self.target, generators, state, candidate, self.anchor_every
        )
        moved = moved._replace(adaptation=Adaptation(num_steps + 1))
        return moved, Info(
            is_moved.to(step_size.dtype), moved.potential_energy, step_size, ~is_moved, {}
        )
