"""Step sizes over time, for kernels without a Metropolis correction: step 0, 1, 2, ... -> eps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The same step size always: quick, with a bias that does not vanish."""

    step_size: float

    def __call__(self, step: int) -> float:
        return self.step_size


@dataclass(frozen=True)
class Polynomial:
    """eps_t = step_size (1 + t / delay)^-power (Welling & Teh 2011).

    With power in (1/2, 1] the steps sum to infinity and their squares do not, so that averages
    weighted with the step sizes become exact in the limit.

    Attributes:
        step_size: at step 0.
        delay: steps before the decay sets in.
        power: of the decay.
    """

    step_size: float
    delay: float = 100.0
    power: float = 0.55

    def __call__(self, step: int) -> float:
        return float(self.step_size * (1.0 + step / self.delay) ** -self.power)


@dataclass(frozen=True)
class Cyclical:
    """eps_t = step_size/2 (1 + cos(pi (t mod period) / period)) (Zhang et al. 2020).

    Large steps find another mode, small ones explore it.

    Attributes:
        step_size: at the beginning of each cycle.
        period: steps a cycle.
    """

    step_size: float
    period: int

    def __call__(self, step: int) -> float:
        phase = (step % self.period) / self.period
        return 0.5 * self.step_size * (1.0 + math.cos(math.pi * phase))
