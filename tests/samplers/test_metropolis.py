import math

import torch

from bayes_splat.samplers import metropolis


def rate(energy: float, candidate: float, log_ratio: float = 0.0) -> float:
    tensors = (torch.tensor([value]).double() for value in (energy, candidate, log_ratio))
    return metropolis.acceptance_rate(*tensors).item()


def test_ratio() -> None:
    assert rate(1.0, 0.5) == 1.0
    assert rate(0.5, 1.0) == math.exp(-0.5)
    assert math.isclose(rate(0.5, 1.0, 0.2), math.exp(-0.3), rel_tol=1e-6)


def test_what_is_no_number_is_rejected() -> None:
    assert rate(0.0, math.inf) == 0.0
    assert rate(0.0, math.nan) == 0.0
    assert rate(0.0, -math.inf) == 0.0
    assert rate(math.inf, math.inf) == 0.0
    assert rate(0.0, 0.0, math.nan) == 0.0
    assert rate(0.0, 0.0, -math.inf) == 0.0


def test_any_way_out_of_an_impossible_state_is_taken() -> None:
    assert rate(math.inf, 3.0) == 1.0
