import signal
import threading
from dataclasses import replace

import pytest
import torch

from bayes_splat import inference
from bayes_splat.errors import ConfigError
from bayes_splat.models import noise_gibbs
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.patch_moves import PatchMoves
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.sampler_config import (
    BlockMALAConfig,
    GibbsConfig,
    HMCConfig,
    MALAConfig,
    NUTSConfig,
    RandomWalkConfig,
    Sampler,
    SGDConfig,
    SGLDConfig,
    TemperingConfig,
    ULAConfig,
)
from bayes_splat.samplers import schedules
from bayes_splat.samplers.base import Info, Kernel
from bayes_splat.samplers.gibbs import Gibbs
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.sampling import Draws
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.store import DiskStore
from tests import helpers_scenes as scenes

OLD = GibbsConfig(
    sites=False, patch_sizes=[], jump_fraction=0.25, mala_steps=2, opacity_fraction=0.5
)
SAMPLERS: list[Sampler] = [
    GibbsConfig(),
    GibbsConfig(patch_sizes=[], mala_steps=1),
    OLD,
    MALAConfig(),
    BlockMALAConfig(block_size=8),
    BlockMALAConfig(block_size=8, jump_fraction=0.0, preconditioner="none"),
    SGLDConfig(schedule="constant"),
    SGLDConfig(schedule="polynomial"),
    SGLDConfig(schedule="cyclical", period=4),
    SGLDConfig(batch_fraction=1.0),
    SGLDConfig(preconditioner="fisher", step_size=0.1),
    SGLDConfig(preconditioner="none", step_size=1e-5, anchor_every=2),
    SGDConfig(),
    SGDConfig(noise_scale=0.01, anchor_every=2),
    ULAConfig(step_size=0.02),
    RandomWalkConfig(),
    RandomWalkConfig(step_size=0.01, jump_fraction=0.0),
    TemperingConfig(powers=3),
    HMCConfig(step_size=0.2, trajectory_length=0.2),
    NUTSConfig(max_tree_depth=1),
]


@pytest.fixture(scope="module")
def model():
    return scenes.tiny_model()


# ----- every sampler -----


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("noise", ["global", "per_view"])
def test_every_sampler_runs(sampler, noise):
    model = scenes.tiny_model(noise=noise)
    draws = inference.sample_posterior(model, sampler, chains=3, draws=4, warmup=3, thinning=2)
    views = (2,) if noise == "per_view" else ()
    shapes = {name: value.shape for name, value in draws.sites.items()}
    assert shapes == {
        "depth": (3, 4, 24),
        "opacity": (3, 4, 24),
        "noise_scale": (3, 4, *views),
    }
    assert ((draws.sites["depth"] >= 1) & (draws.sites["depth"] <= 4)).all()
    assert ((draws.sites["opacity"] >= 0) & (draws.sites["opacity"] <= 0.999)).all()
    assert (draws.sites["noise_scale"] > 0).all()
    assert draws.stats["energy"].isfinite().all()
    assert draws.warmup_stats["energy"].shape == (3, 3)
    assert not draws.is_interrupted
    for value in draws.sites.values():
        assert (value[:, 0] != value[:, -1]).any(), "it moves"


@pytest.mark.parametrize(
    "sampler",
    [GibbsConfig(), OLD, MALAConfig(), BlockMALAConfig(block_size=8), SGLDConfig()],
)
def test_every_sampler_moves_colors_that_are_sampled(sampler):
    model = scenes.tiny_model(colors="sampled", renderer="cpu")
    draws = inference.sample_posterior(model, sampler, chains=2, draws=4, warmup=3)
    assert set(draws.sites) == {"depth", "opacity", "harmonics", "noise_scale"}
    colors = draws.sites["harmonics"]
    assert colors.shape == (2, 4, 24, 3, 1)
    assert colors.isfinite().all()
    assert (colors[:, 0] != colors[:, -1]).any()
    exact = draws.stats.get("acceptance_rate_harmonics")
    is_gibbs = isinstance(sampler, GibbsConfig | BlockMALAConfig)
    assert (exact is not None and bool((exact == 1).all())) == is_gibbs


def test_colors_are_drawn_between_patches_and_noise():
    model = scenes.tiny_model(colors="sampled")
    names = ["sites", "patches", "harmonics", "noise_scale"]
    assert [block.name for block in kernel_of(model, GibbsConfig(patch_sizes=[2])).blocks] == names
    target = PyroTarget(model, vectorized=True)
    start = inference.starting_position(model, target, make_generators(0, 4))["harmonics"]
    own = model.proposal.harmonics.double()
    assert torch.equal(start[::2], own.expand(2, -1, -1, -1))
    assert float((start[1::2] - own).std()) == pytest.approx(0.1 / 0.2821, rel=0.3)


@pytest.mark.parametrize("sampler", [GibbsConfig(stretch_lengths=[2, 5]), BlockMALAConfig()])
@pytest.mark.parametrize("prior", ["scanline_hmm", "ihmm"])
def test_markov_priors_bring_their_moves_and_sites(sampler, prior):
    model = scenes.tiny_model(prior=prior)
    draws = inference.sample_posterior(model, sampler, chains=2, draws=3, warmup=2)
    sites = {"depth", "opacity", "noise_scale", "transition"}
    assert set(draws.sites) == sites | ({"layers", "num_layers"} if prior == "ihmm" else set())
    assert draws.sites["transition"].shape == (2, 3, 4, 4)
    assert torch.allclose(draws.sites["transition"].sum(-1), torch.ones(2, 3, 4))
    assert all(value.isfinite().all() for value in draws.sites.values())
    assert draws.stats["energy"].isfinite().all()
    assert (draws.stats["acceptance_rate_transition"] == 1).all()
    lengths = {name for name in draws.stats if name.startswith("acceptance_rate_scanline_")}
    wanted = sampler.stretch_lengths if isinstance(sampler, GibbsConfig) else [2, 4, 8, 16]
    assert lengths == {f"acceptance_rate_scanline_{length}" for length in wanted}


def test_a_markov_prior_takes_moves_that_know_it():
    model = scenes.tiny_model(prior="scanline_hmm")
    lines = ["scanline_2", "scanline_5"]
    names = ["depth_jump", "depth_walk", *lines, "depth", "opacity", "transition", "noise_scale"]
    default = kernel_of(model, GibbsConfig(stretch_lengths=[2, 5]))
    assert [block.name for block in default.blocks] == names
    jump, offsets, opacity = (default.blocks[place] for place in (0, 4, 5))
    assert (jump.fraction, offsets.num_steps, opacity.fraction) == (0.25, 2, 0.5)
    asked = GibbsConfig(jump_fraction=0.1, mala_steps=3, opacity_fraction=0.2, stretch_lengths=[4])
    jump, _, _, offsets, opacity, *_ = kernel_of(model, asked).blocks
    assert (jump.fraction, offsets.num_steps, opacity.fraction) == (0.1, 3, 0.2)


def test_blocks_without_bucket_moves_refuse_a_markov_prior():
    model = scenes.tiny_model(prior="ihmm")
    with pytest.raises(ConfigError, match=r"jump_fraction is 0, but model\.prior=ihmm"):
        kernel_of(model, BlockMALAConfig(jump_fraction=0.0))


def test_the_default_is_the_composed_sampler(model):
    one = inference.sample_posterior(model, chains=2, draws=2, warmup=1)
    other = inference.sample_posterior(model, GibbsConfig(), chains=2, draws=2, warmup=1)
    assert same(one, other)
    rates = {name for name in one.stats if name.startswith("acceptance_rate_")}
    blocks = ("sites", "noise_scale")
    assert rates == {f"acceptance_rate_{block}" for block in blocks}
    assert (one.stats["acceptance_rate_noise_scale"] == 1).all()


def kernel_of(model, sampler: Sampler) -> Kernel:
    return inference.make_kernel(model, PyroTarget(model, vectorized=True), sampler)


def test_settings_reach_the_kernels(model):
    composed = kernel_of(
        model,
        GibbsConfig(
            mala_steps=3,
            step_size=0.5,
            target_acceptance_rate=0.7,
            jump_fraction=0.4,
            jump_rounds=5,
            opacity_fraction=0.3,
            patch_sizes=[3, 5],
        ),
    )
    assert isinstance(composed, Gibbs)
    sites, patches, jump, walk, offsets, opacity, _ = composed.blocks
    assert isinstance(sites, SiteSweep)
    assert isinstance(patches, PatchMoves)
    assert patches.sizes == (3, 5)
    assert isinstance(jump, DepthMoves)
    assert isinstance(walk, DepthMoves)
    assert (jump.candidates, walk.candidates) == ("proposal", "walk")
    assert jump.fraction == walk.fraction == 0.4
    assert jump.rounds == walk.rounds == 5
    assert (offsets.num_steps, offsets.kernel.step_size) == (3, 0.5)
    assert offsets.kernel.target_acceptance_rate == 0.7
    assert opacity.fraction == 0.3
    still = kernel_of(model, replace(OLD, jump_fraction=0.0))
    assert [block.name for block in still.blocks] == ["depth", "opacity", "noise_scale"]

    mala = kernel_of(model, MALAConfig(step_size=0.3, target_acceptance_rate=0.6))
    assert isinstance(mala, MALA)
    assert (mala.step_size, mala.target_acceptance_rate) == (0.3, 0.6)

    wanted = {
        "constant": schedules.Constant(0.2),
        "polynomial": schedules.Polynomial(0.2),
        "cyclical": schedules.Cyclical(0.2, 7),
    }
    for schedule, function in wanted.items():
        sgld = kernel_of(model, SGLDConfig(step_size=0.2, schedule=schedule, period=7))
        assert isinstance(sgld, SGLD)
        assert sgld.schedule == function


def test_sgld_looks_at_the_share_of_pixels_asked_for(model):
    sgld = kernel_of(model, SGLDConfig(batch_fraction=0.25))
    assert sgld.target.draw_batch(make_generators(0, 3))["pixels"].shape == (3, 6)


# ----- where chains start -----


@pytest.mark.parametrize("noise", ["global", "per_view"])
def test_chains_start_apart_at_mode_and_draws(noise):
    model = scenes.tiny_model(noise=noise)
    target = PyroTarget(model, vectorized=True)
    start = inference.starting_position(model, target, make_generators(0, 6))
    sites = target.constrain(start)
    assert all(value.isfinite().all() for value in start.values())
    mode = model.proposal.mode()
    assert sites["depth"][::2] == pytest.approx(mode.expand(3, -1), rel=1e-6)
    odd = sites["depth"][1::2]
    assert (odd != mode).all()
    assert (odd[0] != odd[1]).all()
    # Farther apart than draws of one surface would be: several buckets.
    assert model.proposal.bucket(odd).double().std(0).mean() > 0.5
    opacities = model.proposal.opacities.double()
    assert sites["opacity"] == pytest.approx(opacities.expand(6, -1), rel=1e-6)


def test_noise_starts_at_the_size_of_the_residuals():
    for noise in ("global", "per_view"):
        model = scenes.tiny_model(noise=noise)
        target = PyroTarget(model, vectorized=True)
        sites = target.constrain(inference.starting_position(model, target, make_generators(0, 2)))
        squares = noise_gibbs.squared_residuals(model, sites["depth"], sites["opacity"])
        wanted = (squares / 36).sqrt() if noise == "per_view" else (squares.sum(-1) / 72).sqrt()
        assert sites["noise_scale"] == pytest.approx(wanted, rel=1e-6)


def test_modes_at_the_ends_of_the_range_are_finite_starts(model):
    ends = torch.arange(24)[:, None].expand(24, 4) % 2
    probabilities = torch.zeros(24, 4)
    probabilities[::2, 0] = 1.0  # offset 0 of the first bucket: near itself
    probabilities[1::2, 3] = 1.0  # offset 1 of the last one: far
    proposal = replace(model.proposal, offsets=ends.float(), probabilities=probabilities)
    model = scenes.replaced(model, proposal)
    target = PyroTarget(model, vectorized=True)
    start = inference.starting_position(model, target, make_generators(0, 2))
    assert target.potential_energy(start).isfinite().all()
    draws = inference.sample_posterior(model, chains=2, draws=5, warmup=20)
    assert draws.sites["depth"].isfinite().all()
    assert (draws.sites["depth"][0, -1] != proposal.mode()).double().mean() > 0.9


# ----- seeds, threads, chains -----


def same(one: Draws, other: Draws) -> bool:
    return all(
        torch.equal(torch.nan_to_num(value), torch.nan_to_num(theirs[name]))
        for mine, theirs in (
            (one.sites, other.sites),
            (one.stats, other.stats),
            (one.warmup_stats, other.warmup_stats),
            (one.final, other.final),
        )
        for name, value in mine.items()
    )


@pytest.mark.parametrize("sampler", [GibbsConfig(), MALAConfig(), BlockMALAConfig(), SGLDConfig()])
def test_seeds_decide(model, sampler):
    runs = [
        inference.sample_posterior(model, sampler, chains=2, draws=3, warmup=2, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize(
    ("sampler", "renderer"),
    [
        (GibbsConfig(), "cpu"),
        (replace(OLD, mala_steps=1, jump_rounds=1), "cpu"),
        (MALAConfig(), "reference"),
        (BlockMALAConfig(block_size=12), "cpu"),
        (SGLDConfig(), "cpu"),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(sampler, renderer):
    """Large enough that PyTorch does share the work."""
    model = scenes.tiny_model(8, image_shape=(12, 18), noise="per_view", renderer=renderer)
    runs = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            runs.append(inference.sample_posterior(model, sampler, chains=3, draws=1, warmup=1))
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


def test_a_chain_does_not_depend_on_how_many_run_beside_it(model):
    """To rounding at least: chain 0 starts at the mode, whatever the number of chains."""
    two, four = (
        inference.sample_posterior(model, chains=chains, draws=3, warmup=0) for chains in (2, 4)
    )
    for name, value in two.sites.items():
        assert value == pytest.approx(four.sites[name][:2], rel=1e-5), name


# ----- stopped half-way -----


class Stopper:
    """Interrupts after some steps of the sampling phase."""

    def __init__(self, after: int, phase: str = "sampling", number: int = signal.SIGINT) -> None:
        self.after, self.phase, self.number = after, phase, number

    def update(self, phase: str, step: int, total: int, info: Info, seconds: float) -> None:
        if (phase, step) == (self.phase, self.after):
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_draws(model, number):
    assert threading.current_thread() is threading.main_thread()
    whole = inference.sample_posterior(model, chains=2, draws=6, warmup=2)
    stopped = inference.sample_posterior(
        model, chains=2, draws=6, warmup=2, progress=Stopper(4, number=number)
    )
    assert stopped.is_interrupted
    assert stopped.sites["depth"].shape[1] == 3, "the step of the signal is lost"
    for name, value in stopped.sites.items():
        assert torch.equal(value, whole.sites[name][:, :3])


def test_a_run_interrupted_while_warming_up_has_no_draws(model):
    stopped = inference.sample_posterior(
        model, chains=2, draws=6, warmup=5, progress=Stopper(2, "warmup")
    )
    assert stopped.is_interrupted
    assert stopped.sites["depth"].shape == (2, 0, 24)


def test_time_limits_end_runs(model):
    draws = inference.sample_posterior(model, chains=2, draws=100_000, warmup=10, time_limit=0.6)
    assert draws.is_interrupted
    assert 0 < draws.sites["depth"].shape[1] < 100_000
    assert sum(draws.seconds.values()) < 5.0


def test_draws_on_disk_are_those_in_memory(model, tmp_path):
    settings = {"chains": 2, "draws": 3, "warmup": 1, "dtype": torch.float64}
    with DiskStore(tmp_path / "draws") as store:
        on_disk = inference.sample_posterior(model, store=store, **settings)
    assert same(on_disk, inference.sample_posterior(model, **settings))
    assert on_disk.sites["depth"].dtype == torch.float64


def test_a_budget_of_sampling_seconds_completes_the_run(model):
    draws = inference.sample_posterior(model, chains=2, draws=10**6, warmup=2, sampling_limit=0.3)
    assert not draws.is_interrupted
    assert draws.warmup_stats["lp"].shape == (2, 2)
    assert 0 < draws.num_draws < 10**6


def test_an_unknown_number_of_gaussians_brings_its_moves_and_sites():
    model = scenes.tiny_model(count="variable", renderer="cpu")
    draws = inference.sample_posterior(model, chains=2, draws=3, warmup=2)
    extra = {"present", "inclusion", "num_gaussians"}
    assert set(draws.sites) == {"depth", "opacity", "noise_scale"} | extra
    present = draws.sites["present"]
    assert torch.equal(present.sum(-1), draws.sites["num_gaussians"])
    assert torch.equal(draws.sites["opacity"] > 0, present == 1)
    assert draws.stats["energy"].isfinite().all()
    for kind in ("birth_death", "merge_split", "inclusion"):
        assert f"acceptance_rate_{kind}" in draws.stats


@pytest.mark.parametrize("sampler", [MALAConfig(), BlockMALAConfig(), SGLDConfig()])
def test_samplers_of_a_fixed_number_refuse_an_unknown_one(sampler):
    model = scenes.tiny_model(count="variable")
    with pytest.raises(ConfigError, match=f"sampler={sampler.name} .* take sampler=gibbs"):
        kernel_of(model, sampler)
