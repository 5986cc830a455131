import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from bayes_splat import uncertainty
from bayes_splat.types import Rendering

CHAINS, VIEWS, HEIGHT, WIDTH = 3, 2, 4, 5


def make_draws(num_draws, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    pixels = (CHAINS, VIEWS, HEIGHT, WIDTH)
    draws = [
        (
            Rendering(uniform(*pixels, 3), 1 + uniform(*pixels), 0.1 + 0.9 * uniform(*pixels)),
            0.02 + 0.1 * uniform(CHAINS, VIEWS),
        )
        for _ in range(num_draws)
    ]
    return draws, uniform(VIEWS, 3, HEIGHT, WIDTH)


def accumulate(draws, observed=None, max_kept=256):
    accumulator = uncertainty.PredictionAccumulator(observed, max_kept=max_kept)
    for rendering, noise in draws:
        accumulator.add(rendering, noise)
    return accumulator.result()


def stack(draws):
    colors = torch.cat([r.colors for r, _ in draws]).numpy()
    noise = torch.cat([n for _, n in draws]).numpy()[:, :, None, None, None]
    return colors, noise


def test_moments_are_those_of_all_draws_together():
    draws, _ = make_draws(7)
    prediction = accumulate(draws)
    colors, noise = stack(draws)
    depths = torch.cat([r.depths for r, _ in draws]).numpy()
    aleatoric = np.broadcast_to(np.sqrt((noise**2).mean(0)), prediction.mean.shape)
    np.testing.assert_allclose(prediction.mean, colors.mean(0), rtol=1e-13)
    np.testing.assert_allclose(prediction.epistemic_std, colors.std(0), rtol=1e-12)
    np.testing.assert_allclose(prediction.aleatoric_std, aleatoric, rtol=1e-12)
    np.testing.assert_allclose(prediction.std, np.sqrt(colors.var(0) + aleatoric**2), rtol=1e-12)
    np.testing.assert_allclose(prediction.depth_mean, depths.mean(0), rtol=1e-12)
    np.testing.assert_allclose(prediction.depth_std, depths.std(0), rtol=1e-12)
    assert prediction.num_draws == 7 * CHAINS
    assert prediction.pit is None
    assert prediction.nll is None


def test_pit_and_nll_are_those_of_the_mixture():
    draws, observed = make_draws(7)
    prediction = accumulate(draws, observed)
    colors, noise = stack(draws)
    y = observed.movedim(1, -1).numpy()
    np.testing.assert_allclose(prediction.pit, stats.norm.cdf(y, colors, noise).mean(0), atol=1e-12)
    density = stats.norm.pdf(y, colors, noise).mean(0)
    np.testing.assert_allclose(prediction.nll, -np.log(density), rtol=1e-9)


def test_nll_survives_densities_that_underflow():
    draws, observed = make_draws(2)
    draws = [(rendering, torch.full((CHAINS, VIEWS), 1e-3)) for rendering, _ in draws]
    assert np.isfinite(accumulate(draws, observed).nll).all()


def test_welford_does_not_lose_a_small_spread_on_a_large_mean():
    generator = torch.Generator().manual_seed(1)
    values = 1e6 + 1e-2 * torch.randn(200, generator=generator, dtype=torch.float64)
    draws = [
        (
            Rendering(
                torch.full((1, 1, 1, 1, 3), 0.5), v.reshape(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
            ),
            torch.ones(1),
        )
        for v in values
    ]
    spread = accumulate(draws).depth_std.item()
    assert spread == pytest.approx(values.numpy().std(), rel=1e-6)


def test_depth_counts_only_draws_that_cover_the_pixel():
    draws, _ = make_draws(4)
    bare = []
    for i, (rendering, noise) in enumerate(draws):
        alphas, depths = rendering.alphas.clone(), rendering.depths.clone()
        alphas[:, 0, 0, 0], depths[:, 0, 0, 0] = 0, 0
        if i != 2:
            alphas[:, 0, 0, 1], depths[:, 0, 0, 1] = 0, 0
        bare.append((Rendering(rendering.colors, depths, alphas), noise))
    prediction = accumulate(bare)
    assert np.isnan(prediction.depth_mean[0, 0, 0])
    assert np.isnan(prediction.depth_std[0, 0, 0])
    assert prediction.depth_mean[0, 0, 1] == pytest.approx(draws[2][0].depths[:, 0, 0, 1].mean())
    assert np.isfinite(prediction.depth_mean).sum() == prediction.depth_mean.size - 1
    assert prediction.alpha_mean[0, 0, 0] == 0


def test_quantiles_solve_the_mixture_distribution_function():
    draws, _ = make_draws(5)
    prediction = accumulate(draws)
    colors, noise = stack(draws)
    for level, found in zip(uncertainty.QUANTILES, prediction.quantiles, strict=True):
        reached = stats.norm.cdf(found, colors, noise).mean(0)
        np.testing.assert_allclose(reached, level, atol=2e-5)
    root = optimize.brentq(
        lambda q: stats.norm.cdf(q, colors[:, 1, 2, 3, 0], noise[:, 1, 0, 0, 0]).mean() - 0.05,
        -2,
        3,
    )
    assert prediction.quantiles[0, 1, 2, 3, 0] == pytest.approx(root, abs=1e-5)


def test_quantiles_do_not_depend_on_the_chunk():
    draws, _ = make_draws(3)
    means = torch.cat([r.colors for r, _ in draws])
    stds = torch.cat([n for _, n in draws])[:, :, None, None, None]
    whole = uncertainty.mixture_quantiles(means, stds, (0.3, 0.5))
    pieces = uncertainty.mixture_quantiles(means, stds, (0.3, 0.5), chunk=len(means) * 7)
    assert torch.equal(whole, pieces)


@pytest.mark.parametrize("num_draws", [1, 8, 9, 40, 100])
def test_kept_renders_are_bounded_and_evenly_spaced(num_draws):
    draws, _ = make_draws(1)
    (rendering, noise) = draws[0]
    accumulator = uncertainty.PredictionAccumulator(max_kept=8 * CHAINS)
    for i in range(num_draws):
        accumulator.add(rendering._replace(colors=torch.full_like(rendering.colors, i)), noise)
        assert len(accumulator._kept) <= 8
    kept = [color[0, 0, 0, 0, 0].item() for color, _ in accumulator._kept]
    assert len(set(np.diff(kept))) <= 1
    assert kept[0] == 0
    assert len(kept) >= min(num_draws, 4)
    assert num_draws - kept[-1] <= max(1, num_draws / 4 + 1)


def test_one_noise_scale_a_chain_means_the_same_in_every_view():
    draws, observed = make_draws(3)
    by_chain = [(r, n[:, 0]) for r, n in draws]
    by_view = [(r, n[:, :1].expand(CHAINS, VIEWS)) for r, n in draws]
    for a, b in zip(accumulate(by_chain, observed), accumulate(by_view, observed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_noise_may_differ_by_pixel_and_channel():
    """Everything is that of the mixture whose components have this noise."""
    draws, observed = make_draws(6)
    generator = torch.Generator().manual_seed(2)
    local = [
        (r, 0.01 + 0.2 * torch.rand(r.colors.shape, generator=generator, dtype=torch.float64))
        for r, _ in draws
    ]
    prediction = accumulate(local, observed)
    colors = torch.cat([r.colors for r, _ in local]).numpy()
    noise = torch.cat([n for _, n in local]).numpy()
    y = observed.movedim(1, -1).numpy()
    np.testing.assert_allclose(prediction.aleatoric_std, np.sqrt((noise**2).mean(0)), rtol=1e-12)
    np.testing.assert_allclose(prediction.pit, stats.norm.cdf(y, colors, noise).mean(0), atol=1e-12)
    density = stats.norm.pdf(y, colors, noise).mean(0)
    np.testing.assert_allclose(prediction.nll, -np.log(density), rtol=1e-9)
    for level, found in zip(uncertainty.QUANTILES, prediction.quantiles, strict=True):
        reached = stats.norm.cdf(found, colors, noise).mean(0)
        np.testing.assert_allclose(reached, level, atol=2e-5)


def test_even_noise_of_pixels_is_that_of_the_chain():
    draws, observed = make_draws(3)
    by_chain = [(r, n[:, 0]) for r, n in draws]
    by_pixel = [(r, n[:, 0, None, None, None, None].expand(r.colors.shape)) for r, n in draws]
    for a, b in zip(accumulate(by_chain, observed), accumulate(by_pixel, observed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_unknown_pixels_stay_unknown_and_touch_no_other():
    draws, observed = make_draws(3)
    full = accumulate(draws, observed)
    observed[1, :, 2, 2] = math.nan
    partly = accumulate(draws, observed)
    assert np.isnan(partly.pit[1, 2, 2]).all()
    assert np.isnan(partly.nll).sum() == 3
    np.testing.assert_array_equal(partly.mean, full.mean)


def test_calibrated_draws_give_uniform_pit():
    """Truth and draws from one distribution: the PIT's moments are those of a uniform."""
    generator = torch.Generator().manual_seed(3)
    shape = (1, 40, 50, 3)

    def normal(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    observed = 0.5 + 0.3 * normal(*shape) + 0.1 * normal(*shape)
    draws = []
    for _ in range(200):
        colors = 0.5 + 0.3 * normal(4, *shape)
        ones = torch.ones(4, *shape[:-1])
        draws.append((Rendering(colors, ones, ones), torch.full((4,), 0.1)))
    prediction = accumulate(draws, observed.movedim(-1, 1))
    assert abs(prediction.pit.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 6000)
    assert abs(prediction.pit.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / 6000)
    # the nll of a Normal with this spread is 0.5 log(2 pi e s^2)
    expected = 0.5 * math.log(2 * math.pi * math.e * (0.3**2 + 0.1**2))
    assert abs(prediction.nll.mean() - expected) < 4 * math.sqrt(0.5 / 6000) + 0.01


def test_results_do_not_depend_on_threads():
    draws, observed = make_draws(4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = accumulate(draws, observed)
        torch.set_num_threads(2)
        two = accumulate(draws, observed)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_combine_channels_is_the_root_mean_square():
    assert uncertainty.combine_channels(np.array([[3.0, 4.0, 0.0]])) == pytest.approx(
        math.sqrt(25 / 3)
    )


def test_complains_about_shapes():
    draws, _ = make_draws(1)
    rendering, noise = draws[0]
    accumulator = uncertainty.PredictionAccumulator()
    with pytest.raises(ValueError, match="no draw was added"):
        accumulator.result()
    accumulator.add(rendering, noise)
    smaller = Rendering(*(field[:, :1] for field in rendering))
    with pytest.raises(ValueError, match="earlier draws"):
        accumulator.add(smaller, noise[:, 0])
    with pytest.raises(
        ValueError, match=r"expected \[chain\], \[chain view\] or that of the pixels"
    ):
        accumulator.add(rendering, noise[:2])
