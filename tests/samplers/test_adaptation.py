import math
from typing import Any

import pytest
import torch

from bayes_splat.samplers.adaptation import DiagonalAdaptation, DualAveraging, RunningVariance
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from tests import helpers_targets as targets

ENERGY = torch.zeros(3).double()


def acceptance_of(step_size: torch.Tensor) -> torch.Tensor:
    """A chain that accepts exp(-step_size)."""
    return (-step_size).exp()


@pytest.mark.parametrize("start", [1e-3, 1.0, 30.0])
def test_dual_averaging_finds_the_step_size_of_the_target(start: float) -> None:
    averaging = DualAveraging.start(start, ENERGY)
    for _ in range(500):
        averaging = averaging.update(acceptance_of(averaging.step_size(True)), 0.574)
    expected = torch.full((3,), -math.log(0.574)).double()
    torch.testing.assert_close(averaging.step_size(False), expected, rtol=0.05, atol=0.0)


def test_first_update_is_the_formula() -> None:
    averaging = DualAveraging.start(0.2, ENERGY).update(torch.full((3,), 0.9).double(), 0.5)
    error = (0.5 - 0.9) / 11.0
    expected = math.log(2.0) - 1.0 / 0.05 * error
    assert averaging.log_step_size.tolist() == pytest.approx([expected] * 3)
    assert averaging.log_average.tolist() == pytest.approx([expected] * 3)


def test_without_an_update_the_step_size_is_the_given_one() -> None:
    averaging = DualAveraging.start(0.2, ENERGY)
    assert averaging.step_size(False).tolist() == pytest.approx([0.2] * 3)
    assert averaging.step_size(True).tolist() == pytest.approx([0.2] * 3)


def test_shared_step_sizes_stay_equal_and_own_ones_differ() -> None:
    rates = torch.tensor([0.1, 0.5, 0.9]).double()
    start = DualAveraging.start(0.2, ENERGY)
    shared = start.update(rates, 0.574, is_shared=True)
    assert len(set(shared.step_size(True).tolist())) == 1
    mean = start.update(torch.full((3,), 0.5).double(), 0.574)
    torch.testing.assert_close(shared.log_step_size, mean.log_step_size)
    assert len(set(start.update(rates, 0.574).step_size(True).tolist())) == 3


def test_chains_that_are_left_out_stay_as_they_are() -> None:
    start = DualAveraging.start(0.2, ENERGY)
    where = torch.tensor([True, False, True])
    rates = torch.tensor([0.9, 0.1, 0.3]).double()
    for is_shared in (False, True):
        moved = start.update(rates, 0.574, is_shared=is_shared, where=where)
        assert moved.num_updates.tolist() == ([1.0, 1.0, 1.0] if is_shared else [1.0, 0.0, 1.0])
    assert start.update(rates, 0.574, where=where).log_step_size[1] == start.log_step_size[1]


def test_rescaling_multiplies_all_step_sizes() -> None:
    averaging = DualAveraging.start(0.2, ENERGY).rescaled(torch.full((3,), math.log(3.0)).double())
    assert averaging.step_size(True).tolist() == pytest.approx([0.6] * 3)
    assert averaging.step_size(False).tolist() == pytest.approx([0.6] * 3)


@pytest.mark.parametrize("step_size", [0.0, -1.0, math.nan])
def test_step_size_must_be_positive(step_size: float) -> None:
    with pytest.raises(ValueError, match="step_size"):
        DualAveraging.start(step_size, ENERGY)


def test_running_variance_is_the_variance() -> None:
    draws = 1e6 + torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    running = RunningVariance.start({"x": draws[0]})
    for draw in draws:
        running = running.update({"x": draw})
    torch.testing.assert_close(running.squares["x"] / 39, draws.var(0), rtol=1e-9, atol=0.0)
    expected = 40 / 45 * draws.var(0) + 5 / 45 * 1e-3
    torch.testing.assert_close(running.regularised()["x"], expected, rtol=1e-9, atol=0.0)


def test_diagonal_follows_the_scales_and_forgets_the_way_there() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([0.1, 1.0, 10.0]).double()
    draws = scales * torch.randn(600, 2, 3, generator=generator, dtype=torch.float64)
    draws[:50] += 1000.0
    adaptation = DiagonalAdaptation.start({"x": draws[0]})
    assert torch.equal(adaptation.preconditioner["x"], torch.ones(2, 3).double())
    for draw in draws:
        adaptation = adaptation.update({"x": draw})
    ratio = adaptation.preconditioner["x"] / scales**2
    # At least 100 draws: a variance has a relative error of 0.14.
    assert ((ratio - 1).abs() < 4.5 * 0.14).all()


def test_diagonal_starts_from_a_given_one() -> None:
    given = {"x": torch.tensor([1.0, 4.0]).double()}
    adaptation = DiagonalAdaptation.start({"x": torch.zeros(3, 2).double()}, given)
    assert adaptation.preconditioner["x"].tolist() == [[1.0, 4.0]] * 3
    assert adaptation.log_scale().tolist() == pytest.approx([math.log(2.0)] * 3)


@pytest.mark.parametrize("kernel", [MALA, RandomWalkMetropolis, BlockMALA])
@pytest.mark.parametrize("aim", [0.0, 57.4, math.nan])
def test_acceptance_rates_that_no_step_size_has_are_refused(kernel: Any, aim: float) -> None:
    with pytest.raises(ValueError, match=f"target_acceptance_rate is {aim}"):
        kernel(targets.two_peaks(), target_acceptance_rate=aim)
