"""What a person sees while chains run: a bar on a terminal, a line now and then elsewhere."""

import math
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class Info(Protocol):
    """The part of ``samplers.base.Info`` that is shown; one entry a chain in each."""

    @property
    def acceptance_rate(self) -> Any: ...

    @property
    def step_size(self) -> Any: ...

    @property
    def potential_energy(self) -> Any: ...


class Progress:
    """Shows step, acceptance rate, step size, energy and time left, averaged over chains.

    A context manager, so that the terminal is left in order whatever happens.

    Args:
        stream: where to write; standard error, so that results can be piped.
        line_every: seconds between lines where ``stream`` is not a terminal.
    """

    def __init__(self, stream: TextIO | None = None, line_every: float = _LINE_EVERY) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._line_every = line_every
        self._last_line = -math.inf
        self._phase: str | None = None
        self._task: TaskID | None = None
        self._bar = Bar(
            TextColumn("{task.description:>8}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def message(self, text: str) -> None:
        """Print a line; a bar stays below it."""
        self._console.print(text, markup=False)

    def update(self, phase: str, step: int, total: int, info: Info, seconds: float) -> None:
        """Show that ``step`` of ``total`` steps of a phase are done.

        Args:
            phase: for example ``warmup``; a new name starts a new bar.
            step: steps done, from 1.
            total: steps of the phase.
            info: of the last step.
            seconds: since the phase began.
        """
        is_new = phase != self._phase
        self._phase = phase
        state = _state(step, total, info, seconds)
        if self._console.is_terminal:
            if is_new or self._task is None:
                self._task = self._bar.add_task(phase, total=total, state=state)
            self._bar.update(self._task, completed=step, total=total, state=state)
            return
        now = time.monotonic()
        if is_new or step >= total or now - self._last_line >= self._line_every:
            self._last_line = now
            self.message(f"{phase} {step}/{total}  {state}")


def _state(step: int, total: int, info: Info, seconds: float) -> str:
    left = seconds / max(step, 1) * (total - step)
    return (
        f"acceptance {_mean(info.acceptance_rate, '.2f')}  "
        f"step size {_mean(info.step_size, '.2g')}  "
        f"energy {_mean(info.potential_energy, '.6g')}  "
        f"{_clock(left)} left"
    )


def _mean(values: Any, form: str) -> str:
    """Mean over the chains that have a finite value, or a dash."""
    finite = [x for x in (float(v) for v in values) if math.isfinite(x)]
    return format(sum(finite) / len(finite), form) if finite else "-"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
