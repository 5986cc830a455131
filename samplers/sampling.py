"""Run a kernel: warmup, draws, thinning, what to keep, and what to do when stopped half-way."""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from bayes_splat.samplers import positions, schedules
from bayes_splat.samplers.base import Constrain, Generators, Info, Kernel, Position
from bayes_splat.samplers.failures import Failure, FailurePolicy, StepError, Supervisor
from bayes_splat.samplers.store import FirstDraws, MemoryStore, Store, StoredArrays

SITES, STATS, WARMUP_STATS = "sites", "stats", "warmup_stats"
"""Groups of the store."""


@runtime_checkable
class Progress(Protocol):
    """Somebody who wants to know how far sampling has come."""

    def update(self, phase: str, step: int, total: int, info: Info, seconds: float) -> None:
        """Called after every step of the kernel.

        Args:
            phase: "warmup" or "sampling".
            step: steps made in this phase, from 1.
            total: steps that this phase will have; with a deadline about as many as there is time
                for, by the pace so far.
            info: of the step just made.
            seconds: since the phase began.
        """
        ...


class Draws(NamedTuple):
    """What sampling has kept.

    Attributes:
        sites: constrained values [chain, draw, ...], float32 unless told otherwise; NaN (zero if
            whole numbers) from the draw on in which a chain was stopped. With a store on disk each
            look opens the file anew: ``sites["depth"][:, 7]`` reads one draw.
        stats: [chain, draw], float64 or bool, by ArviZ's names: acceptance_rate (mean over the
            steps since the last draw), step_size, lp, energy (potential energy; lp is minus that),
            diverging (in any of the steps since the last draw), acceptance_rate_<block>; and
            restarted (in any of them) and stopped.
        warmup_stats: the same a step of warmup.
        final: the position in which the chains were left, unconstrained.
        is_interrupted: stopped by the user, a signal or the deadline before all draws were made.
        seconds: wall time of "warmup" and "sampling".
        failures: of single chains, in the order in which they came.
    """

    sites: Mapping[str, Tensor]
    stats: Mapping[str, Tensor]
    warmup_stats: Mapping[str, Tensor]
    final: Position
    is_interrupted: bool
    seconds: dict[str, float]
    failures: tuple[Failure, ...] = ()

    @property
    def num_draws(self) -> int:
        """Draws a chain, those of stopped chains included."""
        return self.stats["lp"].shape[1] if self.stats else 0

    @property
    def is_whole(self) -> Bool[Tensor, " chain"]:
        """Chains that made all draws; the others were stopped on the way."""
        return ~self.stats["stopped"][:, -1]


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
    store: Store | None = None,
    keep: Collection[str] | None = None,
    dtype: torch.dtype = torch.float32,
    deadline_seconds: float | None = None,
    sampling_seconds: float | None = None,
    on_failure: FailurePolicy | None = None,
    report: Callable[[Failure], None] | None = None,
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
        store: takes every draw as it comes; None: memory. ``DiskStore`` keeps memory from growing.
        keep: names out of ``constrain``'s that are kept; None: all.
        dtype: of kept values that are not whole numbers.
        deadline_seconds: wall time for the whole run; None: as long as it takes.
        sampling_seconds: wall time for the draws alone, after which the run is complete with what
            it has: a budget, not an interruption.
        on_failure: what to do with a chain that fails; None: stop that chain.
        report: told of every failure as it happens.

    Raises:
        ValueError: a number of steps makes no sense, there is not one generator a chain, or
            ``keep`` names what ``constrain`` does not give.
        StepError: a step raised an exception; ``draws`` of the error holds what was kept.
        ChainFailureError: a chain failed, and ``on_failure`` says "raise".
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
    supervisor = Supervisor(kernel, generators, on_failure or FailurePolicy(), report)
    run = _Run(supervisor, position, constrain, progress, store or MemoryStore(), keep, dtype)
    share = num_warmup / (num_warmup + num_draws * thinning)
    whole = float("inf") if deadline_seconds is None else deadline_seconds
    budget = float("inf") if sampling_seconds is None else sampling_seconds
    is_interrupted = False
    try:
        with _sigterm_as_interrupt():
            run.warm_up(num_warmup, whole * share if num_warmup else 0.0)
            left = whole - run.seconds["warmup"]
            run.make_draws(num_draws, thinning, min(left, budget))
            ended_early = run.num_draws < num_draws and not supervisor.is_stopped.all()
            is_interrupted = ended_early and left < budget
    except KeyboardInterrupt:
        is_interrupted = True
    except StepError as error:
        error.draws = run.draws(is_interrupted=True)
        raise
    return run.draws(is_interrupted)


def stored_draws(folder: Path | str) -> Draws:
    """What a ``DiskStore`` holds of a run that did not come to its end, or is still under way.

    Raises:
        ValueError: there is no complete draw.
    """
    groups = {name: StoredArrays(Path(folder) / name) for name in (SITES, STATS, WARMUP_STATS)}
    num_draws = min(groups[SITES].num_draws, groups[STATS].num_draws)
    if not num_draws:
        raise ValueError(f"{folder} holds no complete draw")
    return Draws(
        sites=FirstDraws(groups[SITES], num_draws),
        stats=FirstDraws(groups[STATS], num_draws),
        warmup_stats=groups[WARMUP_STATS],
        final={},
        is_interrupted=True,
        seconds={"warmup": float("nan"), "sampling": float("nan")},
    )


class _Run:
    """A run under way. A step counts once it is complete: an interruption loses at most one."""

    def __init__(
        self,
        supervisor: Supervisor,
        position: Position,
        constrain: Constrain,
        progress: Progress | None,
        store: Store,
        keep: Collection[str] | None,
        dtype: torch.dtype,
    ) -> None:
        self.supervisor = supervisor
        self.constrain = constrain
        self.progress = progress
        self.store = store
        self.dtype = dtype
        self.position = position
        self.state: Any = None
        self.num_draws = 0
        self.seconds = {"warmup": 0.0, "sampling": 0.0}
        self.keep = keep
        unknown = sorted({*(keep or ())} - constrain(position).keys())
        if unknown:
            raise ValueError(
                f"keep names {unknown[0]!r}, but there are {', '.join(constrain(position))}"
            )

    def warm_up(self, num_steps: int, deadline: float) -> None:
        """Tune for ``num_steps`` steps or until the deadline (seconds from now)."""
        with self._clock("warmup") as seconds:
            self.state = self.supervisor.kernel.init(self.position)
            for step in range(num_steps):
                if seconds() >= deadline or self.supervisor.is_stopped.all():
                    break
                made = self._step("warmup", step + 1, num_steps, seconds, deadline)
                self.store.append(WARMUP_STATS, merge_stats([made], self.supervisor.is_stopped))

    def make_draws(self, num_draws: int, thinning: int, deadline: float) -> None:
        """Keep every ``thinning``-th state until there are ``num_draws`` or time is up."""
        num_steps = num_draws * thinning
        with self._clock("sampling") as seconds:
            while self.num_draws < num_draws and seconds() < deadline:
                if self.supervisor.is_stopped.all():
                    break
                made = []
                for i in range(thinning):
                    step = self.num_draws * thinning + i + 1
                    made.append(self._step("sampling", step, num_steps, seconds, deadline))
                # Cyclical schedules explore in states that are not to be kept.
                while not schedules.may_keep(self.supervisor.kernel, self.state):
                    if seconds() >= deadline:
                        return
                    made.append(self._step("sampling", step, num_steps, seconds, deadline))
                stopped = self.supervisor.is_stopped
                self.store.append(SITES, self._kept(self.state.position, stopped))
                self.store.append(STATS, merge_stats(made, stopped))
                self.num_draws += 1

    def draws(self, is_interrupted: bool) -> Draws:
        """Everything kept so far."""
        final = self.position if self.state is None else self.state.position
        # An interruption may have come between the two groups: both are cut to whole draws.
        sites: Mapping[str, Tensor] = FirstDraws(self.store.read(SITES), self.num_draws)
        stats: Mapping[str, Tensor] = FirstDraws(self.store.read(STATS), self.num_draws)
        if not self.num_draws:
            stats = {}
            empty = self._kept(self.position, torch.zeros_like(self.supervisor.is_stopped))
            sites = {name: value[:, None][:, :0] for name, value in empty.items()}
        return Draws(
            sites=sites,
            stats=stats,
            warmup_stats=self.store.read(WARMUP_STATS),
            final=positions.clone(final),
            is_interrupted=is_interrupted,
            seconds=dict(self.seconds),
            failures=tuple(self.supervisor.failures),
        )

    def _kept(self, position: Position, stopped: Bool[Tensor, " chain"]) -> dict[str, Tensor]:
        """One record of sites: chosen ones, in the chosen precision, blank in stopped chains."""
        record = {}
        for name, value in self.constrain(position).items():
            if self.keep is not None and name not in self.keep:
                continue
            if value.is_floating_point():
                value = value.to(self.dtype)
            record[name] = _blank(value.detach(), stopped)
        return record

    def _step(
        self, phase: str, step: int, total: int, seconds: Callable[[], float], deadline: float
    ) -> tuple[Info, Bool[Tensor, " chain"]]:
        self.state, info, is_restarted = self.supervisor.step(self.state, phase, step)
        if self.progress is not None:
            spent = seconds()
            if step < total and deadline < float("inf"):
                total = min(total, int(step * max(deadline / spent, 1.0)) + 1)
            self.progress.update(phase, step, total, info, spent)
        return info, is_restarted

    @contextmanager
    def _clock(self, phase: str) -> Iterator[Callable[[], float]]:
        """Measure a phase, also when it is cut short."""
        begin = time.perf_counter()
        try:
            yield lambda: time.perf_counter() - begin
        finally:
            self.seconds[phase] = time.perf_counter() - begin


def merge_stats(
    made: list[tuple[Info, Bool[Tensor, " chain"]]], stopped: Bool[Tensor, " chain"]
) -> dict[str, Tensor]:
    """The statistics of one draw by ArviZ's names, [chain] each.

    Args:
        made: of every step that led to the draw: its Info, and which chains were restarted.
        stopped: chains that no longer run: they get NaN and False.
    """
    infos = [info for info, _ in made]
    last = infos[-1]
    rates = {"acceptance_rate": [info.acceptance_rate for info in infos]}
    for block in last.blocks:
        rates[f"acceptance_rate_{block}"] = [info.blocks[block] for info in infos]
    stats = {
        **{name: torch.stack(values).mean(0) for name, values in rates.items()},
        "step_size": last.step_size,
        "lp": -last.potential_energy,
        "energy": last.potential_energy,
        "diverging": torch.stack([info.diverging for info in infos]).any(0),
    }
    restarted = torch.stack([mask for _, mask in made]).any(0)
    return {
        **{name: _blank(value.detach().cpu(), stopped) for name, value in stats.items()},
        "restarted": restarted,
        "stopped": stopped.clone(),
    }


def _blank(values: Tensor, stopped: Bool[Tensor, " chain"]) -> Tensor:
    """``values`` with NaN, zero or False in the stopped chains; a copy."""
    values = values.clone()
    if stopped.any():
        values[stopped.to(values.device)] = torch.nan if values.is_floating_point() else 0
    return values


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
