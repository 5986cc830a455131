import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bayes_splat.errors import ConfigError
from bayes_splat.models import training
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.models.small_encoder.objective import SmallObjective
from bayes_splat.models.small_encoder.sizes import TINY
from bayes_splat.models.training import Hooks
from bayes_splat.models.training_settings import TrainingSettings
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.scenes.examples import Example
from tests import helpers_small_encoder

SETTINGS = {"warmup_steps": 2, "learning_rate": 1e-2, "log_every": 1, "checkpoint_every": 2}


def examples(start: int, step: int) -> Iterator[Example]:
    for number in itertools.count(start, step):
        views = helpers_small_encoder.scene(seed=number % 3)
        yield Example(str(number), views[:2], views[2:])


def run(folder: Path, hooks: Hooks | None = None, **options: object) -> nn.Module:
    torch.manual_seed(0)
    objective = SmallObjective(make_renderer("cpu"), photometric_weight=5.0)
    settings = TrainingSettings(**{"steps": 4, **SETTINGS, **options})
    quiet = hooks or Hooks(tell=lambda text: None)
    return training.train(SmallEncoder(TINY), objective, examples, settings, folder, quiet)


class Noisy(nn.Module):
    """One weight that is pulled by numbers from the generator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, noise: Tensor) -> Tensor:
        return (self.weight - noise).square().sum()


def noisy(
    model: nn.Module, example: Example, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    return model(torch.randn(3, generator=generator)), {}


def test_two_steps_and_two_more_are_four_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", seconds=1e-9)  # a single step
    run(tmp_path / "parts", seconds=1e-9)
    parts = run(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    states = [torch.load(tmp_path / f / "training.pt") for f in ("whole", "parts")]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name


def test_random_numbers_resume_too(tmp_path):
    settings = TrainingSettings(steps=4, **SETTINGS)
    part = TrainingSettings(steps=4, seconds=1e-9, **SETTINGS)
    quiet = Hooks(tell=lambda text: None)
    whole = training.train(Noisy(), noisy, examples, settings, tmp_path / "a", quiet)
    for each in (part, part, settings):
        made = training.train(Noisy(), noisy, examples, each, tmp_path / "b", quiet)
    assert torch.equal(whole.weight, made.weight)
    other = TrainingSettings(steps=4, seed=1, **SETTINGS)
    assert not torch.equal(
        whole.weight, training.train(Noisy(), noisy, examples, other, tmp_path / "c", quiet).weight
    )


def test_loss_falls(tmp_path):
    lines: list[str] = []
    run(tmp_path, Hooks(tell=lines.append), steps=25, log_every=5)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "loss" in line]
    assert len(losses) == 5
    assert losses[-1] < losses[0] - 0.1
    assert (tmp_path / training.LOG).read_text("utf-8").splitlines() == lines


def test_hooks_hear_of_the_averaged_network(tmp_path):
    seen: list[tuple[str, int]] = []

    def validate(model: nn.Module, step: int) -> dict[str, float]:
        assert not model.training
        seen.append(("validate", step))
        return {"score": 2.5}

    def keep(model: nn.Module, step: int) -> None:
        assert isinstance(model, SmallEncoder)
        seen.append(("keep", step))

    lines: list[str] = []
    run(tmp_path, Hooks(validate, keep, lines.append), steps=5, validate_every=3)
    assert seen == [("keep", 2), ("validate", 3), ("keep", 4), ("validate", 5), ("keep", 5)]
    assert "validation 3: score 2.5" in lines


def test_a_finished_run_is_left_alone(tmp_path):
    first = run(tmp_path)
    lines: list[str] = []
    again = run(tmp_path, Hooks(tell=lines.append))
    assert not lines
    assert torch.equal(first.head.out.weight, again.head.out.weight)


def test_the_rate_rises_and_falls():
    settings = TrainingSettings(steps=110, warmup_steps=10, learning_rate=0.5)
    rates = [training.learning_rate(step, settings) for step in range(111)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9] == rates[10] == 0.5
    assert rates[60] == pytest.approx(0.5 * (0.02 + 0.98 * 0.5))
    assert rates[110] == pytest.approx(0.01)
    assert all(math.isfinite(rate) for rate in rates)


def test_without_accelerate_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"pip install 'bayes-splat\[train\]'"):
        run(tmp_path)
