"""Parallel tempering over the power of the likelihood (Geyer 1991; Swendsen & Wang 1986).

Flattened posteriors cross the valleys that separate modes, and swaps carry what they find down to
the posterior itself. Swaps are deterministic even-odd (Okabe et al. 2001; Syed et al. 2021), and
the ladder of powers is tuned in warmup so that neighbours swap equally often (Syed et al. 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Generators, Info, Kernel, Position, Target
from bayes_splat.samplers.ladders import Ladder
from bayes_splat.samplers.tempered_target import PowerTarget


def geometric_powers(count: int, least: float) -> tuple[float, ...]:
    """``count`` powers from 1 down to ``least``, each the same share of the one before.

    Raises:
        ValueError: fewer than two powers, or ``least`` outside (0, 1).
    """
    if count < 2 or not 0.0 < least < 1.0:
        raise ValueError(f"count must be at least 2 and least in (0, 1), got {count} and {least}")
    return tuple(least ** (rung / (count - 1)) for rung in range(count))


class Adaptation(NamedTuple):
    """What tempering tunes.

    Attributes:
        ladder: the powers, chain by chain.
        kernel: tuning of the inner kernel, row by row: of the power, not of who visits it.
        num_steps: made so far; the parity says which pairs swap.
    """

    ladder: Ladder
    kernel: Any
    num_steps: int


class TemperingState(NamedTuple):
    """Where the chains are, at all powers.

    Attributes:
        position: of the posterior itself (power 1), unconstrained [chain, ...].
        potential_energy: of the posterior, there.
        rows: positions at all powers, [chain, power, ...], a chain's powers from 1 downwards.
        adaptation: frozen after warmup, but for the count of steps.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    rows: Position
    adaptation: Adaptation


@dataclass(frozen=True)
class ParallelTempering:
    """Runs a kernel at every power of a ladder at once, and swaps the states of neighbours.

    After ``num_steps`` steps of the inner kernel at every power, the states x_i, x_j at
    neighbouring powers beta_i, beta_j change places with probability

        min(1, exp((beta_i - beta_j) (l(x_j) - l(x_i)))),    l the log likelihood,

    pairs (0, 1), (2, 3), ... in even steps and (1, 2), (3, 4), ... in odd ones. The product of all
    tempered posteriors is left invariant, and what the driver sees is its first factor: the
    posterior. If the inner kernel is exact then so is this.

    In warmup, where ``adapt_ladder``, the powers between the first and the last move until all
    pairs are expected to swap equally often.

    All powers of all chains are rows of one position, so that a step of the inner kernel evaluates
    the target once for all. A step costs ``num_steps`` + 1 gradients and one likelihood a row.

    Info reports, besides what the inner kernel reports of the posterior's row, the probability of a
    swap of every pair, in blocks ``swap_0`` (the pair of 1 and the next power), ``swap_1``, ...:
    of the pairs whose turn it is not, too, as their probabilities are known.

    It does not go inside of Gibbs: the flattened rows would not know that the other blocks moved.
    Put Gibbs inside of it.

    Attributes:
        target: gives the posterior at all powers.
        kernel: makes the inner kernel for a target: ``MALA``, ``partial(MALA, step_size=0.3)``, or
            a function that composes Gibbs.
        powers: the ladder at the start, from 1 strictly down to a power of at least 0.
        num_steps: of the inner kernel between swaps.
        adapt_ladder: False keeps ``powers`` as they are.

    Raises:
        ValueError: a ladder or a number of steps that makes no sense.
    """

    target: PowerTarget
    kernel: Callable[[Target], Kernel]
    powers: tuple[float, ...] = geometric_powers(8, 0.01)
    num_steps: int = 5
    adapt_ladder: bool = True

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.powers, self.powers[1:], strict=False))
        if len(self.powers) < 2 or self.powers[0] != 1.0 or self.powers[-1] < 0.0 or not falls:
            raise ValueError(
                f"powers must fall strictly from 1.0 to a number of at least 0.0, got {self.powers}"
            )
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")

    def init(self, position: Position, adaptation: Adaptation | None = None) -> TemperingState:
        """Start all powers of a chain from its ``position``; ``adaptation`` carries tuning over."""
        count = len(self.powers)
        rows = {
            site: value[:, None].expand(-1, count, *value.shape[1:])
            for site, value in position.items()
        }
        ladder = Ladder.start(self.powers, next(iter(position.values())))
        if adaptation is not None:
            ladder = adaptation.ladder
        tuning = None if adaptation is None else adaptation.kernel
        inner = self._inner(ladder).init(_flat(rows), tuning)
        if adaptation is None:
            adaptation = Adaptation(ladder, inner.adaptation, 0)
        return TemperingState(position, inner.potential_energy[::count], rows, adaptation)

    def step(
        self, generators: Generators, state: TemperingState, is_warmup: bool = False
    ) -> tuple[TemperingState, Info]:
        """Some steps of the inner kernel at every power, then one round of swaps."""
        count, chains = len(self.powers), positions.num_chains(state.position)
        ladder, tuning, num_steps = state.adaptation
        streams = [generator for generator in generators for _ in range(count)]

        kernel = self._inner(ladder)
        inner = kernel.init(_flat(state.rows), tuning)
        infos = []
        for _ in range(self.num_steps):
            inner, info = kernel.step(streams, inner, is_warmup)
            infos.append(info)

        log_likelihood = self.target.log_likelihood(inner.position).reshape(chains, count)
        rates = swap_rates(ladder.powers, log_likelihood)
        uniform = positions.rand(streams).reshape(chains, count)[:, :-1].to(rates.device)
        order = _permutation((uniform < rates) & _has_turn(rates, num_steps))
        taken = (order + count * torch.arange(chains, device=order.device)[:, None]).flatten()
        rows = {
            site: value[taken].reshape(chains, count, *value.shape[1:])
            for site, value in inner.position.items()
        }
        energy = posterior_energy(ladder.powers, inner.potential_energy, log_likelihood)

        if is_warmup and self.adapt_ladder:
            ladder = ladder.update(rates)
        moved = TemperingState(
            {site: value[:, 0] for site, value in rows.items()},
            energy.gather(1, order)[:, 0],
            rows,
            Adaptation(ladder, inner.adaptation, num_steps + 1),
        )
        return moved, _report(infos, rates, moved.potential_energy, count)

    def _inner(self, ladder: Ladder) -> Kernel:
        return self.kernel(self.target.at_power(ladder.powers.flatten()))


def _flat(rows: Position) -> Position:
    """Chains and powers as one axis, that of the inner kernel's chains."""
    return {site: value.flatten(0, 1) for site, value in rows.items()}


def posterior_energy(
    powers: Float[Tensor, "chain power"],
    energy: Float[Tensor, " row"],
    log_likelihood: Float[Tensor, "chain power"],
) -> Float[Tensor, "chain power"]:
    """Potential energy at power 1, from that at each row's own: U_1 = U_beta - (1 - beta) l."""
    missing = (1.0 - powers) * log_likelihood
    # At power 1 nothing is missing, even where the likelihood is zero.
    return energy.reshape_as(powers) - torch.where(powers == 1.0, 0.0, missing)


def swap_rates(
    powers: Float[Tensor, "chain power"], log_likelihood: Float[Tensor, "chain power"]
) -> Float[Tensor, "chain pair"]:
    """Probability with which each pair of neighbours changes places; 0 where it is no number."""
    gain = log_likelihood[:, 1:] - log_likelihood[:, :-1]
    log_ratio = (powers[:, :-1] - powers[:, 1:]) * gain
    return log_ratio.clamp(max=0.0).exp().nan_to_num(nan=0.0)


def _has_turn(rates: Float[Tensor, "chain pair"], num_steps: int) -> Bool[Tensor, " pair"]:
    """Even pairs in even steps, odd ones in odd steps."""
    return torch.arange(rates.shape[1], device=rates.device) % 2 == num_steps % 2


def _permutation(is_swapped: Bool[Tensor, "chain pair"]) -> Int[Tensor, "chain power"]:
    """Whose state each power takes; no power is in two of the pairs."""
    chains, pairs = is_swapped.shape
    order = torch.arange(pairs + 1, device=is_swapped.device).repeat(chains, 1)
    order[:, :-1] += is_swapped.long()
    order[:, 1:] -= is_swapped.long()
    return order


def _report(
    infos: list[Info],
    rates: Float[Tensor, "chain pair"],
    energy: Float[Tensor, " chain"],
    count: int,
) -> Info:
    """What the inner kernel says of the posterior's rows, and the swaps."""
    blocks = {
        name: torch.stack([info.blocks[name][::count] for info in infos]).mean(0)
        for name in infos[-1].blocks
    }
    blocks |= {f"swap_{pair}": rate for pair, rate in enumerate(rates.unbind(1))}
    return Info(
        acceptance_rate=torch.stack([info.acceptance_rate[::count] for info in infos]).mean(0),
        potential_energy=energy,
        step_size=infos[-1].step_size[::count],
        diverging=torch.stack([info.diverging[::count] for info in infos]).any(0),
        blocks=blocks,
    )
