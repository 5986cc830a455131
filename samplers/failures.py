"""What happens when a chain breaks: it is named, and it alone is stopped or put back.

A chain *fails* at a step that leaves its position not finite, or after warmup its energy infinite,
or that is the last of many in a row whose candidate had no finite energy (one such candidate is an
ordinary rejection, flagged as ``diverging``). The other chains are bit for bit what they would
have been: kernels move chains apart from each other, and only the failed chain's entries of the
state are replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from bayes_splat.errors import BayesSplatError
from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Generators, Info, Kernel, Position

Action: TypeAlias = Literal["continue", "stop_chain", "restart_chain", "raise"]
"""What to do with a chain that failed."""

ACTIONS: tuple[str, ...] = get_args(Action)


@dataclass(frozen=True)
class FailurePolicy:
    """What to do with a chain that failed.

    Attributes:
        action: "continue": report it and go on. "stop_chain": the chain ends; its later draws are
            NaN. "restart_chain": go on from its last good state, or from ``start``, with the
            chain's own random stream. "raise": end the run by ``ChainFailureError``.
        max_restarts: a chain that fails more often is stopped.
        max_divergences: diverging steps in a row after warmup that count as a failure.
        start: given the chain's number and generator, a new unconstrained position [1, ...]; None:
            the last good state.
    """

    action: Action = "stop_chain"
    max_restarts: int = 3
    max_divergences: int = 50
    start: Callable[[int, torch.Generator], Position] | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {self.action!r}")
        if self.max_restarts < 0 or self.max_divergences < 1:
            raise ValueError(
                "max_restarts must be at least 0 and max_divergences at least 1;"
                f" got {self.max_restarts} and {self.max_divergences}"
            )


class Failure(NamedTuple):
    """One failure of one chain.

    Attributes:
        chain: counted from 0.
        phase: "warmup" or "sampling".
        step: of the phase, from 1.
        site: sites that were not finite, or "potential_energy".
        reason: in plain words.
        outcome: "continued", "stopped", "restarted" or "raised".
    """

    chain: int
    phase: str
    step: int
    site: str
    reason: str
    outcome: str

    def __str__(self) -> str:
        return (
            f"chain {self.chain} failed at step {self.step} of {self.phase}: "
            f"{self.reason}; {self.outcome}"
        )


class StepError(RuntimeError):
    """A step raised an exception, which is this one's cause.

    Attributes:
        phase, step: where.
        draws: what was kept until then, a ``sampling.Draws``; None under ``pyro.infer.MCMC``.
    """

    def __init__(self, phase: str, step: int, message: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.step = step
        self.draws: Any = None


class ChainFailureError(StepError):
    """A chain failed and the policy says "raise"."""


class Supervisor:
    """Steps a kernel and applies the policy, chain by chain.

    Attributes:
        is_stopped: [chain]; these chains no longer move.
        failures: in the order in which they came; of an uninterrupted row only the first.
    """

    def __init__(
        self,
        kernel: Kernel,
        generators: Generators,
        policy: FailurePolicy,
        report: Callable[[Failure], None] | None = None,
    ) -> None:
        self.kernel = kernel
        self.generators = generators
        self.policy = policy
        self.report = report
        self.is_stopped = torch.zeros(len(generators), dtype=torch.bool)
        self.failures: list[Failure] = []
        self._restarts = [0] * len(generators)
        self._divergences = torch.zeros(len(generators), dtype=torch.int64)
        self._was_bad = torch.zeros(len(generators), dtype=torch.bool)

    def step(self, state: Any, phase: str, step: int) -> tuple[Any, Info, Bool[Tensor, " chain"]]:
        """One step of all chains.

        Returns:
            The state, the kernel's Info (of failed chains with the energy they were put back to),
            and which chains were restarted.

        Raises:
            StepError: the kernel raised something that is not a mistake of the user.
            ChainFailureError: a chain failed and the policy says "raise".
        """
        try:
            moved, info = self.kernel.step(self.generators, state, is_warmup=phase == "warmup")
        except BayesSplatError:
            raise
        except Exception as error:
            message = f"step {step} of {phase} failed: {type(error).__name__}: {error}"
            raise StepError(phase, step, message) from error
        bad, reasons = self._examine(moved, info, phase)
        is_restarted = torch.zeros_like(bad)
        for chain, (site, reason) in reasons.items():
            outcome = self._outcome(chain)
            is_restarted[chain] = outcome == "restarted"
            self.is_stopped[chain] |= outcome == "stopped"
            if not self._was_bad[chain] or outcome != "continued":
                self._tell(Failure(chain, phase, step, site, reason, outcome))
        self._was_bad = bad
        kept = self.is_stopped | is_restarted
        if kept.any():
            moved = select_state(kept, state, moved)
            if is_restarted.any() and self.policy.start is not None:
                moved = self._restarted(moved, is_restarted)
            self._divergences[kept] = 0
            energy = info.potential_energy
            mask = kept.to(energy.device)
            info = info._replace(
                potential_energy=torch.where(mask, moved.potential_energy.to(energy), energy)
            )
        return moved, info, is_restarted

    def _examine(
        self, state: Any, info: Info, phase: str
    ) -> tuple[Bool[Tensor, " chain"], dict[int, tuple[str, str]]]:
        """Which running chains have failed: (site, reason) by chain."""
        finite = {
            site: positions.is_finite({site: value}).cpu() for site, value in state.position.items()
        }
        bad = ~torch.stack(list(finite.values())).all(0)
        diverging = info.diverging.cpu()
        is_infinite = torch.zeros_like(bad)
        if phase != "warmup":
            is_infinite = info.potential_energy.cpu().isinf()
            self._divergences = torch.where(diverging, self._divergences + 1, 0)
        is_lost = self._divergences >= self.policy.max_divergences
        failed = (bad | is_infinite | is_lost) & ~self.is_stopped
        reasons = {}
        for chain in failed.nonzero()[:, 0].tolist():
            sites = ", ".join(site for site, good in finite.items() if not good[chain])
            if sites:
                reasons[chain] = (sites, f"{sites} is not finite")
            elif is_infinite[chain]:
                reasons[chain] = ("potential_energy", "its energy is infinite")
            else:
                number = self.policy.max_divergences
                reason = f"{number} steps in a row tried a state of non-finite energy"
                reasons[chain] = ("potential_energy", reason)
        return failed, reasons

    def _outcome(self, chain: int) -> str:
        action = self.policy.action
        if action == "restart_chain":
            self._restarts[chain] += 1
            return "restarted" if self._restarts[chain] <= self.policy.max_restarts else "stopped"
        return {"continue": "continued", "stop_chain": "stopped", "raise": "raised"}[action]

    def _tell(self, failure: Failure) -> None:
        self.failures.append(failure)
        if self.report is not None:
            self.report(failure)
        if failure.outcome == "raised":
            raise ChainFailureError(failure.phase, failure.step, str(failure))

    def _restarted(self, state: Any, mask: Bool[Tensor, " chain"]) -> Any:
        """``state`` with the masked chains at the positions that the caller gives."""
        assert self.policy.start is not None
        position = positions.clone(state.position)
        for chain in mask.nonzero()[:, 0].tolist():
            start = self.policy.start(chain, self.generators[chain])
            for site, value in start.items():
                position[site][chain] = value[0]
        return select_state(mask, self.kernel.init(position, state.adaptation), state)


def select_state(mask: Bool[Tensor, " chain"], chosen: Any, other: Any) -> Any:
    """``chosen`` in the chains where ``mask`` holds, ``other`` elsewhere, for any kernel's state.

    Tensors whose first axis is the chain are mixed, through named tuples, dataclasses, lists and
    dictionaries; anything else (a step count, a schedule) is taken from ``other``.
    """
    if isinstance(other, Tensor):
        if not isinstance(chosen, Tensor) or chosen.shape != other.shape:
            return other
        if other.ndim == 0 or len(other) != len(mask):
            return other
        return torch.where(positions.per_chain(mask.to(other.device), other), chosen, other)
    if type(chosen) is not type(other):
        return other
    if isinstance(other, dict):
        return {
            key: select_state(mask, chosen[key], value) if key in chosen else value
            for key, value in other.items()
        }
    if isinstance(other, tuple) and hasattr(other, "_fields"):
        return type(other)(*(select_state(mask, a, b) for a, b in zip(chosen, other, strict=True)))
    if isinstance(other, list | tuple) and len(chosen) == len(other):
        return type(other)(select_state(mask, a, b) for a, b in zip(chosen, other, strict=True))
    if is_dataclass(other) and not isinstance(other, type):
        changed = {
            f.name: select_state(mask, getattr(chosen, f.name), getattr(other, f.name))
            for f in fields(other)
            if f.init
        }
        return replace(other, **changed)
    return other
