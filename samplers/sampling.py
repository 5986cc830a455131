"""Run a kernel: warmup, draws, thinning, what to keep, and what to do when stopped half-way."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Constrain, Generators, Info, Kernel, Position


@runtime_checkable
class Progress(Protocol):
    """Somebody who wants to know how far sampling has come."""

    def update(self, phase: str, step: int, total: int, info: Info, seconds: float) -> None:
        """Called after every step of the kernel.

        Args:
            phase: "warmup" or "sampling".
            step: steps made in this phase, from 1.
            total: steps that this phase will have.
            info: of the step just made.
            seconds: since the phase began.
        """
        ...


class Draws(NamedTuple):
    """What sampling has kept.

    Attributes:
        sites: constrained values [chain, draw, ...], float32 unless told otherwise.
        stats: [chain, draw], float64 (diverging: bool): acceptance_rate (mean over the steps since
            the last draw), step_size, lp, energy (potential energy; lp is minus that), diverging
            (in any of the steps since the last draw) and acceptance_rate_<block>.
        warmup_stats: the same a step of warmup.
        final: the position in which the chains were left, unconstrained.
        is_interrupted: stopped by the user, a signal or the deadline before all draws were made.
        seconds: wall time of "warmup" and "sampling".
    """

    sites: dict[str, Tensor]
    stats: dict[str, Tensor]
    warmup_stats: dict[str, Tensor]
    final: Position
    is_interrupted: bool
    seconds: dict[str, float]


def sample(
    kernel: Kernel,
    position: Position,
    generators: Generators,
    *,
    num_warmup: int,
    num_draws: int,
    thinning: int = 1,
    constrain: Constrain,
    progress: Progress | None = None,
    checkpoint: Callable[[Draws], None] | None = None,
    checkpoint_seconds: float = 60.0,
    deadline_seconds: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Draws:
    """Run all chains through warmup and draws.

    Ctrl-C and SIGTERM end the run early and return what there is (SIGTERM only if this is the main
    thread). So does the deadline; warmup is given the share of it that is its share of the steps.

    Args:
        kernel: the transition; tuned while warming up, frozen afterwards.
        position: where the chains start.
        generators: one stream a chain; all randomness comes from them.
        num_warmup: steps that are not kept.
        num_draws: draws to keep.
        thinning: steps a draw.
        constrain: what to keep of a position, by name, leading axis chain.
        progress: told after every step.
        checkpoint: given the draws so far, about every ``checkpoint_seconds``.
        checkpoint_seconds: wall time between checkpoints.
        deadline_seconds: wall time for the whole run; None: as long as it takes.
        dtype: of the kept site values.

    Raises:
        ValueError: a number of steps makes no sense, or there is not one generator a chain.
    """
    if num_warmup < 0 or num_draws < 1 or thinning < 1:
        raise ValueError(
            "num_warmup must be at least 0, num_draws and thinning at least 1;"
            f" got {num_warmup}, {num_draws} and {thinning}"
        )
    if len(generators) != positions.num_chains(position):
        raise ValueError(
            f"{positions.num_chains(position)} chains need as many generators,"
            f" got {len(generators)}"
        )
    run = _Run(kernel, position, generators, constrain, progress, dtype)
    share = num_warmup / (num_warmup + num_draws * thinning)
    whole = float("inf") if deadline_seconds is None else deadline_seconds
    save = None
    if checkpoint is not None:
        save = _every(checkpoint_seconds, lambda: checkpoint(run.draws()))
    is_interrupted = False
    try:
        with _sigterm_as_interrupt():
            run.warm_up(num_warmup, whole * share if num_warmup else 0.0)
            left = whole - run.seconds["warmup"]
            run.make_draws(num_draws, thinning, left, save)
    except KeyboardInterrupt:
        is_interrupted = True
    return run.draws(is_interrupted or len(run.kept) < num_draws)


class _Run:
    """A run under way. A step counts once it is complete: an interruption loses at most one."""

    def __init__(
        self,
        kernel: Kernel,
        position: Position,
        generators: Generators,
        constrain: Constrain,
        progress: Progress | None,
        dtype: torch.dtype,
    ) -> None:
        self.kernel = kernel
        self.generators = generators
        self.constrain = constrain
        self.progress = progress
        self.dtype = dtype
        self.position = position
        self.state: Any = None
        self.warmup_infos: list[Info] = []
        self.kept: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self.seconds = {"warmup": 0.0, "sampling": 0.0}

    def warm_up(self, num_steps: int, deadline: float) -> None:
        """Tune for ``num_steps`` steps or until the deadline (seconds from now)."""
        with self._clock("warmup") as seconds:
            self.state = self.kernel.init(self.position)
            for step in range(num_steps):
                if seconds() >= deadline:
                    break
                self.warmup_infos.append(self._step("warmup", step + 1, num_steps, seconds))

    def make_draws(
        self, num_draws: int, thinning: int, deadline: float, save: Callable[[], None] | None
    ) -> None:
        """Keep every ``thinning``-th state until there are ``num_draws`` or time is up."""
        with self._clock("sampling") as seconds:
            while len(self.kept) < num_draws and seconds() < deadline:
                infos = []
                for i in range(thinning):
                    step = len(self.kept) * thinning + i + 1
                    infos.append(self._step("sampling", step, num_draws * thinning, seconds))
                values = {
                    name: value.detach().to(self.dtype, copy=True)
                    for name, value in self.constrain(self.state.position).items()
                }
                self.kept.append((values, _merge_stats(infos)))
                if save is not None:
                    save()

    def draws(self, is_interrupted: bool = False) -> Draws:
        """Everything kept so far."""
        sites = [values for values, _ in self.kept]
        empty = {k: v.to(self.dtype) for k, v in self.constrain(self.position).items()}
        final = self.position if self.state is None else self.state.position
        return Draws(
            sites=_stack(sites) if sites else {k: v[:, None][:, :0] for k, v in empty.items()},
            stats=_stack([stats for _, stats in self.kept]),
            warmup_stats=_stack([_merge_stats([info]) for info in self.warmup_infos]),
            final=positions.clone(final),
            is_interrupted=is_interrupted,
            seconds=dict(self.seconds),
        )

    def _step(self, phase: str, step: int, total: int, seconds: Callable[[], float]) -> Info:
        self.state, info = self.kernel.step(
            self.generators, self.state, is_warmup=phase == "warmup"
        )
        if self.progress is not None:
            self.progress.update(phase, step, total, info, seconds())
        return info

    @contextmanager
    def _clock(self, phase: str) -> Iterator[Callable[[], float]]:
        """Measure a phase, also when it is cut short."""
        begin = time.perf_counter()
        try:
            yield lambda: time.perf_counter() - begin
        finally:
            self.seconds[phase] = time.perf_counter() - begin


def _merge_stats(infos: list[Info]) -> dict[str, Tensor]:
    """The statistics of one draw, from the steps that led to it: [chain] each."""
    last = infos[-1]
    rates = {"acceptance_rate": [info.acceptance_rate for info in infos]}
    for block in last.blocks:
        rates[f"acceptance_rate_{block}"] = [info.blocks[block] for info in infos]
    return {
        **{name: torch.stack(values).mean(0) for name, values in rates.items()},
        "step_size": last.step_size,
        "lp": -last.potential_energy,
        "energy": last.potential_energy,
        "diverging": torch.stack([info.diverging for info in infos]).any(0),
    }


def _stack(records: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A record a draw to tensors [chain, draw, ...]."""
    if not records:
        return {}
    return {name: torch.stack([r[name] for r in records], dim=1) for name in records[0]}


def _every(period: float, action: Callable[[], None]) -> Callable[[], None]:
    """A function that performs ``action`` when called, at most once a ``period`` in seconds."""
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        if time.perf_counter() - last >= period:
            action()
            last = time.perf_counter()

    return tick


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt meanwhile, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
