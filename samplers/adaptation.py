"""Tuning during warmup: step sizes by dual averaging, preconditioners by running variances.

Both are records that a kernel carries in its state and moves while ``is_warmup``; afterwards they
stay as they are, so that the kernel keeps its invariant distribution.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Position

# Hoffman & Gelman 2014, section 3.2.1.
_GAMMA = 0.05
_DELAY = 10.0
_KAPPA = 0.75

_FIRST_WINDOW = 30
_LEAST_COUNT = 10
_WINDOW_GROWTH = 1.5
_PRIOR_COUNT = 5.0
_PRIOR_VARIANCE = 1e-3

_MOST_PROBES = 64
"""Of the Fisher information: the past that a running mean remembers."""


def check_aim(target_acceptance_rate: float) -> None:
    """Refuse an acceptance rate that no step size has.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0.0 < target_acceptance_rate < 1.0:
        raise ValueError(
            f"target_acceptance_rate is {target_acceptance_rate}; it must be between 0 and 1"
        )


class DualAveraging(NamedTuple):
    """Step sizes that approach a given acceptance rate (Nesterov 2009; Hoffman & Gelman 2014).

    With a_t the acceptance rate at step t and delta the aim,

        Hbar_t = (1 - 1/(t + t0)) Hbar_{t-1} + (delta - a_t)/(t + t0),
        log eps_t = mu - sqrt(t)/gamma Hbar_t,
        log epsbar_t = t^-kappa log eps_t + (1 - t^-kappa) log epsbar_{t-1}.

    Attributes:
        log_step_size: log eps_t, used while warming up.
        log_average: log epsbar_t, used afterwards.
        error: Hbar_t.
        anchor: mu = log(10 eps_0), towards which log eps_t is drawn.
        num_updates: t.
    """

    log_step_size: Float[Tensor, " chain"]
    log_average: Float[Tensor, " chain"]
    error: Float[Tensor, " chain"]
    anchor: Float[Tensor, " chain"]
    num_updates: Float[Tensor, " chain"]

    @classmethod
    def start(cls, step_size: float, energy: Float[Tensor, " chain"]) -> "DualAveraging":
        """Begin at the same step size in every chain; ``energy`` gives number and device.

        Raises:
            ValueError: the step size is not positive.
        """
        if not step_size > 0.0:
            raise ValueError(f"step_size must be positive, got {step_size}")
        zeros = torch.zeros_like(energy, dtype=torch.float64)
        log_step_size = zeros + math.log(step_size)
        anchor = log_step_size + math.log(10.0)
        return cls(log_step_size, log_step_size, zeros, anchor, zeros)

    def step_size(self, is_warmup: bool) -> Float[Tensor, " chain"]:
        """The step size to use now."""
        return (self.log_step_size if is_warmup else self.log_average).exp()

    def update(
        self,
        acceptance_rate: Float[Tensor, " chain"],
        target_acceptance_rate: float,
        *,
        is_shared: bool = False,
        where: Bool[Tensor, " chain"] | None = None,
    ) -> "DualAveraging":
        """Learn from the acceptance rate of one step.

        Args:
            acceptance_rate: of the step just made with ``step_size(is_warmup=True)``.
            target_acceptance_rate: the aim, delta.
            is_shared: learn from the mean over chains, so that all keep the same step size.
            where: the chains whose step this was; None: all. The others do not count.
        """
        where = torch.ones_like(acceptance_rate, dtype=torch.bool) if where is None else where
        if is_shared:
            mean = (acceptance_rate * where).sum() / where.sum().clamp(min=1)
            acceptance_rate = mean.expand_as(acceptance_rate)
            where = where.any().expand_as(where)
        count = self.num_updates + 1.0
        weight = 1.0 / (count + _DELAY)
        error = (1.0 - weight) * self.error + weight * (target_acceptance_rate - acceptance_rate)
        log_step_size = self.anchor - count.sqrt() / _GAMMA * error
        forget = count**-_KAPPA
        log_average = forget * log_step_size + (1.0 - forget) * self.log_average
        moved = DualAveraging(log_step_size, log_average, error, self.anchor, count)
        return DualAveraging(*(torch.where(where, n, o) for n, o in zip(moved, self, strict=True)))

    def rescaled(self, log_factor: Float[Tensor, " chain"]) -> "DualAveraging":
        """All step sizes multiplied by exp(log_factor): the unit of length has changed."""
        return self._replace(
            log_step_size=self.log_step_size + log_factor,
            log_average=self.log_average + log_factor,
            anchor=self.anchor + log_factor,
        )


class RunningVariance(NamedTuple):
    """Mean and variance a chain, one position at a time (Welford 1962).

    Attributes:
        num_seen: positions.
        mean: of them.
        squares: summed squared deviations from the mean.
    """

    num_seen: int
    mean: Position
    squares: Position

    @classmethod
    def start(cls, position: Position) -> "RunningVariance":
        """Nothing seen yet; ``position`` gives names and shapes."""
        zeros = {site: torch.zeros_like(value) for site, value in position.items()}
        return cls(0, zeros, zeros)

    def update(self, position: Position) -> "RunningVariance":
        """Look at one more position."""
        count = self.num_seen + 1
        mean, squares = {}, {}
        for site, value in position.items():
            delta = value - self.mean[site]
            mean[site] = torch.add(self.mean[site], delta, alpha=1.0 / count)
            squares[site] = torch.addcmul(self.squares[site], delta, value - mean[site])
        return RunningVariance(count, mean, squares)

    def regularised(self) -> Position:
        """Variance shrunk towards 1e-3 with the weight of five positions, as in Stan.

        n/(n + 5) s^2 + 5/(n + 5) 1e-3
        """
        weight = self.num_seen / (self.num_seen + _PRIOR_COUNT)
        share, floor = weight / max(self.num_seen - 1, 1), (1.0 - weight) * _PRIOR_VARIANCE
        return {site: (share * squares).add_(floor) for site, squares in self.squares.items()}


class DiagonalAdaptation(NamedTuple):
    """A diagonal preconditioner that follows the variance of the recent past, chain by chain.

    Two running variances overlap: ``recent`` supplies the preconditioner at every step, ``next`` is
    younger and takes its place at the end of a window. So the transient is forgotten without
    knowing how long warmup lasts. Windows grow by half.

    Attributes:
        preconditioner: diagonal of M^-1, [chain, ...] a site.
        recent: what the preconditioner is computed from.
        next: begun at the last end of a window.
        window: positions that ``next`` sees before it takes over.
    """

    preconditioner: Position
    recent: RunningVariance
    next: RunningVariance
    window: int

    @classmethod
    def start(
        cls, position: Position, preconditioner: Position | None = None
    ) -> "DiagonalAdaptation":
        """Begin with a given diagonal (None: ones)."""
        begin = {
            site: torch.ones_like(value)
            if preconditioner is None
            else preconditioner[site].expand_as(value).clone()
            for site, value in position.items()
        }
        empty = RunningVariance.start(position)
        return cls(begin, empty, empty, _FIRST_WINDOW)

    def update(self, position: Position) -> "DiagonalAdaptation":
        """Look at one more position; replace the preconditioner once there is enough to go by."""
        recent, following, window = (
            self.recent.update(position),
            self.next.update(position),
            self.window,
        )
        if following.num_seen >= window:
            recent, following = following, RunningVariance.start(position)
            window = int(window * _WINDOW_GROWTH)
        enough = recent.num_seen >= _LEAST_COUNT
        preconditioner = recent.regularised() if enough else self.preconditioner
        return DiagonalAdaptation(preconditioner, recent, following, window)

    def log_scale(self) -> Float[Tensor, " chain"]:
        """Mean logarithm of the diagonal: the size of the unit in which steps are measured."""
        size = sum(value[0].numel() for value in self.preconditioner.values())
        return positions.total([value.log() for value in self.preconditioner.values()]) / size


class FisherDiagonal(NamedTuple):
    """A preconditioner from the Fisher information, averaged over the recent past, by chain.

    Attributes:
        num_probes: random vectors that the average stands on, at most as many as it remembers.
        diagonal: of M, [chain, ...] a site.
    """

    num_probes: int
    diagonal: Position

    @classmethod
    def start(cls, position: Position) -> "FisherDiagonal":
        """Nothing known yet: ones."""
        return cls(0, {site: torch.ones_like(value) for site, value in position.items()})

    def update(self, diagonal: Position, num_probes: int) -> "FisherDiagonal":
        """Average with one more estimate; what is long past is forgotten."""
        total = min(self.num_probes + num_probes, _MOST_PROBES)
        weight = num_probes / total
        mean = {s: v + weight * (diagonal[s] - v) for s, v in self.diagonal.items()}
        return FisherDiagonal(total, mean)

    def preconditioner(self) -> Position:
        """Diagonal of M^-1."""
        return {site: 1.0 / value for site, value in self.diagonal.items()}

    def log_scale(self) -> Float[Tensor, " chain"]:
        """Mean logarithm of M^-1: the size of the unit in which steps are measured."""
        size = sum(value[0].numel() for value in self.diagonal.values())
        return -positions.total([value.log() for value in self.diagonal.values()]) / size
