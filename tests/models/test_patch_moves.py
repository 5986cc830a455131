from dataclasses import replace

import pytest
import torch

from bayes_splat.models import blocks, patch_moves
from bayes_splat.models.patch_moves import PatchMoves, StepSizes
from bayes_splat.rendering import cpu_patch_sweep
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers import base
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes


def test_patches_shift_as_planes():
    """Constant and slopes, patch by patch, whatever the offset of the grid."""
    shape, views, size = (5, 7), 2, 3
    grid = cpu_patch_sweep.patch_grid(shape, size)
    offsets = torch.tensor([[0, 2], [1, 0]])
    patches = views * grid[0] * grid[1]
    shifts = torch.randn(2, 3, patches, generator=torch.Generator().manual_seed(0)).double()
    found = patch_moves._spread_out(shifts, shape, views, grid, size, offsets)
    for chain in range(2):
        for g in range(70):
            view, y, x = g // 35, g // 7 % 5, g % 7
            row, down = divmod(y + int(offsets[chain, 0]), size)
            column, across = divmod(x + int(offsets[chain, 1]), size)
            constant, slope_x, slope_y = shifts[chain, :, (view * grid[0] + row) * grid[1] + column]
            wanted = constant + slope_x * (2 * across - 2) / 3 + slope_y * (2 * down - 2) / 3
            assert found[chain, g] == pytest.approx(float(wanted))


def test_shifts_are_symmetric_and_half_of_them_flat():
    scales = torch.tensor([0.1, 0.4]).double()
    shifts = patch_moves._shifts(make_generators(0, 2), 4000, scales)
    assert ((shifts[:, 1:] == 0).double().mean(-1) - 0.5).abs().max() < 0.04
    assert ((shifts[:, 1] == 0) == (shifts[:, 2] == 0)).all()
    assert ((shifts[:, 0] > 0).double().mean(-1) - 0.5).abs().max() < 0.04
    length = shifts[:, 0].abs().median(-1).values
    assert float(length[1] / length[0]) == pytest.approx(4.0, rel=0.1)


def test_warmup_finds_the_acceptance_rate_and_nothing_moves_afterwards():
    model = scenes.tiny_model(image_shape=(6, 8), renderer="cpu", noise_prior=[4.0, 0.01])
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 4))
    block, generators = PatchMoves(model, (1, 3), target_acceptance_rate=0.5), make_generators(0, 4)
    tuning = block.init(position)
    assert tuning.log_scales.shape == (4, 2)
    for _ in range(60):
        position, tuning, _ = block.step(generators, position, tuning, is_warmup=True)
    rates = []
    for _ in range(40):
        position, after, info = block.step(generators, position, tuning, is_warmup=False)
        assert after is tuning
        rates.append(info.acceptance_rate)
    assert (torch.stack(rates).mean(0) - 0.5).abs().max() < 0.1
    assert (tuning.log_averages[:, 0] > tuning.log_averages[:, 1]).all(), "small ones go further"


@pytest.mark.parametrize("background", ["black", "mean"])
def test_many_moves_draw_from_the_integrated_posterior(background):
    """The depth of the one Gaussian that is seen, on a grid of the exact log joint."""
    chains = 1000
    both = scenes.tiny_model(
        image_shape=(1, 1),
        baseline=50.0,
        renderer="cpu",
        noise_prior=[4.0, 0.1],
        background=background,
    )
    model = replace(both, views=both.views[:1])
    target = PyroTarget(model, vectorized=True)
    one = target.unconstrain(scenes.prior_draws(model, 1))
    moved = {s: v.expand(chains, *v.shape[1:]) for s, v in one.items()}
    block, generators = PatchMoves(model, (1,), scale=0.4), make_generators(1, chains)
    tuning = block.init(moved)
    for _ in range(60):
        moved, tuning, _ = block.step(generators, moved, tuning, is_warmup=False)
    relative = torch.linspace(0.0, 1.0, 2001).double().clamp(1e-9, 1 - 1e-9)
    rows = {s: v[:1].expand(2001, *v.shape[1:]).clone() for s, v in one.items()}
    to = blocks.coordinates(model)
    rows["depth"][:, 0] = to.depth.inv(model.proposal.depth_at(relative[:, None].expand(-1, 2)))[
        :, 0
    ]
    slope = torch.log(relative * (1.0 - relative))  # from the coordinate to the disparity
    cdf = scenes.GridDistribution(relative, -target.potential_energy(rows) - slope)
    draws = model.proposal.relative_disparity(to.depth(moved["depth"]))[:, 0]
    assert scenes.kolmogorov_smirnov(cdf(draws)) < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(cdf(draws + 0.12)) > scenes.LIMIT


def test_step_sizes_follow_the_rate():
    start = StepSizes(torch.zeros(1, 2).double() - 3, torch.zeros(1, 2).double() - 3, 0)
    moved = start.updated(torch.tensor([[0.9, 0.1]]).double(), 0.3)
    assert moved.log_scales[0, 0] > -3 > moved.log_scales[0, 1]
    assert torch.equal(moved.log_scales, moved.log_averages)
    assert moved.num_updates == 1


@pytest.mark.parametrize("kind", [{}, {"order": "center"}, {"prior": "proposal"}])
def test_chains_and_threads_do_not_matter(kind):
    model = scenes.tiny_model(image_shape=(6, 8), renderer="cpu", noise_prior=[4.0, 1.0], **kind)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 3))
    block = PatchMoves(model, (2, 3))
    tuning, runs = block.init(position), []
    for number in (1, 2, 3):
        with scenes.threads(number):
            runs.append(block.step(make_generators(4, 3), position, tuning, True))
    lone = {site: value[1:2] for site, value in position.items()}
    one, tuned, _ = block.step(make_generators(4, 3)[1:2], lone, block.init(lone), True)
    for site, value in runs[0][0].items():
        assert torch.equal(value, runs[1][0][site])
        assert torch.equal(value, runs[2][0][site])
        assert torch.equal(value[1:2], one[site])
    assert torch.equal(tuned.log_scales, runs[0][1].log_scales[1:2])
    assert torch.equal(runs[0][0]["opacity"], position["opacity"])
    assert (runs[0][0]["depth"] != position["depth"]).any()
    assert isinstance(block, base.Block)


def test_depths_stay_between_near_and_far():
    model = scenes.tiny_model(renderer="cpu", noise_prior=[4.0, 100.0])
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 20))
    position["noise_scale"] = position["noise_scale"] + 10.0
    block, generators = PatchMoves(model, (1, 2), scale=8.0), make_generators(0, 20)
    for _ in range(10):
        position, _, info = block.step(generators, position, block.init(position), False)
    relative = model.proposal.relative_disparity(target.constrain(position)["depth"])
    assert ((relative > 0) & (relative < 1)).all()
    assert 0.1 < info.acceptance_rate.mean() < 0.9, "those that would leave are refused"


def test_bad_settings_are_refused():
    model = scenes.tiny_model()
    with pytest.raises(ValueError, match="cutoff='alpha'; use"):
        PatchMoves(replace(model, renderer=ReferenceRenderer(RenderSettings(cutoff="alpha"))))
    for sizes in ((), (4, 0)):
        with pytest.raises(ValueError, match="sizes is"):
            PatchMoves(model, sizes)
    with pytest.raises(ValueError, match="scale is 0"):
        PatchMoves(model, scale=0.0)


@pytest.mark.parametrize("prior", ["scanline_hmm", "ihmm"])
def test_markov_priors_are_refused(prior):
    with pytest.raises(ValueError, match=f"PatchMoves does not know prior='{prior}'"):
        PatchMoves(scenes.tiny_model(prior=prior))
