"""Gibbs sampling: kernels and exact conditional draws, block after block (Geman & Geman 1984)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import positions, schedules
from bayes_splat.samplers.base import (
    Block,
    BlockInfo,
    Conditional,
    Generators,
    Info,
    Position,
    Target,
)


class GibbsState(NamedTuple):
    """Where the chains are between sweeps.

    Attributes:
        position: unconstrained.
        potential_energy: of the joint, NaN where it is not asked for.
        adaptation: tuning by block name.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    adaptation: dict[str, Any]


@dataclass(frozen=True)
class Gibbs:
    """A sweep moves every block in turn, given the newest values of all others.

    Each block leaves the joint target invariant, and so does the sweep.

    Attributes:
        target: the joint; evaluated for the reported energies only.
        blocks: in the order of the sweep, with different names.
        energy: "each": report the joint potential energy after every sweep, taken from the last
            block if that knows it and else from one evaluation of the target. "never": NaN.
    """

    target: Target
    blocks: Sequence[Block]
    energy: str = "each"

    def __post_init__(self) -> None:
        names = [block.name for block in self.blocks]
        if not names:
            raise ValueError("Gibbs needs at least one block")
        if len(set(names)) < len(names):
            raise ValueError(f"blocks must have different names, got {names}")
        if self.energy not in ("each", "never"):
            raise ValueError(f"energy must be 'each' or 'never', got {self.energy!r}")

    def init(self, position: Position, adaptation: dict[str, Any] | None = None) -> GibbsState:
        """Start from ``position``; ``adaptation`` carries the tuning of the blocks over."""
        if adaptation is None:
            adaptation = {block.name: block.init(position) for block in self.blocks}
        return GibbsState(position, self._energy(position, None), adaptation)

    def step(
        self, generators: Generators, state: GibbsState, is_warmup: bool = False
    ) -> tuple[GibbsState, Info]:
        """One sweep over all blocks.

        Returns:
            The new state, and an Info with the mean acceptance rate over blocks, the acceptance
            rate a block, and the step size of the first block that has one.
        """
        position, adaptation, infos = state.position, dict(state.adaptation), {}
        for block in self.blocks:
            position, adaptation[block.name], infos[block.name] = block.step(
                generators, position, adaptation[block.name], is_warmup
            )
        energy = self._energy(position, infos[self.blocks[-1].name].potential_energy)
        rates = {name: info.acceptance_rate for name, info in infos.items()}
        step_sizes = [i.step_size for i in infos.values() if not i.step_size.isnan().all()]
        info = Info(
            acceptance_rate=torch.stack(list(rates.values())).mean(0),
            potential_energy=energy,
            step_size=step_sizes[0] if step_sizes else torch.full_like(energy, torch.nan),
            diverging=torch.stack([i.diverging for i in infos.values()]).any(0),
            blocks=rates,
        )
        return GibbsState(position, energy, adaptation), info

    def is_sampling(self, state: GibbsState) -> bool:
        """Whether no block objects to ``state`` as a draw: cyclical schedules explore."""
        tuned = ((block, state.adaptation[block.name]) for block in self.blocks)
        return all(b.is_sampling(t) for b, t in tuned if isinstance(b, KernelBlock))

    def _energy(
        self, position: Position, known: Float[Tensor, " chain"] | None
    ) -> Float[Tensor, " chain"]:
        """The joint energy to report."""
        if self.energy == "never":
            value = next(iter(position.values()))
            shape = (positions.num_chains(position),)
            return torch.full(shape, torch.nan, dtype=torch.float64, device=value.device)
        return self.target.potential_energy(position) if known is None else known


class _Tuned(NamedTuple):
    """What schedules look at of a kernel's state."""

    adaptation: Any


@dataclass(frozen=True)
class KernelBlock:
    """Some steps of any kernel on one block, given the rest.

    The other blocks have moved since the last sweep, so the kernel starts afresh on the present
    conditional each time: energy and gradient are evaluated there, and only tuning is carried on.

    Attributes:
        name: of the block, for reports.
        kernel: its settings are used, its target is replaced by the conditional.
        conditional: which part of the position moves.
        num_steps: of the kernel, a sweep.
    """

    name: str
    kernel: Any
    conditional: Conditional
    num_steps: int = 1

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(
                f"block {self.name!r}: num_steps must be at least 1, got {self.num_steps}"
            )

    def init(self, position: Position) -> Any:
        """No tuning yet: the kernel begins it at its first step."""
        return None

    def is_sampling(self, tuning: Any) -> bool:
        """Whether the kernel's schedule lets the last state be kept as a draw."""
        return tuning is None or schedules.may_keep(self.kernel, _Tuned(tuning))

    def step(
        self, generators: Generators, position: Position, tuning: Any, is_warmup: bool
    ) -> tuple[Position, Any, BlockInfo]:
        """Run the kernel on the block; the acceptance rate is the mean over its steps."""
        kernel = replace(self.kernel, target=self.conditional.given(position))
        state = kernel.init(self.conditional.extract(position), tuning)
        infos: list[Info] = []
        for _ in range(self.num_steps):
            state, info = kernel.step(generators, state, is_warmup)
            infos.append(info)
        is_joint = getattr(self.conditional, "is_joint", False)
        report = BlockInfo(
            acceptance_rate=torch.stack([i.acceptance_rate for i in infos]).mean(0),
            step_size=infos[-1].step_size,
            diverging=torch.stack([i.diverging for i in infos]).any(0),
            potential_energy=state.potential_energy if is_joint else None,
        )
        return self.conditional.insert(state.position, position), state.adaptation, report
