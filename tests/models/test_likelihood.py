import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from bayes_splat.models import likelihood
from bayes_splat.models.likelihood import PhotographNoise

VIEWS, SHAPE = 2, (5, 7)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(pictures: Tensor, value: Tensor, noise_of_pixels: Tensor) -> float:
    return float(stats.norm(pictures, noise_of_pixels).logpdf(value).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own_photographs", [False, True])
def test_log_density_of_whole_photographs(dtype, own_photographs):
    pictures = rand(3, 1, VIEWS, *SHAPE, 3).to(dtype)
    lead = (3, 1) if own_photographs else ()
    value = rand(*lead, VIEWS, *SHAPE, 3, seed=1).to(dtype)
    noise = 0.02 + rand(3, 1, VIEWS, seed=2)
    found = PhotographNoise(pictures, noise).log_prob(value)
    assert found.shape == (3, 1)
    assert found.dtype == torch.float64
    for chain in range(3):
        mine = value[chain, 0] if own_photographs else value
        scale = noise[chain, 0][:, None, None, None].expand(VIEWS, *SHAPE, 3)
        wanted = by_hand(pictures[chain, 0].double(), mine.double(), scale)
        assert float(found[chain, 0]) == pytest.approx(wanted, rel=1e-9)


def test_log_density_of_chosen_pixels():
    pictures, value = rand(3, 1, 11, 3), rand(3, 1, 11, 3, seed=1)
    view = torch.arange(33).reshape(3, 1, 11) % VIEWS
    noise = 0.02 + rand(3, 1, VIEWS, seed=2)
    found = PhotographNoise(pictures, noise, view).log_prob(value)
    for chain in range(3):
        scale = noise[chain, 0][view[chain, 0]][:, None].expand(11, 3)
        wanted = by_hand(pictures[chain, 0], value[chain, 0], scale)
        assert float(found[chain, 0]) == pytest.approx(wanted)


def test_log_density_of_many_samples_at_once():
    noise = PhotographNoise(rand(3, 1, VIEWS, *SHAPE, 3), 0.1 + rand(3, 1, VIEWS))
    samples = noise.sample((4,))
    assert samples.shape == (4, 3, 1, VIEWS, *SHAPE, 3)
    together = noise.log_prob(samples)
    assert together.shape == (4, 3, 1)
    assert together == pytest.approx(torch.stack([noise.log_prob(one) for one in samples]))


def test_energies_keep_their_digits_at_float32_pictures():
    """Against the sum over pixels in float64, at the noise of a good fit."""
    pictures, value = rand(1, 1, VIEWS, 64, 80, 3).float(), rand(VIEWS, 64, 80, 3, seed=1).float()
    noise = torch.full((1, 1, VIEWS), 0.02, dtype=torch.float64)
    normal = torch.distributions.Normal(pictures[0, 0].double(), 0.02)
    wanted = normal.log_prob(value.double()).sum()
    found = PhotographNoise(pictures, noise).log_prob(value)
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)


def test_draws_are_normal_around_the_pictures():
    pictures = rand(VIEWS, *SHAPE, 3)
    scales = torch.tensor([0.1, 3.0]).double()
    noise = PhotographNoise(pictures, scales)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        draws = noise.sample((2000,))
    assert torch.equal(noise.mean, pictures)
    standard = (draws - pictures) / noise.stddev
    error = 1.0 / math.sqrt(standard.numel())
    assert abs(float(standard.mean())) < 4.5 * error
    for view in range(VIEWS):
        spread = float(standard[:, view].square().mean()) - 1.0
        assert abs(spread) < 4.5 * math.sqrt(2.0 * VIEWS) * error
    chosen = PhotographNoise(pictures.reshape(-1, 3), scales, torch.arange(70) // 35)
    assert chosen.sample().shape == (70, 3)
    assert torch.equal(chosen.variance[::35, 0], scales.square())


def test_gradients_in_pictures_and_noise():
    pictures = rand(1, VIEWS, *SHAPE, 3).requires_grad_()
    noise = (0.1 + rand(1, VIEWS)).requires_grad_()
    value = rand(VIEWS, *SHAPE, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda p, n: PhotographNoise(p, n).log_prob(value), (pictures, noise)
    )


def test_expands_and_knows_its_support():
    noise = PhotographNoise(rand(VIEWS, *SHAPE, 3), torch.tensor([0.1, 0.2]).double())
    assert noise.batch_shape == ()
    assert noise.event_shape == (VIEWS, *SHAPE, 3)
    wide = noise.expand((4, 1))
    value = rand(VIEWS, *SHAPE, 3, seed=1)
    assert wide.log_prob(value) == pytest.approx(noise.log_prob(value).expand(4, 1))
    assert wide.expand((4, 1)) is wide
    assert noise.support.check(value - 7.0).all()
    assert noise.sample().shape == noise.event_shape


def test_pictures_of_nan_are_no_exception():
    pictures = rand(2, 1, VIEWS, *SHAPE, 3).float()
    pictures[1] = torch.nan
    found = PhotographNoise(pictures, 0.1 + rand(2, 1, VIEWS)).log_prob(pictures[0, 0])
    assert found.isfinite().tolist() == [[True], [False]]


@pytest.mark.parametrize("cell", [1, 3, 4, 50])
def test_cells_add_up_to_the_whole(cell):
    pictures, value = rand(3, VIEWS, *SHAPE, 3).float(), rand(VIEWS, *SHAPE, 3, seed=1).float()
    noise = 0.1 + rand(3, VIEWS)
    energies = likelihood.cell_energies(pictures, value, noise, cell)
    assert energies.shape == (3, VIEWS, -(-5 // cell), -(-7 // cell))
    whole = PhotographNoise(pictures, noise).log_prob(value)
    assert energies.sum((1, 2, 3)) == pytest.approx(-whole, rel=1e-12)
    one = by_hand(
        pictures[2, 1, :cell, :cell].double(), value[1, :cell, :cell].double(), noise[2, 1]
    )
    assert float(energies[2, 1, 0, 0]) == pytest.approx(-one)
    own = likelihood.cell_energies(pictures, value.expand(3, -1, -1, -1, -1), noise, cell)
    assert torch.equal(own, energies)
