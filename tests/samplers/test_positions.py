import math

import pytest
import torch

from bayes_splat.samplers import positions


def test_generators_are_reproducible_and_do_not_depend_on_the_number_of_chains() -> None:
    few, many = positions.make_generators(3, 1), positions.make_generators(3, 4)
    assert torch.equal(torch.randn(5, generator=few[0]), torch.randn(5, generator=many[0]))


def test_neighbouring_seeds_and_chains_share_no_stream() -> None:
    streams = {
        tuple(torch.randn(2, generator=generator).tolist())
        for seed in range(20)
        for generator in positions.make_generators(seed, 20)
    }
    assert len(streams) == 400


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        positions.make_generators(-1, 2)


def test_noise_of_a_chain_comes_from_its_own_stream() -> None:
    position = {"a": torch.zeros(3).double(), "b": torch.zeros(3, 2, 4).double()}
    noise = positions.randn_like(positions.make_generators(0, 3), position)
    alone = positions.randn_like(
        positions.make_generators(0, 3)[1:2], {s: v[1:2] for s, v in position.items()}
    )
    assert {site: value.shape for site, value in noise.items()} == {
        site: value.shape for site, value in position.items()
    }
    for site in position:
        assert torch.equal(noise[site][1:2], alone[site])
        assert noise[site].dtype == torch.float64


def test_select_takes_whole_chains() -> None:
    a = {"x": torch.ones(2).double(), "y": torch.ones(2, 3).double()}
    b = {site: 0.0 * value for site, value in a.items()}
    chosen = positions.select(torch.tensor([True, False]), a, b)
    assert chosen["x"].tolist() == [1.0, 0.0]
    assert chosen["y"].tolist() == [[1.0] * 3, [0.0] * 3]


def test_finite_or_zero_drops_a_chain_as_a_whole() -> None:
    gradient = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([[1.0, 1.0], [1.0, torch.nan]])}
    kept = positions.finite_or_zero(gradient)
    assert kept["x"].tolist() == [1.0, 0.0]
    assert kept["y"].tolist() == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("shape", [(2,), (2, 7), (2, 5000), (2, 300, 41, 3), (1, 200_000)])
def test_per_chain_sum_is_the_sum(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = values.double().reshape(shape[0], -1).sum(1)
    torch.testing.assert_close(positions.per_chain_sum(values), expected, rtol=1e-12, atol=1e-9)


def test_per_chain_sum_is_the_same_for_any_number_of_threads_and_chains() -> None:
    values = torch.randn(4, 300_000, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        sums = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            sums.append(positions.per_chain_sum(values))
            sums.append(torch.cat([positions.per_chain_sum(v[None]) for v in values]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, sums[0]) for one in sums)


def test_float32_terms_are_added_in_float64() -> None:
    values = torch.cat([torch.tensor([[1e8]]), torch.full((1, 1000), 1e-3)], dim=1)
    assert positions.per_chain_sum(values).item() - 1e8 == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_noise_is_standard_normal(size: int) -> None:
    """First four moments, and no correlation between the numbers of a chain."""
    chains = 60_000 // size
    generators = [torch.Generator().manual_seed(i) for i in range(chains)]
    noise = positions.randn_like(generators, {"x": torch.zeros(chains, size).double()})["x"]
    for power, moment, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        error = (variance / noise.numel()) ** 0.5
        assert abs(float((noise**power).mean()) - moment) < 4.5 * error
    products = (noise[:, :, None] * noise[:, None, :]).mean(0) - torch.eye(size)
    products.fill_diagonal_(0.0)
    assert (products.abs() * chains**0.5).max() < 4.5
    squares = (noise**2 - 1.0)[:, :, None] * (noise**2 - 1.0)[:, None, :] / 2.0
    together = squares.mean(0).fill_diagonal_(0.0)
    assert (together.abs() * chains**0.5).max() < 4.5


def test_where_all_chains_agree_nothing_is_copied() -> None:
    a, b = {"x": torch.ones(2).double()}, {"x": torch.zeros(2).double()}
    assert positions.select(torch.tensor([True, True]), a, b) is a
    assert positions.finite_or_zero(a) is a
    assert positions.or_zero(torch.tensor([False, True]), a)["x"].tolist() == [0.0, 1.0]


def test_finite_numbers_whose_sum_is_not_are_finite() -> None:
    large = {"x": torch.full((2, 4), 1e308, dtype=torch.float64)}
    assert positions.is_finite(large).all()
    large["x"][1, 2] = torch.inf
    assert positions.is_finite(large).tolist() == [True, False]


@pytest.mark.parametrize("shape", [(1, 3), (5,), (7, 20_000), (3, 100_000), (4, 0)])
def test_parts_are_all_chains_once_in_order(shape: tuple[int, ...]) -> None:
    value = torch.arange(math.prod(shape)).reshape(shape)
    found = positions.parts(value)
    assert torch.equal(torch.cat([value[part] for part in found]), value)
    assert all(value[part].numel() <= 32768 or len(value[part]) == 1 for part in found)
