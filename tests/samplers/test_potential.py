import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from tests import helpers_targets as targets

DATA = torch.tensor([[0.3, -1.2, 0.8], [1.5, 0.1, -0.4]]).double()


def zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def no_plate() -> None:
    x = pyro.sample("x", dist.Normal(zero(), 2.0))
    pyro.sample("y", dist.Normal(x, 1.0), obs=zero() + 0.7)


def nested_plates() -> None:
    rows, columns = pyro.plate("rows", 2, dim=-2), pyro.plate("columns", 3, dim=-1)
    scale = pyro.sample("scale", dist.HalfCauchy(zero() + 1.0))
    with rows:
        row = pyro.sample("row", dist.Normal(zero(), scale))
    with columns:
        column = pyro.sample("column", dist.Uniform(zero() - 1.0, 3.0))
    with rows, columns:
        pyro.sample("y", dist.StudentT(zero() + 4.0, row + column, scale), obs=DATA)


def events() -> None:
    weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0]).double()))
    factor = pyro.sample("factor", dist.LKJCholesky(3, zero() + 2.0))
    with pyro.plate("rows", 2):
        x = pyro.sample("x", dist.MultivariateNormal(weights, scale_tril=factor))
        pyro.sample("y", dist.Normal(x, 0.5).to_event(1), obs=DATA)


def scaled_and_masked() -> None:
    x = pyro.sample("x", dist.Beta(zero() + 2.0, zero() + 3.0))
    double = pyro.deterministic("double", 2.0 * x)
    mask: Any = torch.tensor([True, False, True])
    with pyro.plate("data", 3), poutine.scale(scale=7.0), poutine.mask(mask=mask):
        pyro.sample("y", dist.Normal(double, 1.0), obs=DATA[0])
    pyro.factor("penalty", -(x**2))


def float32_matrix() -> None:
    """Works in float32 only: a matrix product does not mix precisions."""
    design = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]])
    slope = pyro.sample("slope", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", 3):
        logits = slope @ design.T
        logits = logits.squeeze(-2) if logits.ndim > 1 else logits
        pyro.sample("y", dist.Bernoulli(logits=logits), obs=torch.tensor([1.0, 0.0, 1.0]))


MODELS = [no_plate, nested_plates, events, scaled_and_masked, float32_matrix]


def start(target: PyroTarget, chains: int = 3) -> dict[str, Tensor]:
    return target.initial_position(positions.make_generators(0, chains))


def energy_by_pyro(model: Callable[..., Any], position: dict[str, Tensor]) -> Tensor:
    """The potential energy that NUTS would use, chain by chain."""
    _, potential, transforms, _ = initialize_model(model)
    assert set(transforms) == set(position)
    chains = positions.num_chains(position)
    return torch.stack(
        [potential({name: value[c] for name, value in position.items()}) for c in range(chains)]
    ).double()


# ----- energies -----


@pytest.mark.parametrize("model", [no_plate, nested_plates, events, scaled_and_masked])
def test_energy_is_that_of_pyro(model: Callable[..., Any]) -> None:
    target = PyroTarget(model)
    position = start(target)
    assert target.is_vectorized
    torch.testing.assert_close(target.potential_energy(position), energy_by_pyro(model, position))


@pytest.mark.parametrize("model", MODELS)
def test_one_run_for_all_chains_gives_what_one_run_a_chain_gives(model: Callable[..., Any]) -> None:
    together, alone = PyroTarget(model, vectorized=True), PyroTarget(model, vectorized=False)
    position = start(together)
    energy, gradient = together.potential_and_gradient(position)
    expected, slopes = alone.potential_and_gradient(position)
    torch.testing.assert_close(energy, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, slopes, rtol=1e-5, atol=1e-6)
    assert energy.dtype == torch.float64
    assert torch.equal(together.potential_energy(position), energy)


@pytest.mark.parametrize("model", [nested_plates, events, scaled_and_masked])
def test_gradient_is_that_of_finite_differences(model: Callable[..., Any]) -> None:
    target = PyroTarget(model)
    position = start(target, 2)
    _, gradient = target.potential_and_gradient(position)
    for site, value in position.items():
        for index in range(value[0].numel()):
            shift = torch.zeros_like(value)
            shift.reshape(2, -1)[:, index] = 1e-5
            above = target.potential_energy({**position, site: value + shift})
            below = target.potential_energy({**position, site: value - shift})
            slope = gradient[site].reshape(2, -1)[:, index]
            torch.testing.assert_close(slope, (above - below) / 2e-5, rtol=1e-5, atol=1e-6)


def test_chains_do_not_know_each_other() -> None:
    target = PyroTarget(nested_plates)
    position = start(target, 4)
    energy, gradient = target.potential_and_gradient(position)
    one, slopes = target.potential_and_gradient({s: v[2:3] for s, v in position.items()})
    assert torch.equal(energy[2:3], one)
    assert all(torch.equal(gradient[site][2:3], slopes[site]) for site in position)


def test_energy_does_not_depend_on_the_number_of_threads() -> None:
    data = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()

    def model() -> None:
        x = pyro.sample("x", dist.Normal(zero(), 1.0))
        with pyro.plate("data", len(data)):
            pyro.sample("y", dist.Normal(x, 1.0), obs=data)

    target = PyroTarget(model)
    position = start(target, 1)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(target.potential_and_gradient(position))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(energy, results[0][0]) for energy, _ in results)


def test_impossible_chains_have_infinite_energy_and_no_gradient() -> None:
    def model() -> None:
        x = pyro.sample("x", dist.Normal(zero(), 1.0))
        bad = torch.where(x > 5.0, torch.nan, torch.where(x < -5.0, -torch.inf, x.log1p() * 0.0))
        pyro.factor("bad", bad)

    target = PyroTarget(model)
    energy, gradient = target.potential_and_gradient(
        {"x": torch.tensor([0.5, 6.0, -6.0, -1.5]).double()}
    )
    assert energy.isfinite().tolist() == [True, False, False, False]
    assert (energy[1:] == torch.inf).all()
    assert gradient["x"][1:].tolist() == [0.0] * 3
    assert gradient["x"][0].isfinite()


class KnowsItsCoordinate(dist.HalfNormal):
    """Density of log x, off by a constant on purpose, so that its use can be seen."""

    def expand(self, batch_shape: Any, _instance: Any = None) -> "KnowsItsCoordinate":
        return KnowsItsCoordinate(self.scale.expand(batch_shape))

    def log_prob_unconstrained(self, coordinate: Tensor) -> Tensor:
        log_prob: Tensor = self.log_prob(coordinate.exp())
        return log_prob + coordinate + 1.0


@pytest.mark.parametrize("vectorized", [True, False])
def test_densities_over_the_coordinate_are_used_where_they_are_the_whole_truth(
    vectorized: bool,
) -> None:
    def model(kind: Any, scale: float) -> None:
        with pyro.plate("data", 3), poutine.scale(scale=scale):
            pyro.sample("x", kind(zero() + 0.5))

    for scale, gain in ((1.0, 3.0), (2.0, 0.0)):
        plain, knowing = (
            PyroTarget(model, (kind, scale), vectorized=vectorized)
            for kind in (dist.HalfNormal, KnowsItsCoordinate)
        )
        position = start(plain, 2)
        difference = plain.potential_energy(position) - knowing.potential_energy(position)
        assert difference == pytest.approx(torch.full((2,), gain).double())


class KnowsItsEnergy:
    """Normal(0, scale), its own energy off by ``gain`` on purpose, so that its use can be seen."""

    def __init__(self, gain: float | None) -> None:
        self.gain = gain

    def __call__(self, scale: float = 1.0) -> None:
        pyro.sample("x", dist.Normal(zero(), scale))

    def potential_energy(self, position: dict[str, Tensor]) -> Tensor | None:
        return None if self.gain is None else self.gain * position["x"].square()


def test_a_model_that_knows_its_energy_is_asked_first() -> None:
    target = PyroTarget(KnowsItsEnergy(3.0))
    position = {"x": torch.tensor([1.0, -2.0, torch.inf]).double()}
    energy, gradient = target.potential_and_gradient(position)
    assert energy.tolist() == [3.0, 12.0, torch.inf]
    assert gradient["x"].tolist() == [6.0, -12.0, 0.0]
    assert target.potential_energy(position).tolist() == [3.0, 12.0, torch.inf]


def test_the_trace_is_taken_where_the_model_does_not_know_or_something_has_changed_it() -> None:
    knows = KnowsItsEnergy(3.0)
    position = {"x": torch.tensor([1.0, -2.0]).double()}
    for target, scale in (
        (PyroTarget(KnowsItsEnergy(None)), 1.0),
        (PyroTarget(knows, (2.0,)), 2.0),
        (PyroTarget(knows, kwargs={"scale": 2.0}), 2.0),
        (PyroTarget(poutine.condition(knows, data={})), 1.0),
    ):
        normal = -dist.Normal(zero(), scale).log_prob(position["x"])
        assert target.potential_energy(position) == pytest.approx(normal)
    whole = -dist.Normal(zero(), 2.0).log_prob(position["x"])
    batched, _ = PyroTarget(knows).potential_and_gradient(position, {"scale": 2.0})
    assert batched == pytest.approx(whole)


# ----- models that do not broadcast -----


def test_a_model_that_does_not_broadcast_takes_one_run_a_chain() -> None:
    design = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]]).double()

    def model() -> None:
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2).double(), 1.0))
        pyro.sample("y", dist.Normal((slope * design).sum(-1), 1.0), obs=DATA[0])

    with pytest.warns(UserWarning, match="vectorized=False"):
        target = PyroTarget(model)
    assert not target.is_vectorized
    position = start(target)
    torch.testing.assert_close(target.potential_energy(position), energy_by_pyro(model, position))


def test_a_model_that_mixes_chains_is_found_out() -> None:
    def model() -> None:
        with pyro.plate("data", 3):
            x = pyro.sample("x", dist.Normal(zero(), 1.0))
        pyro.factor("total", -(x.sum() ** 2))

    with pytest.warns(UserWarning, match="not those of each chain alone"):
        assert not PyroTarget(model).is_vectorized


# ----- coordinates -----


@pytest.mark.parametrize("model", MODELS)
def test_constrain_undoes_unconstrain(model: Callable[..., Any]) -> None:
    target = PyroTarget(model)
    position = start(target)
    values = target.constrain(position)
    nodes: Any = poutine.trace(model).get_trace().nodes
    for site, value in values.items():
        support = nodes[site]["fn"].support
        assert support.check(value).all()
        assert position[site].dtype == torch.float64
    torch.testing.assert_close(target.unconstrain(values), position, rtol=1e-6, atol=1e-6)


def test_initial_positions_are_draws_from_the_prior() -> None:
    target = PyroTarget(nested_plates)
    column = target.constrain(start(target, 800))["column"]
    targets.check_mean(column, 1.0)
    targets.check_mean((column - 1.0) ** 2, 16.0 / 12.0)
    assert torch.equal(start(target, 2)["row"], start(target, 3)["row"][:2])


# ----- manners -----


def test_global_random_state_and_param_store_stay_as_they_were() -> None:
    def model() -> None:
        shift = pyro.param("shift", zero())
        pyro.sample("x", dist.Normal(shift, 1.0))

    pyro.clear_param_store()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    target = PyroTarget(nested_plates)
    target.potential_and_gradient(start(target))
    assert torch.equal(torch.get_rng_state(), before)
    PyroTarget(model)
    assert not list(pyro.get_param_store().keys())
    pyro.param("shift", torch.tensor(3.0).double())
    position = {"x": torch.tensor([3.0]).double()}
    energy = PyroTarget(model).potential_energy(position)
    assert energy.item() == pytest.approx(0.5 * math.log(2 * math.pi))
    pyro.clear_param_store()


def test_validation_setting_is_restored() -> None:
    with pyro.validation_enabled(True):
        PyroTarget(no_plate).potential_energy({"x": torch.tensor([torch.nan]).double()})
        assert pyro.infer.util.is_validation_enabled()


# ----- parts of the data, parts of the position -----


def subsampled(index: Tensor | None = None) -> None:
    data = torch.linspace(-1.0, 2.0, 6).double()
    index = torch.arange(6) if index is None else index
    x = pyro.sample("x", dist.Normal(zero(), 1.0))
    with pyro.plate("data", 6, subsample=index):
        pyro.sample("y", dist.Normal(x, 0.5), obs=data[index])


def test_minibatches_are_unbiased() -> None:
    batches = [{"index": torch.tensor([i, (i + 2) % 6])} for i in range(6)]
    target = PyroTarget(subsampled)
    minibatches = Minibatches(target, lambda g: batches[int(torch.randint(6, (), generator=g[0]))])
    position = start(target)
    energy, gradient = minibatches.potential_and_gradient(position)
    assert torch.equal(minibatches.potential_energy(position), energy)
    parts = [minibatches.potential_and_gradient(position, batch) for batch in batches]
    torch.testing.assert_close(torch.stack([e for e, _ in parts]).mean(0), energy)
    torch.testing.assert_close(torch.stack([g["x"] for _, g in parts]).mean(0), gradient["x"])
    assert len({e[0].item() for e, _ in parts}) > 1
    drawn = minibatches.draw_batch(positions.make_generators(0, 1))
    assert drawn["index"].shape == (2,)


def test_a_conditional_is_the_joint_with_the_rest_held_fixed() -> None:
    target = PyroTarget(nested_plates)
    conditional = target.conditional(["row", "scale"])
    position, other = start(target), start(target, 4)
    block = {site: value[1:] for site, value in conditional.extract(other).items()}
    assert list(block) == ["row", "scale"]
    moved = conditional.insert(block, position)
    assert torch.equal(moved["column"], position["column"])
    given = conditional.given(position)
    energy, gradient = target.potential_and_gradient(moved)
    part, slopes = given.potential_and_gradient(block)
    assert torch.equal(part, energy)
    assert torch.equal(given.potential_energy(block), energy)
    assert list(slopes) == ["row", "scale"]
    assert all(torch.equal(slopes[site], gradient[site]) for site in slopes)


def test_a_conditional_of_unknown_sites_is_refused() -> None:
    with pytest.raises(ValueError, match="'rows'"):
        PyroTarget(nested_plates).conditional(["rows"])
