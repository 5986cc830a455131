import pytest

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
