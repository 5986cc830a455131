"""Step sizes over time, for kernels without a Metropolis correction: step 0, 1, 2, ... -> eps.

A schedule may also say which steps lead to states worth keeping (``is_sampling``) and at which
temperature a step is made (``temperature``); one that does not keeps all, at temperature 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

Schedule: TypeAlias = Callable[[int], float]


@runtime_checkable
class WindowedSchedule(Protocol):
    """A schedule some of whose steps lead to states that are not worth keeping."""

    def __call__(self, step: int) -> float: ...

    def is_sampling(self, step: int) -> bool:
        """Whether the step belongs to a window of sampling."""
        ...

    def temperature(self, step: int) -> float:
        """Of the step's noise."""
        ...


@runtime_checkable
class WindowedKernel(Protocol):
    """A kernel that wants some of its states left out of the draws."""

    def is_sampling(self, state: Any) -> bool:
        """Whether ``state``, as ``step`` returned it, may be kept as a draw.

        Only its ``adaptation`` is looked at: inside of Gibbs nothing else is carried on.
        """
        ...


def is_sampling(schedule: Schedule, step: int) -> bool:
    """Whether the state to which ``step`` leads is worth keeping."""
    return schedule.is_sampling(step) if isinstance(schedule, WindowedSchedule) else True


def temperature(schedule: Schedule, step: int) -> float:
    """The temperature at which the schedule wants ``step`` made."""
    return schedule.temperature(step) if isinstance(schedule, WindowedSchedule) else 1.0


def may_keep(kernel: Any, state: Any) -> bool:
    """Whether a driver may keep ``state`` as a draw: always, unless the kernel objects."""
    return kernel.is_sampling(state) if isinstance(kernel, WindowedKernel) else True


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
    """eps_t = step_size/2 (1 + cos(pi (t mod period) / period)) (Zhang et al. 2020, equation 1).

    Large steps find another mode, small ones explore it: a cycle begins with a share
    ``exploration`` of steps whose states are not kept, and ends with the window of sampling.

    Attributes:
        step_size: at the beginning of each cycle.
        period: steps a cycle.
        exploration: share of a cycle before its window, in [0, 1); their beta.
        exploration_temperature: of the steps before the window; 0, as in their algorithm 1, makes
            them plain descent.

    Raises:
        ValueError: there is no step in the window, or a number is out of its range.
    """

    step_size: float
    period: int
    exploration: float = 0.0
    exploration_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be at least 1, got {self.period}")
        if not 0.0 <= self.exploration < 1.0:
            raise ValueError(f"exploration must be in [0, 1), got {self.exploration}")
        if not self.exploration_temperature >= 0.0:
            raise ValueError(
                "exploration_temperature must be zero or positive,"
                f" got {self.exploration_temperature}"
            )

    def __call__(self, step: int) -> float:
        return 0.5 * self.step_size * (1.0 + math.cos(math.pi * self._phase(step)))

    def is_sampling(self, step: int) -> bool:
        """Whether the step belongs to the window of its cycle."""
        # The last step of a cycle always does.
        return self._phase(step) >= self.exploration or (step + 1) % self.period == 0

    def temperature(self, step: int) -> float:
        """Of the step's noise."""
        return 1.0 if self.is_sampling(step) else self.exploration_temperature

    def _phase(self, step: int) -> float:
        return (step % self.period) / self.period
