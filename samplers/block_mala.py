"""MALA that is accepted block by block, so that its step does not shrink as targets grow.

One accept or reject for all of d coordinates forces steps of order d^(-1/3). Where a target is a
sum of local terms, moves in different places can be judged apart, and the size of a block sets the
step instead.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.samplers import langevin, metropolis, positions
from bayes_splat.samplers.adaptation import DualAveraging, FisherDiagonal, check_aim
from bayes_splat.samplers.base import (
    BlockEnergies,
    EnergyReport,
    FisherTarget,
    Generators,
    Info,
    Partition,
    PartitionedTarget,
    Position,
)

_PROBES = 8
"""Of the Fisher information at the first step of warmup; afterwards one a step."""


class Adaptation(NamedTuple):
    """What is tuned in warmup.

    Attributes:
        step_size: dual averaging a chain.
        fisher: running mean of the Fisher diagonal, where it is the preconditioner.
    """

    step_size: DualAveraging
    fisher: FisherDiagonal | None


class BlockMALAState(NamedTuple):
    """Where the chains are between partitions.

    Attributes:
        position: unconstrained.
        potential_energy: there; NaN before the first step, which evaluates it.
        adaptation: frozen after warmup.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    adaptation: Adaptation


@dataclass(frozen=True)
class BlockMALA:
    """Langevin moves of all active coordinates at once, each block accepted or rejected alone.

    A step draws a partition, evaluates the present position once, and makes ``num_moves`` moves
    with it, at one evaluation of energy and gradient each: 1 + 1/num_moves a move.

    **Why it is exact.** Let P be the partition, A the set of active units and z the values of the
    others. P is drawn without looking at the position, so it suffices that the moves leave the
    target invariant for every P. Moves change neither z nor, by step 2 below, A: they walk in the
    target restricted to {x : A(x) = A} and conditioned on z. Whether a unit is active depends on
    that unit alone, so this set is a product over units, and the density on it is a product over
    blocks, exp(-U_b(x_b, z)): no term sees active units of two blocks. For the same reason the
    drift of block b, the gradient of U_b, is a function of (x_b, z). So the blocks are independent
    targets, and each gets an ordinary MALA move with its own energy, its own coordinates' proposal
    densities and its own coin:

    1. propose for every active coordinate;
    2. a block in which some unit would change its owner (or be active no more) is outside the set:
       it is rejected *before* the evaluation and its units stay where they are. Evaluated, they
       might reach into another block and spoil its energy;
    3. evaluate once; accept block b with min(1, exp(U_b(x) - U_b(x')) q_b(x | x') / q_b(x' | x)).

    **No gradient goes stale.** After some blocks have accepted and others not, a block's energy and
    the gradient of its active coordinates are those of its own last accepted evaluation, by the
    same independence: they are put together without another evaluation, as long as P stays. The
    gradient of inactive coordinates is not: it sums over blocks of both kinds. A new P makes some
    of them active, hence one evaluation a partition. (To split that gradient between blocks would
    take two more backward passes, at the old and at the new position: no cheaper.)

    Units that no partition makes active never move: another kernel has to move them.

    Attributes:
        target: what to sample.
        step_size: eps at the start.
        target_acceptance_rate: aim of the mean acceptance rate over active coordinates.
        num_moves: a partition.
        preconditioner: diagonal of M^-1 a site, broadcast against [chain, ...]; None: ones.
        adapt_step_size: False keeps ``step_size`` as it is.
        adapt_preconditioner: M is the Fisher diagonal, averaged over warmup chain by chain; needs a
            ``FisherTarget``. Until the first step of warmup it is ``preconditioner``.
    """

    target: PartitionedTarget
    step_size: float = 0.1
    target_acceptance_rate: float = 0.574
    num_moves: int = 4
    preconditioner: Position | None = None
    adapt_step_size: bool = True
    adapt_preconditioner: bool = False

    def __post_init__(self) -> None:
        check_aim(self.target_acceptance_rate)
        if self.num_moves < 1:
            raise ValueError(f"num_moves must be at least 1, got {self.num_moves}")

    def init(self, position: Position, adaptation: Adaptation | None = None) -> BlockMALAState:
        """Start from ``position`` without looking at the target."""
        some = next(iter(position.values()))
        unknown = torch.full((len(some),), torch.nan, dtype=torch.float64, device=some.device)
        if adaptation is None:
            fisher = FisherDiagonal.start(position) if self.adapt_preconditioner else None
            adaptation = Adaptation(DualAveraging.start(self.step_size, unknown), fisher)
        return BlockMALAState(position, unknown, adaptation)

    def step(
        self, generators: Generators, state: BlockMALAState, is_warmup: bool = False
    ) -> tuple[BlockMALAState, Info]:
        """One partition and ``num_moves`` moves in it.

        Returns:
            The new state, and an Info whose acceptance rate is that of the active coordinates'
            blocks, averaged over coordinates and moves; 0 where nothing was active.
        """
        position, (averaging, fisher) = state.position, state.adaptation
        if is_warmup and fisher is not None:
            averaging, fisher = self._look(generators, position, averaging, fisher)
        inverse_mass = self.preconditioner
        if fisher is not None and fisher.num_probes > 0:
            inverse_mass = fisher.preconditioner()
        if not isinstance(self.target, PartitionedTarget):
            raise ValueError(
                f"BlockMALA needs a target that can be cut into blocks (a PartitionedTarget), and"
                f" {type(self.target).__name__} cannot; take MALA, or models.tile_blocks.TileBlocks"
            )
        partition = self.target.draw_partition(generators)
        walk = _Walk.start(partition, position, inverse_mass)
        rates, diverging = [], []
        step_size = averaging.step_size(is_warmup)
        for _ in range(self.num_moves):
            step_size = averaging.step_size(is_warmup)
            walk, rate, is_diverging = walk.move(generators, step_size)
            rates.append(rate)
            diverging.append(is_diverging)
            if is_warmup and self.adapt_step_size:
                averaging = averaging.update(
                    rate, self.target_acceptance_rate, where=walk.is_active().any(1)
                )
        energy = walk.energies.blocks.sum(1) + walk.energies.rest
        moved = BlockMALAState(walk.position, energy, Adaptation(averaging, fisher))
        return moved, Info(
            acceptance_rate=torch.stack(rates).mean(0),
            potential_energy=energy,
            step_size=step_size,
            diverging=torch.stack(diverging).any(0),
            blocks={},
        )

    def _look(
        self,
        generators: Generators,
        position: Position,
        averaging: DualAveraging,
        fisher: FisherDiagonal,
    ) -> tuple[DualAveraging, FisherDiagonal]:
        """The preconditioner after one more look at the Fisher information."""
        if not isinstance(self.target, FisherTarget):
            raise ValueError(
                f"adapt_preconditioner needs a target with fisher_diagonal, and"
                f" {type(self.target).__name__} has none; pass adapt_preconditioner=False"
            )
        probes = _PROBES if fisher.num_probes == 0 else 1
        updated = fisher.update(self.target.fisher_diagonal(generators, position, probes), probes)
        if self.adapt_step_size and fisher.num_probes > 0:
            # Keeps eps M^-1 as large as it was: only its shape changes.
            averaging = averaging.rescaled(fisher.log_scale() - updated.log_scale())
        return averaging, updated


class _Walk(NamedTuple):
    """Moves in one partition: where they are, and what each block has last been evaluated to.

    ``owners`` stay the same all along. ``energies.gradient`` is right where a coordinate is active.
    """

    partition: Partition
    owners: Position
    inverse_mass: Position | None
    position: Position
    energies: BlockEnergies

    @staticmethod
    def start(partition: Partition, position: Position, inverse_mass: Position | None) -> "_Walk":
        energies = _tidy(partition.evaluate(position))
        return _Walk(partition, partition.owners(position), inverse_mass, position, energies)

    def move(
        self, generators: Generators, step_size: Float[Tensor, " chain"]
    ) -> tuple["_Walk", Float[Tensor, " chain"], Bool[Tensor, " chain"]]:
        """Propose everywhere, accept block by block.

        Returns:
            The walk after the move, the acceptance rate of active coordinates, and whether a
            block's candidate had no finite energy.
        """
        here, energies, mass = self.position, self.energies, self.inverse_mass
        offered = langevin.step(generators, here, energies.gradient, step_size, mass)
        offered = self._where(self.is_active(), offered, here)
        is_allowed = self._keeps_owners(offered)
        candidate = self._where(is_allowed, offered, here)
        there = _tidy(self.partition.evaluate(candidate))
        forwards = self._density(candidate, here, energies.gradient, step_size)
        backwards = self._density(here, candidate, there.gradient, step_size)
        rate = metropolis.acceptance_rate(
            energies.blocks.flatten(), there.blocks.flatten(), (backwards - forwards).flatten()
        ).reshape(energies.blocks.shape)
        rate = torch.where(is_allowed, rate, torch.zeros_like(rate))
        is_accepted = self._coins(generators).to(rate.device) < rate
        moved = self._replace(
            position=self._where(is_accepted, candidate, here),
            energies=BlockEnergies(
                torch.where(is_accepted, there.blocks, energies.blocks),
                energies.rest,
                self._where(is_accepted, there.gradient, energies.gradient),
            ),
        )
        weight = self._count()
        mean = (rate * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return moved, mean, ((weight > 0) & ~there.blocks.isfinite()).any(1)

    def is_active(self) -> Bool[Tensor, "chain block"]:
        """Blocks that have an active coordinate."""
        return self._count() > 0

    def _count(self) -> Float[Tensor, "chain block"]:
        ones = {s: torch.ones_like(v, dtype=torch.float64) for s, v in self.position.items()}
        return self._sums(ones)

    def _keeps_owners(self, offered: Position) -> Bool[Tensor, "chain block"]:
        """Blocks whose active coordinates would all still be theirs."""
        new = self.partition.owners(offered)
        lost = {site: (new[site] != owner).double() for site, owner in self.owners.items()}
        return self._sums(lost) == 0.0

    def _density(
        self, to: Position, start: Position, gradient: Position, step_size: Tensor
    ) -> Float[Tensor, "chain block"]:
        """Log density of the step from ``start`` to ``to`` of every block's active coordinates."""
        mass = self.inverse_mass
        return self._sums(langevin.log_density_terms(to, start, gradient, step_size, mass))

    def _sums(self, values: Position) -> Float[Tensor, "chain block"]:
        """Sums of the active coordinates' values by block, in a fixed order."""
        chains, blocks = positions.num_chains(self.position), self.partition.num_blocks
        columns = blocks + 1  # the last one for what is inactive
        index, weights = [], []
        for site, owner in self.owners.items():
            flat = owner.reshape(chains, -1)
            flat = torch.where(flat < 0, blocks, flat)
            index.append(flat + columns * torch.arange(chains, device=flat.device)[:, None])
            weights.append(values[site].reshape(chains, -1).to(torch.float64))
        sums = torch.bincount(
            torch.cat(index, 1).flatten(), torch.cat(weights, 1).flatten(), chains * columns
        )
        return sums.reshape(chains, columns)[:, :blocks]

    def _where(
        self, mask: Bool[Tensor, "chain block"], chosen: Position, other: Position
    ) -> Position:
        """``chosen`` in active coordinates of blocks where ``mask`` holds, ``other`` elsewhere."""
        padded = torch.nn.functional.pad(mask, (0, 1))  # inactive: never chosen
        result = {}
        for site, owner in self.owners.items():
            flat = owner.reshape(len(owner), -1)
            index = torch.where(flat < 0, mask.shape[1], flat)
            is_chosen = padded.gather(1, index).reshape(owner.shape)
            result[site] = torch.where(is_chosen, chosen[site], other[site])
        return result

    def _coins(self, generators: Generators) -> Float[Tensor, "chain block"]:
        size = self.partition.num_blocks
        return torch.stack([torch.rand(size, generator=g, dtype=torch.float64) for g in generators])


def _tidy(energies: EnergyReport) -> BlockEnergies:
    """Infinite where an energy is no number, and no drift where a slope is none.

    Decided coordinate by coordinate: a rule for a whole chain, as MALA has it, would let one
    block's drift depend on another block.
    """
    blocks, slopes = energies.blocks, energies.gradient
    return BlockEnergies(
        torch.where(blocks.isfinite(), blocks, torch.full_like(blocks, torch.inf)),
        energies.rest,
        {s: torch.where(v.isfinite(), v, torch.zeros_like(v)) for s, v in slopes.items()},
    )
