import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.rendering import segments

lengths = st.lists(st.integers(1, 70), max_size=8)
seeds = st.integers(0, 2**32 - 1)


def positions(lengths):
    return torch.tensor([i for length in lengths for i in range(length)], dtype=torch.int64)


def numbers(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indices(seed, size, count):
    return torch.randint(size, (count,), generator=torch.Generator().manual_seed(seed))


@given(seeds, st.integers(1, 4), st.integers(1, 9), st.integers(0, 40))
def test_gather_and_scatter_sum_are_what_they_say_and_each_others_transpose(
    seed, rows, columns, pairs
):
    table, values, index = (
        numbers(seed, rows, columns),
        numbers(seed + 1, rows, pairs),
        indices(seed, columns, pairs),
    )
    gathered = segments.gather(table, index)
    summed = segments.scatter_sum(values, index, columns)
    assert torch.equal(gathered, table[:, index])
    torch.testing.assert_close(summed, torch.zeros_like(table).index_add(1, index, values))
    torch.testing.assert_close((gathered * values).sum(), (table * summed).sum())


def test_gradients_of_gather_and_scatter_sum():
    index = indices(0, 5, 12)  # some column more than once, one possibly never
    table, values = numbers(1, 2, 5).requires_grad_(), numbers(2, 2, 12).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: segments.gather(t, index), table)
    assert torch.autograd.gradgradcheck(lambda t: segments.gather(t, index) ** 2, table)
    assert torch.autograd.gradcheck(lambda v: segments.scatter_sum(v, index, 5), values)
    assert torch.autograd.gradgradcheck(lambda v: segments.scatter_sum(v, index, 5) ** 2, values)


def test_scatter_sum_adds_in_list_order():
    values = torch.tensor([[1e8, 1.0, -1e8, 1.0]])  # float32 loses the first one, not the second
    assert segments.scatter_sum(values, torch.zeros(4, dtype=torch.int64), 2).tolist() == [
        [1.0, 0.0]
    ]


@given(lengths, seeds)
def test_running_sums_start_anew_in_every_segment(lengths, seed):
    values = numbers(seed, 2, sum(lengths))
    expected = [np.cumsum(part.numpy(), axis=1) for part in values.split(lengths, dim=1)]
    result = segments.cumulative_sum(values, positions(lengths))
    np.testing.assert_allclose(result, np.concatenate([np.zeros((2, 0)), *expected], axis=1))


@given(lengths, seeds)
def test_later_sums_leave_out_the_pair_itself_and_what_came_before(lengths, seed):
    values = numbers(seed, 2, sum(lengths))
    expected = [
        np.flip(np.cumsum(np.flip(part.numpy(), 1), axis=1), 1) - part.numpy()
        for part in values.split(lengths, dim=1)
    ]
    result = segments.later_sum(values, positions(lengths))
    whole = np.concatenate([np.zeros((2, 0)), *expected], axis=1)
    np.testing.assert_allclose(result, whole, rtol=1e-12, atol=1e-12)


def test_running_sums_are_differentiable():
    values = numbers(0, 9).requires_grad_()
    position = positions([4, 1, 4])
    assert torch.autograd.gradcheck(lambda v: segments.cumulative_sum(v, position), values)


@given(lengths, seeds)
def test_transmittance_and_its_gradient_are_those_of_products(lengths, seed):
    alphas = (0.999 * numbers(seed, sum(lengths))).requires_grad_()
    through = segments.transmittance(alphas, positions(lengths))
    expected = [_products(part) for part in alphas.split(lengths)]
    if not expected:
        assert through.shape == (0,)
        return
    torch.testing.assert_close(through, torch.cat(expected), rtol=1e-12, atol=0)
    # weighted so that every entry of the list counts alike, however dark it is
    weights = 1.0 / through.detach()
    (gradient,) = torch.autograd.grad((weights * through).sum(), alphas)
    (right,) = torch.autograd.grad((weights * torch.cat(expected)).sum(), alphas)
    torch.testing.assert_close(gradient, right, rtol=1e-11, atol=0)


def _products(alphas):
    return torch.cumprod(torch.cat([alphas.new_ones(1), 1 - alphas[:-1]]), dim=0)


def test_gradient_of_transmittance():
    position = positions([1, 5, 3])
    alphas = (0.9 * numbers(3, 9)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: segments.transmittance(a, position), alphas)


def test_the_last_of_a_segment_has_exactly_no_gradient():
    alphas = numbers(4, 6).float().requires_grad_()
    segments.transmittance(alphas, positions([3, 1, 2])).sum().backward()
    assert alphas.grad is not None
    assert (alphas.grad == 0).tolist() == [False, False, True, True, False, True]


@pytest.mark.parametrize("function", [segments.transmittance, segments.cumulative_sum])
def test_bits_of_a_segment_do_not_depend_on_its_neighbours(function):
    alphas = numbers(5, 40).float()
    alone = function(alphas[10:33], positions([23]))
    among_others = function(alphas, positions([10, 23, 7]))
    assert torch.equal(among_others[10:33], alone)
    more = torch.cat([alphas[10:33], numbers(6, 1000).float()])
    assert torch.equal(function(more, positions([23, 1000]))[:23], alone)
