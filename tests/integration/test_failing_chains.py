"""Whole runs in which a chain breaks."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from bayes_splat.samplers.base import Position
from bayes_splat.samplers.failures import ChainFailureError, Failure, FailurePolicy, StepError
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.sampling import Draws
from tests import helpers_targets as targets
from tests.helpers_sampling import run


@dataclass(frozen=True)
class Spoiled:
    """A kernel that breaks one chain at one step."""

    inner: MALA
    chain: int
    at: int
    how: str = "nan"
    always: bool = False
    count: list[int] = field(default_factory=lambda: [0])

    @property
    def target(self) -> Any:
        return self.inner.target

    def init(self, position: Position, adaptation: Any = None) -> Any:
        return self.inner.init(position, adaptation)

    def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
        state, info = self.inner.step(generators, state, is_warmup)
        self.count[0] += 1
        now = self.count[0]
        if now == self.at or (self.always and now > self.at):
            if self.how == "error":
                raise ZeroDivisionError("oh")
            if self.how == "diverging":
                flags = torch.zeros_like(info.diverging)
                flags[self.chain] = True
                return state, info._replace(diverging=flags)
            position = {site: value.clone() for site, value in state.position.items()}
            position["slope"][self.chain, 0] = torch.nan
            state = state._replace(position=position)
        return state, info


def spoiled(how: str = "nan", action: str = "stop_chain", **settings: Any) -> Draws:
    always = settings.pop("always", False)
    policy = FailurePolicy(action, **settings.pop("policy", {}))
    kernel = Spoiled(MALA(targets.correlated().target), 1, 13, how, always)
    return run(kernel=kernel, on_failure=policy, **settings)


def others_are_untouched(draws: Draws, whole: Draws) -> bool:
    others = [0, 2]
    pairs = ((draws.sites, whole.sites), (draws.stats, whole.stats))
    return all(torch.equal(a[n][others], b[n][others]) for a, b in pairs for n in b)


@pytest.mark.parametrize("action", ["continue", "stop_chain", "restart_chain"])
def test_the_other_chains_are_bit_for_bit_the_same(action: str) -> None:
    told: list[Failure] = []
    draws = spoiled(action=action, report=told.append)
    assert others_are_untouched(draws, run())
    assert tuple(told) == draws.failures
    first = told[0]
    assert (first.chain, first.phase, first.step, first.site) == (1, "sampling", 3, "slope")
    assert str(first).startswith("chain 1 failed at step 3 of sampling: slope is not finite; ")


def test_a_stopped_chain_is_blank_from_there() -> None:
    draws = spoiled()
    assert draws.is_whole.tolist() == [True, False, True]
    assert draws.stats["stopped"][1].tolist() == [False, False, True, True, True, True]
    for value in (draws.sites["slope"], draws.stats["lp"][..., None]):
        assert value[1, :2].isfinite().all()
        assert value[1, 2:].isnan().all()
    assert not draws.stats["diverging"][1, 2:].any()
    assert all(value.isfinite().all() for value in draws.final.values()), "its last good position"
    assert [f.outcome for f in draws.failures] == ["stopped"]


def test_a_restarted_chain_goes_on_from_its_last_good_state() -> None:
    draws, whole = spoiled(action="restart_chain"), run()
    assert draws.is_whole.all()
    assert draws.stats["restarted"].nonzero().tolist() == [[1, 2]]
    slope = draws.sites["slope"]
    assert torch.equal(slope[1, :2], whole.sites["slope"][1, :2])
    assert torch.equal(slope[1, 2], slope[1, 1])
    assert draws.stats["lp"][1, 2] == draws.stats["lp"][1, 1]
    assert slope[1].isfinite().all()
    assert (slope[1, 3:] != slope[1, 2]).any()


def test_a_chain_may_be_restarted_elsewhere() -> None:
    def start(chain: int, generator: torch.Generator) -> Position:
        assert chain == 1
        return {
            "level": torch.full((1,), 0.25, dtype=torch.float64),
            "slope": torch.full((1, 2), 0.5, dtype=torch.float64),
        }

    draws = spoiled(action="restart_chain", policy={"start": start})
    assert draws.sites["slope"][1, 2].tolist() == [0.5, 0.5]
    assert others_are_untouched(draws, run())
    position = start(1, torch.Generator())
    energy = targets.correlated().target.potential_energy(position)
    assert draws.stats["energy"][1, 2] == energy[0]


def test_a_chain_that_fails_again_and_again_is_stopped() -> None:
    draws = spoiled(action="restart_chain", always=True, policy={"max_restarts": 2})
    assert [f.outcome for f in draws.failures] == ["restarted", "restarted", "stopped"]
    assert draws.stats["restarted"][1].tolist() == [False, False, True, True, False, False]
    assert draws.stats["stopped"][1].tolist() == [False] * 4 + [True] * 2


def test_continue_reports_a_row_of_failures_once() -> None:
    draws = spoiled(action="continue", always=True)
    assert [f.step for f in draws.failures] == [3]
    assert draws.sites["slope"][1, 2:, 0].isnan().all()
    assert draws.is_whole.all()


def test_one_divergence_is_a_rejection_and_many_in_a_row_are_a_failure() -> None:
    assert spoiled("diverging", policy={"max_divergences": 2}).failures == ()
    draws = spoiled("diverging", always=True, policy={"max_divergences": 2})
    assert [(f.chain, f.step, f.site) for f in draws.failures] == [(1, 4, "potential_energy")]
    assert draws.stats["stopped"][1].tolist() == [False] * 3 + [True] * 3
    assert draws.stats["diverging"][1].tolist() == [False, False, True, False, False, False]


def test_raise_ends_the_run_and_leaves_the_draws() -> None:
    with pytest.raises(ChainFailureError, match=r"chain 1 .* step 3 of sampling: slope") as caught:
        spoiled(action="raise")
    assert caught.value.draws.num_draws == 2


def test_an_exception_names_the_step_and_leaves_the_draws() -> None:
    with pytest.raises(StepError, match="step 3 of sampling failed: ZeroDivisionError: oh") as e:
        spoiled("error")
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    assert torch.equal(e.value.draws.sites["slope"], run().sites["slope"][:, :2])


def test_a_run_ends_when_no_chain_is_left() -> None:
    kernel = Spoiled(MALA(targets.correlated().target), slice(None), 13)
    draws = run(kernel=kernel)
    assert draws.num_draws == 3
    assert not draws.is_whole.any()
