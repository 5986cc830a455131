import warnings
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from bayes_splat.samplers.base import Target
from bayes_splat.samplers.gibbs import KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.tempered_target import PowerTarget, TemperedTarget
from tests import helpers_targets as targets

DATA = torch.tensor([0.3, -1.0, 2.5]).double()
POWER = torch.tensor([1.0, 0.5, 0.0]).double()
POSITION = {
    "location": torch.tensor([0.1, -1.0, 2.0]).double(),
    "scale": torch.tensor([0.2, -0.3, 1.0]).double(),
}


def by_hand(power: torch.Tensor) -> torch.Tensor:
    """Minus the log density of ``location_scale`` in (location, log scale)."""
    location, log_scale = POSITION["location"], POSITION["scale"]
    prior = -dist.Normal(0.0, 1.0).log_prob(location) - dist.Normal(0.0, 0.5).log_prob(log_scale)
    return prior - power * likelihood_by_hand()


def likelihood_by_hand() -> torch.Tensor:
    location, scale = POSITION["location"][:, None], POSITION["scale"].exp()[:, None]
    return dist.Normal(location, scale).log_prob(DATA).sum(1)


def observed_by_handler(*args: Any) -> Any:
    return poutine.condition(lambda: targets.location_scale(None), data={"y": DATA})()


def with_a_factor() -> None:
    """The same density, the likelihood as a factor."""
    location = pyro.sample("location", dist.Normal(torch.zeros(()).double(), 1.0))
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros(()).double(), 0.5))
    terms = dist.Normal(location[..., None], scale[..., None]).log_prob(DATA)
    pyro.factor("y", terms.sum(-1))


MODELS: dict[str, Callable[[], PyroTarget]] = {
    "vectorized": lambda: PyroTarget(targets.location_scale, (DATA,), vectorized=True),
    "one by one": lambda: PyroTarget(targets.location_scale, (DATA,), vectorized=False),
    "conditioned": lambda: PyroTarget(observed_by_handler, vectorized=False),
    "factor": lambda: PyroTarget(with_a_factor),
}


@pytest.mark.parametrize("name", MODELS)
class TestPowersOfAPyroModel:
    def test_only_the_likelihood_is_raised(self, name: str) -> None:
        target = TemperedTarget(MODELS[name]())
        assert isinstance(target, PowerTarget)
        tempered = target.at_power(POWER)
        assert isinstance(tempered, Target)
        torch.testing.assert_close(tempered.potential_energy(POSITION), by_hand(POWER))
        torch.testing.assert_close(target.log_likelihood(POSITION), likelihood_by_hand())

    def test_gradients_are_those_of_the_energy(self, name: str) -> None:
        target = TemperedTarget(MODELS[name]()).at_power(POWER)
        energy, gradient = target.potential_and_gradient(POSITION)
        torch.testing.assert_close(energy, by_hand(POWER))
        for site, slope in gradient.items():
            shifted = [{**POSITION, site: POSITION[site] + h} for h in (1e-5, -1e-5)]
            up, down = (target.potential_energy(p) for p in shifted)
            torch.testing.assert_close(slope, (up - down) / 2e-5, rtol=1e-6, atol=1e-6)

    def test_power_one_is_the_posterior_itself(self, name: str) -> None:
        posterior = MODELS[name]()
        energy, gradient = posterior.potential_and_gradient(POSITION)
        tempered = TemperedTarget(posterior).at_power(torch.ones(3).double())
        again, slopes = tempered.potential_and_gradient(POSITION)
        assert torch.equal(energy, again)
        assert all(torch.equal(gradient[site], slopes[site]) for site in gradient)


def test_the_given_target_is_left_as_it_was() -> None:
    posterior = MODELS["vectorized"]()
    before = posterior.potential_energy(POSITION)
    TemperedTarget(posterior).log_likelihood(POSITION)
    assert torch.equal(posterior.potential_energy(POSITION), before)


def test_impossible_data_are_infinite_energies_and_never_nan() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(()).double(), 1.0))
        pyro.factor("cliff", torch.where(x > 1.0, -torch.inf, 0.0))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = TemperedTarget(PyroTarget(model))
    position = {"x": torch.tensor([2.0, 2.0, 0.5]).double()}
    energy = target.at_power(torch.tensor([1.0, 0.0, 1.0]).double()).potential_energy(position)
    assert energy.isinf().tolist() == [True, True, False]
    assert target.log_likelihood(position).tolist() == [-torch.inf, -torch.inf, 0.0]


def test_blocks_of_a_tempered_model() -> None:
    """A step on one site moves it, at the power of each row, and nothing else."""
    target = TemperedTarget(MODELS["vectorized"]()).at_power(POWER)
    block = KernelBlock("scale", MALA(target, 1e-4), target.conditional(["scale"]))
    moved, _, info = block.step(make_generators(0, 3), POSITION, None, False)
    assert torch.equal(moved["location"], POSITION["location"])
    assert (moved["scale"] != POSITION["scale"]).all()
    assert info.potential_energy is not None
    assert torch.equal(info.potential_energy, target.potential_energy(moved))
    with pytest.raises(ValueError, match="'depth' is none of the latent"):
        target.conditional(["depth"])
