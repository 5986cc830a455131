import math

import pytest
import torch

from bayes_splat.samplers import langevin
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.positions import make_generators

POSITION = {"a": torch.tensor([1.0, -1.0]).double(), "b": torch.ones(2, 3).double()}
GRADIENT = {"a": torch.tensor([2.0, 0.5]).double(), "b": torch.full((2, 3), -1.0).double()}
STEP_SIZE = torch.tensor([0.1, 0.4]).double()
DIAGONAL = {"a": torch.tensor(4.0).double(), "b": torch.tensor([1.0, 0.25, 9.0]).double()}


def test_step_is_drift_plus_noise_as_written() -> None:
    number, step_size = 100_000, 0.1
    position = {"b": torch.full((1, number, 3), 2.0).double()}
    gradient = {"b": torch.full((1, number, 3), -1.5).double()}
    scale = DIAGONAL["b"]
    moved = langevin.step(
        make_generators(0, 1), position, gradient, torch.tensor([step_size]), {"b": scale}
    )
    jump = (moved["b"] - position["b"])[0]
    mean, variance = step_size * scale * 1.5, 2 * step_size * scale
    assert ((jump.mean(0) - mean).abs() < 4.5 * (variance / number).sqrt()).all()
    assert ((jump.var(0) / variance - 1).abs() < 4.5 * math.sqrt(2 / number)).all()


def test_downhill() -> None:
    tiny = torch.full((2,), 1e-12).double()
    steep = {site: 1e9 * value for site, value in GRADIENT.items()}
    moved = langevin.step(make_generators(0, 2), POSITION, steep, tiny)
    for site, gradient in GRADIENT.items():
        assert ((moved[site] - POSITION[site]).sign() == -gradient.sign()).all()


def test_log_density_is_that_of_the_step() -> None:
    candidate = langevin.step(make_generators(0, 2), POSITION, GRADIENT, STEP_SIZE, DIAGONAL)
    expected = torch.zeros(2).double()
    for site, scale in DIAGONAL.items():
        step_size = STEP_SIZE if site == "a" else STEP_SIZE[:, None]
        step = torch.distributions.Normal(
            POSITION[site] - step_size * scale * GRADIENT[site], (2 * step_size * scale).sqrt()
        )
        expected += step.log_prob(candidate[site]).reshape(2, -1).sum(1)
    torch.testing.assert_close(
        langevin.log_density(candidate, POSITION, GRADIENT, STEP_SIZE, DIAGONAL), expected
    )


@pytest.mark.parametrize("diagonal", [None, DIAGONAL])
def test_log_ratio_is_that_of_the_two_densities(diagonal: Position | None) -> None:
    candidate = langevin.step(make_generators(0, 2), POSITION, GRADIENT, STEP_SIZE, DIAGONAL)
    there = {site: 0.3 - 2.0 * value for site, value in GRADIENT.items()}
    back = langevin.log_density(POSITION, candidate, there, STEP_SIZE, diagonal)
    forth = langevin.log_density(candidate, POSITION, GRADIENT, STEP_SIZE, diagonal)
    found = langevin.log_ratio(candidate, POSITION, GRADIENT, there, STEP_SIZE, diagonal)
    torch.testing.assert_close(found, back - forth)
