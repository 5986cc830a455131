"""What models are refused, seen from the target that reads them."""

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayes_splat.samplers import traces
from bayes_splat.samplers.potential import PyroTarget


@pytest.mark.parametrize(
    ("fn", "word"),
    [
        (lambda: pyro.sample("z", dist.Categorical(torch.ones(3))), "'z' is discrete"),
        (lambda: pyro.sample("z", dist.Poisson(1.0)), "'z' is discrete"),
        (lambda: None, "no latent site"),
        (
            lambda: pyro.sample("b", dist.Uniform(0.0, pyro.sample("a", dist.LogNormal(0.0, 1.0)))),
            "'b' has a support that depends",
        ),
    ],
)
def test_models_that_cannot_be_sampled_are_refused(fn: Callable[[], Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PyroTarget(fn)


def test_random_subsampling_is_refused() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 10, subsample_size=2) as index:
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.zeros(10)[index])

    with pytest.raises(ValueError, match="'data' subsamples"):
        PyroTarget(model)


@pytest.mark.parametrize("limit", [-10.0, 10.0])
def test_a_site_that_comes_or_goes_is_refused(limit: float) -> None:
    def model() -> None:
        if pyro.sample("a", dist.Normal(0.0, 1.0)) > limit:
            pyro.sample("b", dist.Normal(0.0, 1.0))

    target = PyroTarget(model, vectorized=False)
    position = {site: torch.tensor([2.0 * limit]).double() for site in target.sites}
    with pytest.raises(ValueError, match="'b' is there for some values"):
        target.potential_energy(position)


def test_parameters_that_a_run_registers_are_forgotten_and_others_kept() -> None:
    pyro.clear_param_store()
    pyro.param("old", torch.tensor(1.0))
    with traces.clean_param_store():
        pyro.param("new", torch.tensor(2.0))
    assert list(pyro.get_param_store().keys()) == ["old"]
    pyro.clear_param_store()
