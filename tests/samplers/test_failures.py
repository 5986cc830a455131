"""Parts; whole runs are in integration/test_failing_chains.py."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.samplers.failures import FailurePolicy, StepError, Supervisor, select_state
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from tests import helpers_targets as targets


class Tuning(NamedTuple):
    number: int
    size: torch.Tensor


@dataclass(frozen=True)
class State:
    position: dict[str, torch.Tensor]
    tuning: Tuning | None
    blocks: list[Any]
    shared: torch.Tensor


def state(value: float, count: int = 0) -> State:
    filled = torch.full((3, 2), value)
    return State(
        {"x": filled}, Tuning(count, filled[:, 0]), [filled[:, 0], "name"], torch.tensor(value)
    )


def test_only_the_masked_chains_entries_are_taken():
    mask = torch.tensor([False, True, False])
    mixed = select_state(mask, state(1.0, 1), state(2.0, 2))
    assert mixed.position["x"].tolist() == [[2, 2], [1, 1], [2, 2]]
    assert mixed.tuning.size.tolist() == [2, 1, 2]
    assert mixed.blocks[0].tolist() == [2, 1, 2]
    assert mixed.blocks[1] == "name"
    assert (mixed.tuning.number, mixed.shared) == (2, 2.0)


def test_what_has_no_counterpart_is_left():
    mask = torch.tensor([True, True, True])
    assert select_state(mask, None, torch.ones(3)).tolist() == [1, 1, 1]
    assert select_state(mask, torch.ones(2), torch.zeros(3)).tolist() == [0, 0, 0]
    assert select_state(mask, {"a": torch.ones(3)}, {"b": torch.zeros(3)})["b"].sum() == 0


@pytest.mark.parametrize("adapts", [False, True])
def test_states_of_kernels_are_put_back_whole(adapts):
    known = targets.correlated()
    kernel = MALA(known.target, adapt_preconditioner=adapts)
    generators = make_generators(0, 3)
    before = kernel.init(known.draw(3, 0))
    after, _ = kernel.step(generators, before, is_warmup=True)
    back = select_state(torch.tensor([False, True, False]), before, after)
    again = select_state(torch.tensor([True, False, True]), after, before)
    for name in ("position", "gradient"):
        for site in before.position:
            one, other = getattr(back, name)[site], getattr(again, name)[site]
            assert torch.equal(one, other)
            assert torch.equal(one[1], getattr(before, name)[site][1])


@pytest.mark.parametrize(
    "settings", [{"action": "panic"}, {"max_restarts": -1}, {"max_divergences": 0}], ids=str
)
def test_policies_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        FailurePolicy(**settings)


@dataclass(frozen=True)
class Raising:
    target: Any
    error: Exception

    def init(self, position: Any, adaptation: Any = None) -> Any:
        return position

    def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
        raise self.error


def test_mistakes_of_the_user_pass_through_and_others_name_the_step():
    for error, expected in ((ModelError("near"), ModelError), (KeyError("bug"), StepError)):
        supervisor = Supervisor(Raising(None, error), make_generators(0, 2), FailurePolicy())
        with pytest.raises(expected):
            supervisor.step({}, "warmup", 7)
    with pytest.raises(StepError, match="step 7 of warmup failed: KeyError: 'bug'"):
        supervisor.step({}, "warmup", 7)
