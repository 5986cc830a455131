import itertools

import pytest
import torch
from scipy import stats
from torch import Tensor

from bayes_splat.models import forward_backward
from bayes_splat.models.forward_backward import NOTHING

DRAWS = 4000
LEAST_P = 1e-5


def problem(length: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights of the places, [place state], and a transition matrix."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(length, size, generator=generator, dtype=torch.float64) ** 2
    scatter = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return weights, torch.softmax(1.5 * scatter, -1)


def enumerated(weights: Tensor, transition: Tensor, before: int, after: int) -> Tensor:
    """Probability of every sequence, in the order of ``itertools.product``."""
    length, size = weights.shape
    found = []
    for states in itertools.product(range(size), repeat=length):
        p = 1 / size if before == NOTHING else float(transition[before, states[0]])
        for one, other in itertools.pairwise(states):
            p *= float(transition[one, other])
        for place, state in enumerate(states):
            p *= float(weights[place, state])
        found.append(p if after == NOTHING else p * float(transition[states[-1], after]))
    probabilities = torch.tensor(found, dtype=torch.float64)
    return probabilities / probabilities.sum()


def sample(weights, transition, before, after, draws=DRAWS, seed=1) -> Tensor:
    length, size = weights.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = forward_backward.sample_stretches(
        weights.expand(2, draws // 2, length, size),
        transition.expand(2, size, size),
        torch.full((2, draws // 2), before),
        torch.full((2, draws // 2), after),
        torch.rand(2, draws // 2, length, generator=generator, dtype=torch.float64),
    )
    assert drawn.is_possible.all()
    return drawn.states.reshape(-1, length)


def p_value(states: Tensor, probabilities: Tensor, size: int) -> float:
    """Of Pearson's chi-square; sequences expected less than five times are put together."""
    place = size ** torch.arange(states.shape[1] - 1, -1, -1)
    seen = torch.bincount((states * place).sum(-1), minlength=len(probabilities)).double()
    expected = probabilities * len(states)
    rare = expected < 5
    assert seen[probabilities == 0].sum() == 0
    seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    keep = expected > 0
    return float(stats.chisquare(seen[keep], expected[keep]).pvalue)


CASES = [
    (5, 3, 1, 2),
    (4, 4, NOTHING, 0),
    (4, 4, 3, NOTHING),
    (5, 2, NOTHING, NOTHING),
    (1, 4, 0, 3),
]


@pytest.mark.parametrize(("length", "size", "before", "after"), CASES)
def test_draws_are_those_of_enumeration(length, size, before, after):
    weights, transition = problem(length, size)
    states = sample(weights, transition, before, after)
    assert p_value(states, enumerated(weights, transition, before, after), size) > LEAST_P


@pytest.mark.parametrize(
    "other", [(5, 3, 1, NOTHING), (5, 3, NOTHING, 2), (5, 3, 0, 2), (5, 3, 1, 0)]
)
def test_the_comparison_sees_a_wrong_end(other):
    weights, transition = problem(5, 3)
    states = sample(weights, transition, 1, 2)
    assert p_value(states, enumerated(weights, transition, *other[2:]), 3) < 1e-9


def test_the_comparison_sees_shifted_weights_and_a_transposed_matrix():
    weights, transition = problem(5, 3)
    states = sample(weights, transition, 1, 2)
    shifted = enumerated(weights.roll(1, -1), transition, 1, 2)
    assert p_value(states, shifted, 3) < 1e-9
    assert p_value(states, enumerated(weights, transition.mT, 1, 2), 3) < 1e-9


def test_impossible_states_are_never_drawn():
    weights, transition = problem(3, 4)
    weights[1, 2], transition[0, 1] = 0.0, 0.0
    states = sample(weights, transition, 0, 3)
    assert (states[:, 1] != 2).all()
    assert (states[:, 0] != 1).all()


def test_a_stretch_without_any_possible_state_says_so():
    transition = torch.eye(3, dtype=torch.float64)[None]
    before, after = torch.tensor([[0, 0]]), torch.tensor([[0, 2]])
    weights, uniform = torch.ones(1, 2, 4, 3).double(), torch.rand(1, 2, 4).double()
    drawn = forward_backward.sample_stretches(weights, transition, before, after, uniform)
    assert drawn.is_possible.tolist() == [[True, False]]
    assert (drawn.states[0, 0] == 0).all()


def test_chains_do_not_depend_on_each_other():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(3, 7, 5, 6, generator=generator, dtype=torch.float64)
    transition = torch.rand(3, 6, 6, generator=generator, dtype=torch.float64)
    uniform = torch.rand(3, 7, 5, generator=generator, dtype=torch.float64)
    before, after = torch.randint(-1, 6, (2, 3, 7), generator=generator)
    together = forward_backward.sample_stretches(weights, transition, before, after, uniform)
    alone = forward_backward.sample_stretches(
        weights[1:2], transition[1:2], before[1:2], after[1:2], uniform[1:2]
    )
    assert torch.equal(alone.states, together.states[1:2])
