"""What kernels, targets and blocks are: the protocols that everything in this room speaks.

Signs and names: ``potential_energy`` is minus the log joint density (up to a constant) in
unconstrained coordinates, Jacobian included, as in Pyro. A position is a dictionary from site name
to a float64 tensor whose leading axis is the chain: kernels move all chains at once and never mix
them. Randomness comes only from ``generators``, one ``torch.Generator`` a chain, so that a chain's
draws do not depend on how many others run beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Position: TypeAlias = dict[str, Tensor]
"""Site name -> unconstrained value [chain, ...], float64."""

Generators: TypeAlias = Sequence[torch.Generator]
"""One random stream a chain."""

State: TypeAlias = Any
"""What a kernel's next step needs: a NamedTuple with at least ``position``, ``potential_energy``
and ``adaptation`` (the tuning, which ``init`` takes back)."""


class Info(NamedTuple):
    """What a reader of diagnostics needs from one step; never carried into the next.

    Attributes:
        acceptance_rate: probability with which the step's moves were accepted, in [0, 1].
        potential_energy: of the state after the step.
        step_size: used in the step; NaN where the kernel has none.
        diverging: a candidate had a non-finite energy (the move was rejected).
        blocks: acceptance rate a block, for composed kernels; empty otherwise.
    """

    acceptance_rate: Float[Tensor, " chain"]
    potential_energy: Float[Tensor, " chain"]
    step_size: Float[Tensor, " chain"]
    diverging: Bool[Tensor, " chain"]
    blocks: dict[str, Tensor]


@runtime_checkable
class Target(Protocol):
    """A density over positions, evaluated for all chains at once."""

    def potential_energy(self, position: Position) -> Float[Tensor, " chain"]:
        """Minus the log joint of every chain, float64; +inf outside the support, never NaN."""
        ...

    def potential_and_gradient(
        self, position: Position
    ) -> tuple[Float[Tensor, " chain"], Position]:
        """The potential energy and its gradient with respect to the position."""
        ...


@runtime_checkable
class Kernel(Protocol):
    """A Markov transition that leaves its ``target`` invariant (or says by how much it does not).

    Kernels are frozen dataclasses with a field ``target``; ``dataclasses.replace`` puts the same
    settings on another target, which is how Gibbs uses a kernel on a conditional.
    """

    @property
    def target(self) -> Target: ...

    def init(self, position: Position, adaptation: Any = None) -> State:
        """Evaluate the target once and start from there; ``adaptation`` carries tuning over."""
        ...

    def step(
        self, generators: Generators, state: State, is_warmup: bool = False
    ) -> tuple[State, Info]:
        """One transition of every chain. Tuning moves only while ``is_warmup``."""
        ...


@runtime_checkable
class PerChain(Protocol):
    """A target that holds something of every chain, and can say what it is for one alone.

    Kernels that move chains one after another ask for that: conditionals have it.
    """

    def of_chain(self, chain: int) -> Target:
        """The target of positions [1, ...] of that chain."""
        ...


def of_chain(target: Target, chain: int) -> Target:
    """The target of one chain alone; itself where it is the same for all of them."""
    return target.of_chain(chain) if isinstance(target, PerChain) else target


@runtime_checkable
class Conditional(Protocol):
    """Part of a position, in coordinates of its own, with the rest held fixed.

    A conditional whose targets return the energy of the whole joint, nothing left out, may say so
    with a class attribute ``is_joint = True``; ``Gibbs`` then need not evaluate it again.
    """

    def given(self, position: Position) -> Target:
        """The density of the block coordinates given everything else in ``position``."""
        ...

    def extract(self, position: Position) -> Position:
        """Block coordinates of ``position``."""
        ...

    def insert(self, block: Position, position: Position) -> Position:
        """``position`` with the block replaced."""
        ...


class BlockInfo(NamedTuple):
    """What one block reports of one step.

    Attributes:
        acceptance_rate: one per chain; 1 for a draw from the exact conditional.
        step_size: NaN where the block has none.
        diverging: a candidate had a non-finite energy.
        potential_energy: of the *joint* after the step, where the block happens to know it. A
            conditional that leaves out what does not depend on its block does not know it: what it
            leaves out depends on the other blocks.
    """

    acceptance_rate: Float[Tensor, " chain"]
    step_size: Float[Tensor, " chain"]
    diverging: Bool[Tensor, " chain"]
    potential_energy: Float[Tensor, " chain"] | None = None


@runtime_checkable
class BlockReport(Protocol):
    """What Gibbs reads of a block's report: a ``BlockInfo``, or another room's own record."""

    @property
    def acceptance_rate(self) -> Tensor: ...

    @property
    def step_size(self) -> Tensor: ...

    @property
    def diverging(self) -> Tensor: ...

    @property
    def potential_energy(self) -> Tensor | None: ...


@runtime_checkable
class Block(Protocol):
    """One part of a Gibbs sweep: moves some sites, leaves the joint target invariant."""

    @property
    def name(self) -> str: ...

    def init(self, position: Position) -> Any:
        """Tuning that the block carries between sweeps (None where it has none)."""
        ...

    def step(
        self, generators: Generators, position: Position, tuning: Any, is_warmup: bool
    ) -> tuple[Position, Any, BlockReport]:
        """Move the block's sites in every chain, given the rest of ``position``."""
        ...


Batch: TypeAlias = dict[str, Any]
"""Keyword arguments that restrict a model to a random part of its data."""


@runtime_checkable
class MinibatchTarget(Target, Protocol):
    """A target whose likelihood can be estimated without bias from a random part of the data."""

    def draw_batch(self, generators: Generators) -> Batch:
        """Choose the part of the data that the next gradient looks at."""
        ...

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Float[Tensor, " chain"], Position]:
        """With a batch: unbiased estimates of the energy and its gradient. Without: exact."""
        ...


class BlockEnergies(NamedTuple):
    """A target evaluated block by block.

    Attributes:
        blocks: every term of the potential energy that depends on an active coordinate, in the
            block that owns it; +inf or NaN where a block's candidate has no density.
        rest: all other terms: ``blocks.sum(1) + rest`` is the potential energy.
        gradient: of the potential energy.
    """

    blocks: Float[Tensor, "chain block"]
    rest: Float[Tensor, " chain"]
    gradient: Position


@runtime_checkable
class EnergyReport(Protocol):
    """What kernels read of such an evaluation: ``BlockEnergies``, or another room's own record."""

    @property
    def blocks(self) -> Tensor: ...

    @property
    def rest(self) -> Tensor: ...

    @property
    def gradient(self) -> Position: ...


@runtime_checkable
class Partition(Protocol):
    """One way to cut a target into blocks that do not touch, given what is inactive.

    A coordinate is *active* where every term of the target that depends on it belongs to one block,
    its owner. Coordinates come in units (all that describe one thing), and owners depend on the
    values of the unit alone: whether it is active does not change while others move. The terms of a
    block depend on its own active units and on inactive ones, never on the active units of another
    block.
    """

    @property
    def num_blocks(self) -> int:
        """How many blocks a chain has at most, whatever the other chains do."""
        ...

    def owners(self, position: Position) -> Position:
        """The block of every coordinate, int64 of the shapes of ``position``; -1: inactive."""
        ...

    def evaluate(self, position: Position) -> EnergyReport:
        """Energies by block and the gradient; which terms a block has must not change with the
        position of its active units, as long as they stay active."""
        ...


@runtime_checkable
class PartitionedTarget(Target, Protocol):
    """A target whose terms are local, so that moves in different places can be judged apart."""

    def draw_partition(self, generators: Generators) -> Partition:
        """A random partition a chain, drawn without looking at any position."""
        ...


@runtime_checkable
class FisherTarget(Target, Protocol):
    """A target that knows about how stiff it is along each coordinate."""

    def fisher_diagonal(
        self, generators: Generators, position: Position, num_probes: int
    ) -> Position:
        """Estimate of the diagonal of the Fisher information, prior included; positive."""
        ...


Constrain: TypeAlias = Callable[[Position], dict[str, Tensor]]
"""From unconstrained coordinates to the values of the model's sites."""
