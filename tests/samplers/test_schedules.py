from typing import Any

import pytest

from bayes_splat.samplers import schedules
from bayes_splat.samplers.schedules import Constant, Cyclical, Polynomial


def test_constant() -> None:
    assert [Constant(0.3)(step) for step in (0, 7, 1000)] == [0.3] * 3


def test_polynomial_starts_at_its_step_size_and_decays_with_its_power() -> None:
    schedule = Polynomial(0.3, delay=10.0, power=0.5)
    assert schedule(0) == 0.3
    assert schedule(30) == pytest.approx(0.15)


def test_cyclical_restarts() -> None:
    schedule = Cyclical(0.4, period=100)
    assert schedule(0) == schedule(100) == 0.4
    assert schedule(50) == pytest.approx(0.2)
    assert 0.0 < schedule(99) < 0.001


def test_a_cycle_ends_with_its_window() -> None:
    schedule = Cyclical(0.4, period=10, exploration=0.7, exploration_temperature=0.0)
    cycle = [False] * 7 + [True] * 3
    assert [schedule.is_sampling(step) for step in range(20)] == cycle * 2
    assert [schedule.temperature(step) for step in range(10)] == [float(kept) for kept in cycle]


@pytest.mark.parametrize(("period", "exploration"), [(1, 0.5), (3, 0.99), (7, 0.0)])
def test_every_cycle_has_a_step_in_its_window(period: int, exploration: float) -> None:
    schedule = Cyclical(0.4, period, exploration)
    assert schedule.is_sampling(period - 1)
    assert all(schedule.is_sampling(step) for step in range(period)) == (
        exploration * period <= 0.5
    )


def test_schedules_without_windows_keep_everything() -> None:
    for schedule in (Constant(0.1), Polynomial(0.1), lambda step: 0.1):
        assert schedules.is_sampling(schedule, 5)
        assert schedules.temperature(schedule, 5) == 1.0


def test_kernels_without_windows_keep_everything() -> None:
    assert schedules.may_keep(object(), None)


@pytest.mark.parametrize(
    "settings",
    [
        {"period": 0},
        {"period": 5, "exploration": 1.0},
        {"period": 5, "exploration": -0.1},
        {"period": 5, "exploration_temperature": -1.0},
    ],
)
def test_cycles_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(settings)[-1]):
        Cyclical(0.1, **settings)
