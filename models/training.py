"""The training loop, whatever the encoder and the data: examples in, weights out.

Example ``n`` and the random numbers it is seen with are functions of n and the seed, and the
optimizer's state is kept, so that a run that was stopped resumes to the same bits. Hugging Face's
Accelerate brings mixed precision and several processes.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from bayes_splat.errors import ConfigError
from bayes_splat.models.training_settings import TrainingSettings
from bayes_splat.models.training_state import load_state, save_state
from bayes_splat.scenes.examples import Example
from bayes_splat.types import Views

if TYPE_CHECKING:
    from accelerate import Accelerator

Figures: TypeAlias = dict[str, float]

Objective: TypeAlias = Callable[[nn.Module, Example, torch.Generator], tuple[Tensor, Figures]]
"""Loss of one example and figures for the log; all randomness comes from the generator."""

Examples: TypeAlias = Callable[[int, int], Iterator[Example]]
"""(start, step) -> examples number start, start + step, ...; any data set in that form will do."""

LOG = "log.txt"

LEAST_RATE = 0.02
"""The last learning rate, as a share of the highest."""


class Hooks(NamedTuple):
    """What happens beside training.

    Attributes:
        validate: the averaged network and the step in, figures for the log out.
        keep: called with the averaged network and the step at every checkpoint.
        tell: takes lines of the log.
    """

    validate: Callable[[nn.Module, int], Figures] | None = None
    keep: Callable[[nn.Module, int], None] | None = None
    tell: Callable[[str], None] = print


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """A linear rise, then half a cosine down to LEAST_RATE of the highest rate."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    rest = max(settings.steps - settings.warmup_steps, 1)
    share = min((step - settings.warmup_steps) / rest, 1.0)
    fall = 0.5 * (1.0 + math.cos(math.pi * share))
    return settings.learning_rate * (LEAST_RATE + (1.0 - LEAST_RATE) * fall)


def train(
    model: nn.Module,
    objective: Objective,
    examples: Examples,
    settings: TrainingSettings,
    folder: Path,
    hooks: Hooks | None = None,
) -> nn.Module:
    """Train to the last step, from the folder's checkpoint if there is one.

    Args:
        model: with its first weights.
        objective, examples: what is learned, from what.
        settings: see there.
        folder: of ``training.pt`` (the checkpoint) and ``log.txt``.
        hooks: see there.

    Returns:
        A copy of the network with averaged weights.

    Raises:
        ConfigError: Accelerate is not installed.
        ModelError: the checkpoint is broken or of another network.
    """
    hooks = hooks or Hooks()
    accelerator = _accelerator(settings.precision)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = load_state(folder, model, optimizer)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    state = state.to(accelerator.device)
    log = _Log(folder / LOG, hooks.tell, accelerator.is_main_process)
    per_step = settings.batch * accelerator.num_processes
    source = examples(state.step * per_step + accelerator.process_index, accelerator.num_processes)
    first = state.step * per_step + accelerator.process_index
    started = time.monotonic()
    while state.step < settings.steps:
        rate = learning_rate(state.step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for place in range(settings.batch):
            example = next(source)
            generator = torch.Generator().manual_seed(settings.seed + 1_000_003 * first)
            first += accelerator.num_processes
            is_last = place == settings.batch - 1
            example = _moved(example, accelerator.device)
            with _together(accelerator, wrapped, is_last):
                loss, figures = objective(wrapped, example, generator)
                accelerator.backward(loss / settings.batch)
            log.add({"loss": float(loss.detach()), **figures})
        norm = accelerator.clip_grad_norm_(wrapped.parameters(), settings.gradient_clip)
        log.add({"gradient": float(norm)})
        optimizer.step()
        optimizer.zero_grad()
        state = state.advanced(accelerator.unwrap_model(wrapped), settings.average)
        seconds = time.monotonic() - started
        is_over = settings.seconds is not None and seconds > settings.seconds
        is_end = state.step == settings.steps or is_over
        if state.step % settings.log_every == 0 or is_end:
            log.write(state.step, {"rate": rate, "seconds": seconds})
        if accelerator.is_main_process:
            if hooks.validate and (state.step % settings.validate_every == 0 or is_end):
                found = hooks.validate(
                    state.averaged(accelerator.unwrap_model(wrapped)), state.step
                )
                log.line(f"validation {state.step}: {_words(found)}")
            if state.step % settings.checkpoint_every == 0 or is_end:
                save_state(folder, accelerator.unwrap_model(wrapped), optimizer, state)
                if hooks.keep:
                    hooks.keep(state.averaged(accelerator.unwrap_model(wrapped)), state.step)
        accelerator.wait_for_everyone()
        if is_over:
            break
    return state.averaged(accelerator.unwrap_model(wrapped))


def _accelerator(precision: str) -> "Accelerator":
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ConfigError(
            "training needs Hugging Face's Accelerate; install it with "
            "pip install 'bayes-splat[train]'"
        ) from error
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")


def _together(accelerator: "Accelerator", model: nn.Module, is_last: bool) -> Any:
    """Gradients of several processes are added up once a step."""
    return accelerator.accumulate(model) if is_last else accelerator.no_sync(model)


def _moved(example: Example, device: torch.device) -> Example:
    def there(views: Views) -> Views:
        depths = None if views.depths is None else views.depths.to(device)
        return Views(views.cameras.to(device), views.images.to(device), views.names, depths)

    return example._replace(context=there(example.context), targets=there(example.targets))


def _words(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())


class _Log:
    """Means of figures since the last line, to a text file and to the screen."""

    def __init__(self, path: Path, tell: Callable[[str], None], is_open: bool) -> None:
        self.path, self.tell, self.is_open = path, tell, is_open
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value, count + 1

    def write(self, step: int, more: Mapping[str, float]) -> None:
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums.clear()
        self.line(f"step {step}: {_words({**means, **more})}")

    def line(self, text: str) -> None:
        if self.is_open:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
            self.tell(text)
