"""Gradients of minibatches of a Pyro model with a nonlinear likelihood: logistic regression."""

import math
from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from bayes_splat.samplers import stochastic_gradients
from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from bayes_splat.samplers.schedules import Constant
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.stochastic_gradients import Anchor, StochasticGradientState
from tests import helpers_targets as targets

SIZE, PART = 6, 2
X = torch.randn(SIZE, 2, generator=torch.Generator().manual_seed(0)).double()
Y = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]).double()
HERE = {"b": torch.tensor([[0.3, -0.2], [1.0, 2.0]]).double()}
FAR = {"b": torch.tensor([[-1.0, 0.5], [0.0, 0.0]]).double()}
NEAR = {"b": HERE["b"] + 0.01}


def logistic(index: Tensor | None = None) -> None:
    index = torch.arange(SIZE) if index is None else index
    b = pyro.sample("b", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
    with pyro.plate("data", SIZE, subsample=index):
        pyro.sample("y", dist.Bernoulli(logits=(b * X[index]).sum(-1)), obs=Y[index])


def draw(generators: Generators) -> Batch:
    return {"index": torch.randperm(SIZE, generator=generators[0])[:PART]}


TARGET = Minibatches(PyroTarget(logistic), draw)
ALL_BATCHES = [{"index": torch.tensor(pair)} for pair in combinations(range(SIZE), PART)]


def anchor_at(position: Position) -> Anchor:
    return Anchor(position, *TARGET.potential_and_gradient(position), 0)


def estimates(anchor: Anchor | None) -> tuple[Tensor, Tensor]:
    """Energies [batch, chain] and gradients [batch, chain, 2] of every possible minibatch."""
    found = [stochastic_gradients.estimate(TARGET, HERE, batch, anchor) for batch in ALL_BATCHES]
    return torch.stack([e for e, _ in found]), torch.stack([g["b"] for _, g in found])


@pytest.mark.parametrize("anchor", [None, anchor_at(FAR), anchor_at(NEAR), anchor_at(HERE)])
def test_the_mean_over_all_minibatches_is_exact(anchor: Anchor | None) -> None:
    energies, gradients = estimates(anchor)
    energy, gradient = TARGET.potential_and_gradient(HERE)
    torch.testing.assert_close(energies.mean(0), energy)
    torch.testing.assert_close(gradients.mean(0), gradient["b"])


def test_the_nearer_the_anchor_the_smaller_the_variance() -> None:
    plain, far, near, here = (
        estimates(a)[1].var(0) for a in (None, anchor_at(FAR), anchor_at(NEAR), anchor_at(HERE))
    )
    # A difference of gradients is at most a hundredth of one per hundredth of a step here.
    assert (near < 1e-3 * plain).all()
    assert (near < 1e-2 * far).all()
    assert (here < 1e-25).all()


def walk(anchor_every: int | None, steps: int) -> list[StochasticGradientState]:
    """A chain that is pushed along a line, whatever the gradients say."""
    generators = make_generators(0, 2)
    state = stochastic_gradients.start(TARGET, HERE, None, anchor_every)
    states = [state]
    for _ in range(steps):
        candidate = {"b": state.position["b"] + 0.1}
        state, _ = stochastic_gradients.arrive(TARGET, generators, state, candidate, anchor_every)
        states.append(state)
    return states


def test_the_anchor_moves_every_so_many_steps() -> None:
    states = walk(3, 7)
    for step, state in enumerate(states):
        assert state.anchor is not None
        assert state.anchor.age == step % 3
        at = states[step - step % 3].position
        assert torch.equal(state.anchor.position["b"], at["b"])
        energy, gradient = TARGET.potential_and_gradient(at)
        torch.testing.assert_close(state.anchor.potential_energy, energy)
        torch.testing.assert_close(state.anchor.gradient["b"], gradient["b"])
        if state.anchor.age == 0:
            assert torch.equal(state.gradient["b"], gradient["b"])


def test_without_an_anchor_there_is_none() -> None:
    assert all(state.anchor is None for state in walk(None, 2))


def test_gradients_along_a_chain_have_no_bias() -> None:
    """Random minibatches of many chains at one place: the mean is the exact gradient."""
    chains = 2000
    place = {"b": HERE["b"][:1].expand(chains, 2)}
    target = Minibatches(PyroTarget(logistic), lambda generators: {"index": picks(generators)})

    def picks(generators: Generators) -> Tensor:
        return torch.randperm(SIZE, generator=generators[0])[:PART]

    anchor = anchor_at(FAR)
    generators = make_generators(1, 1)
    gradients = torch.stack(
        [
            stochastic_gradients.estimate(target, HERE, target.draw_batch(generators), anchor)[1][
                "b"
            ][0]
            for _ in range(300)
        ]
    )
    exact = TARGET.potential_and_gradient(place)[1]["b"][0]
    error = gradients.std(0) / math.sqrt(len(gradients))
    assert ((gradients.mean(0) - exact).abs() < 4.5 * error).all()


def test_chains_without_a_gradient_stay_and_keep_their_anchor() -> None:
    def cliff(index: Tensor | None = None) -> None:
        b = pyro.sample("b", dist.Normal(torch.zeros(()).double(), 1.0))
        pyro.factor("cliff", torch.where(b > 1.0, -torch.inf, 0.0))

    target = Minibatches(PyroTarget(cliff), lambda generators: {})
    state = stochastic_gradients.start(target, {"b": torch.tensor([0.9, 0.1]).double()}, None, 1)
    moved, is_moved = stochastic_gradients.arrive(
        target, make_generators(0, 2), state, {"b": state.position["b"] + 0.2}, 1
    )
    assert is_moved.tolist() == [False, True]
    assert moved.position["b"].tolist() == pytest.approx([0.9, 0.3])
    assert moved.anchor is not None
    assert moved.anchor.position["b"].tolist() == pytest.approx([0.9, 0.3])
    assert moved.anchor.gradient["b"].tolist() == pytest.approx([0.9, 0.3])


@pytest.mark.parametrize("anchor_every", [0, -3])
def test_anchors_that_never_move_are_refused(anchor_every: int) -> None:
    with pytest.raises(ValueError, match="anchor_every"):
        stochastic_gradients.check_anchor_every(anchor_every)


def test_targets_without_minibatches_are_refused() -> None:
    kernel = SGLD(targets.two_peaks(), Constant(0.1))
    with pytest.raises(ValueError, match="FunctionTarget has none; wrap it as Minibatches"):
        targets.run(kernel, {"x": torch.zeros(1).double()}, make_generators(0, 1), 1)
