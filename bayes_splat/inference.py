"""From a splat model to posterior draws: the one place where models and samplers meet."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from pyro.infer import HMC, NUTS
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

from bayes_splat.errors import ConfigError
from bayes_splat.models import (
    blocks,
    colors,
    inclusion_gibbs,
    noise_gibbs,
    reversible_jump,
    transition_gibbs,
)
from bayes_splat.models.bucket_offsets import BucketOffsets
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.harmonics_gibbs import HarmonicsGibbs
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.models.minibatch import TileBatches
from bayes_splat.models.noise_gibbs import NoiseGibbs
from bayes_splat.models.opacity_gibbs import OpacityGibbs
from bayes_splat.models.patch_moves import PatchMoves
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.scanline_moves import ScanlineMoves
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks
from bayes_splat.models.transition_gibbs import TransitionGibbs
from bayes_splat.sampler_config import (
    BlockMALAConfig,
    GibbsConfig,
    HMCConfig,
    MinibatchConfig,
    NUTSConfig,
    RandomWalkConfig,
    Sampler,
    SGDConfig,
    SGLDConfig,
    TemperingConfig,
    ULAConfig,
    num_warmup,
)
from bayes_splat.samplers import sampling, schedules
from bayes_splat.samplers.base import Block, Constrain, Generators, Kernel, Position
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.failures import Failure, FailurePolicy
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.hamiltonian import Hamiltonian
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import Minibatches, PyroTarget
from bayes_splat.samplers.random_walk import RandomWalkMetropolis
from bayes_splat.samplers.sampling import Draws, Progress
from bayes_splat.samplers.sgd import SGD
from bayes_splat.samplers.sgld import SGLD
from bayes_splat.samplers.store import Store
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering, geometric_powers
from bayes_splat.samplers.ula import ULA

_PROBES = 16
"""Sign vectors that the Fisher information is averaged over."""

_LEAST_NOISE = 1e-4
"""Noise scales do not start below this, colour units."""


def sample_posterior(
    model: SplatModel,
    sampler: Sampler | None = None,
    *,
    chains: int = 4,
    draws: int = 60,
    warmup: int | None = None,
    thinning: int = 1,
    seed: int = 0,
    time_limit: float | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    dtype: torch.dtype = torch.float32,
    sampling_limit: float | None = None,
    on_failure: FailurePolicy | None = None,
    report: Callable[[Failure], None] | None = None,
) -> Draws:
    """Draw depths, opacities and noise scales given the photographs.

    Args:
        model: what is believed and seen.
        sampler: settings; None is the composed default (site sweeps, exact colours
            where they are sampled, exact noise; with a Markov prior, moves of scanlines in place of
            the former).
        chains, draws, warmup, thinning: as in ``samplers.sampling.sample``; warmup of None is the
            sampler's usual number.
        seed: the same seed gives the same draws.
        time_limit: seconds after which the run ends with what it has.
        progress: told after every step.
        store, dtype, on_failure, report: as in ``samplers.sampling.sample``.
        sampling_limit: seconds of draws, warmup not counted, that complete the run.
    """
    target = PyroTarget(model, vectorized=True)
    generators = make_generators(seed, chains)
    sampler = sampler or GibbsConfig()
    steps = num_warmup(sampler, warmup, model.config.prior)
    return sampling.sample(
        make_kernel(model, target, sampler, steps),
        starting_position(model, target, generators),
        generators,
        num_warmup=steps,
        num_draws=draws,
        thinning=thinning,
        constrain=_kept_sites(model, target),
        progress=progress,
        store=store,
        dtype=dtype,
        deadline_seconds=time_limit,
        sampling_seconds=sampling_limit,
        on_failure=on_failure,
        report=report,
    )


def make_kernel(
    model: SplatModel, target: PyroTarget, sampler: Sampler, num_warmup: int = 100
) -> Kernel:
    """The kernel that the settings describe.

    Args:
        model, target: what is sampled.
        sampler: settings.
        num_warmup: steps of warmup that will be made; Pyro's kernels plan by it.

    Raises:
        ConfigError: the sampler cannot sample this model.
    """
    if isinstance(sampler, GibbsConfig):
        return Gibbs(target, _default_blocks(model, target, sampler))
    if model.is_variable:
        raise ConfigError(
            f"sampler={sampler.name} moves a fixed number of Gaussians, but model.count is"
            " variable; take sampler=gibbs or model.count=fixed"
        )
    if isinstance(sampler, BlockMALAConfig):
        return Gibbs(target, _block_mala_blocks(model, sampler))
    if isinstance(sampler, MinibatchConfig):
        return _minibatch_kernel(model, target, sampler)
    if isinstance(sampler, RandomWalkConfig):
        return _random_walk(model, target, sampler)
    if isinstance(sampler, TemperingConfig):
        inner = partial(
            MALA,
            step_size=sampler.step_size,
            target_acceptance_rate=sampler.target_acceptance_rate,
            adapt_preconditioner=True,
        )
        powers = geometric_powers(sampler.powers, sampler.least_power)
        kernel = ParallelTempering(TemperedTarget(target), inner, powers, sampler.inner_steps)
        return cast(Kernel, kernel)  # but for its target, which is one at every power
    if isinstance(sampler, HMCConfig | NUTSConfig):
        return Hamiltonian(target, _pyro_kernel(sampler), num_warmup)
    kind = ULA if isinstance(sampler, ULAConfig) else MALA
    return kind(
        target,
        step_size=sampler.step_size,
        target_acceptance_rate=sampler.target_acceptance_rate,
        adapt_preconditioner=True,
    )


def starting_position(model: SplatModel, target: PyroTarget, generators: Generators) -> Position:
    """Where chains start: even ones at the proposal's mode, odd ones at a draw from it.

    R-hat means little for chains that start together. Of an unknown number of Gaussians even chains
    start with all, odd ones with a random half. Noise scales start at the size of the residuals.
    """
    proposal = model.proposal
    depth = proposal.sample(generators).double()
    depth[::2] = proposal.mode().double()
    opacity = proposal.opacities.double().expand_as(depth)
    values = {"depth": depth, "opacity": opacity, **_starting_colors(model, generators)}
    if model.is_variable:
        values |= inclusion_gibbs.starting_values(
            generators, len(proposal), model.config.count_prior
        )
    squares = noise_gibbs.squared_residuals(model.given(values), depth, opacity)
    per_view = torch.sqrt(squares * model.num_views / (3 * model.num_pixels))
    per_view = per_view.clamp_min(_LEAST_NOISE)  # pictures of one colour leave no residual
    is_global = model.config.noise == "global"
    noise_scale = per_view.square().mean(-1).sqrt() if is_global else per_view
    values |= {"noise_scale": noise_scale, **transition_gibbs.starting_values(model, depth)}
    return target.unconstrain(values)


def _starting_colors(model: SplatModel, generators: Generators) -> dict[str, torch.Tensor]:
    """The proposal's in even chains, prior draws in odd ones; {} where they are fixed."""
    if model.config.colors == "fixed":
        return {}
    centre = model.proposal.harmonics.double()
    scales = colors.prior_scales(centre.shape[-1], model.config.color_scale)
    harmonics = centre + scales * blocks.normals(generators, *centre.shape)
    harmonics[::2] = centre
    return {"harmonics": harmonics}


def _kept_sites(model: SplatModel, target: PyroTarget) -> Constrain:
    """What is kept of a position: the sites' values, in the form that readers want."""

    def constrain(position: Position) -> dict[str, torch.Tensor]:
        values = target.constrain(position)
        if model.is_markov:
            values = transition_gibbs.readable(model, values)
        return inclusion_gibbs.readable(values) if model.is_variable else values

    return constrain


def _default_blocks(model: SplatModel, target: PyroTarget, sampler: GibbsConfig) -> list[Block]:
    """What the settings name; under a Markov prior, blocks that know it.

    Site sweeps and patch moves know independent and smooth priors only. A Markov prior leaves them
    out and composes jumps, stretches of scanlines, MALA inside the buckets, opacities, transitions
    and noise; of these, jumps, MALA and opacities that
    the settings switch off get a quarter, two steps and a half.
    """
    if model.is_markov:
        sampler = _in_place_of_sites(sampler)
    found: list[Block] = [SiteSweep(model)] if sampler.sites else []
    if sampler.patch_sizes:
        found.append(PatchMoves(model, tuple(sampler.patch_sizes)))
    found += _jumps(model, sampler.jump_fraction, sampler.jump_rounds)
    found += _stretches(model, sampler.stretch_lengths)
    if sampler.mala_steps > 0:
        kernel = MALA(
            target,
            step_size=sampler.step_size,
            target_acceptance_rate=sampler.target_acceptance_rate,
        )
        offsets = BucketOffsets(target, model.proposal.num_buckets)
        found.append(KernelBlock("depth", kernel, offsets, num_steps=sampler.mala_steps))
    if sampler.opacity_fraction > 0:
        found.append(OpacityGibbs(model, sampler.opacity_fraction))
    found += _count_blocks(model, sampler)
    return [*found, *_colors(model), *_transitions(model), NoiseGibbs(model)]


def _count_blocks(model: SplatModel, sampler: GibbsConfig) -> list[Block]:
    """Moves between scenes with different numbers of Gaussians, where that is unknown."""
    if not model.is_variable:
        return []
    size = sampler.count_fraction, sampler.count_rounds
    kinds = [ReversibleJump(model, moves, *size) for moves in reversible_jump.MOVES]
    return [*kinds, InclusionGibbs(model)]


def _in_place_of_sites(sampler: GibbsConfig) -> GibbsConfig:
    return replace(
        sampler,
        sites=False,
        patch_sizes=[],
        jump_fraction=sampler.jump_fraction or 0.25,
        mala_steps=sampler.mala_steps or 2,
        opacity_fraction=sampler.opacity_fraction or 0.5,
    )


def _block_mala_blocks(model: SplatModel, sampler: BlockMALAConfig) -> list[Block]:
    depth = "offset" if sampler.jump_fraction > 0 else "depth"
    if depth == "depth" and model.is_markov:
        raise ConfigError(
            f"sampler.jump_fraction is 0, but model.prior={model.config.prior} ties depths of"
            " neighbouring blocks together; take sampler.jump_fraction=0.25 or model.prior=uniform"
        )
    parts = TileBlocks(model, (depth, "opacity"), block_size=sampler.block_size)
    kernel = BlockMALA(
        parts.given({}),
        step_size=sampler.step_size,
        target_acceptance_rate=sampler.target_acceptance_rate,
        num_moves=sampler.moves,
        adapt_preconditioner=sampler.preconditioner == "fisher",
    )
    return [
        *_jumps(model, sampler.jump_fraction, rounds=1),
        *_stretches(model, GibbsConfig().stretch_lengths),
        KernelBlock("blocks", kernel, parts),
        *_colors(model),
        *_transitions(model),
        NoiseGibbs(model),
    ]


def _jumps(model: SplatModel, fraction: float, rounds: int) -> list[Block]:
    """Moves between depth buckets, to where the proposal says and to where a step leads."""
    if fraction == 0:
        return []
    return [
        DepthMoves(model, "proposal", fraction, "depth_jump", rounds),
        DepthMoves(model, "walk", fraction, "depth_walk", rounds),
    ]


def _stretches(model: SplatModel, lengths: Sequence[int]) -> list[Block]:
    """Moves of whole stretches of a scanline, where a Markov prior couples them."""
    if not model.is_markov:
        return []
    return [ScanlineMoves(model, length, name=f"scanline_{length}") for length in lengths]


def _colors(model: SplatModel) -> list[Block]:
    """Exact draws of colours, where they are sampled."""
    return [HarmonicsGibbs(model)] if model.config.colors == "sampled" else []


def _transitions(model: SplatModel) -> list[Block]:
    """Exact draws of what rules the scanlines."""
    return [TransitionGibbs(model)] if model.is_markov else []


def _minibatch_kernel(model: SplatModel, target: PyroTarget, sampler: MinibatchConfig) -> Kernel:
    batches = TileBatches(model.num_views, model.views.cameras.image_shape, sampler.batch_fraction)
    parts, schedule = Minibatches(target, batches.draw), _schedule(sampler)
    anchor_every = sampler.anchor_every or None
    if isinstance(sampler, SGDConfig):
        return SGD(parts, schedule, sampler.noise_scale, anchor_every)
    assert isinstance(sampler, SGLDConfig)
    if sampler.preconditioner == "fisher":
        diagonal = _inverse_information(model, target)
        return SGLD(parts, schedule, "fixed", diagonal, anchor_every=anchor_every)
    return SGLD(parts, schedule, sampler.preconditioner, anchor_every=anchor_every)


def _schedule(sampler: MinibatchConfig) -> schedules.Schedule:
    if sampler.schedule == "constant":
        return schedules.Constant(sampler.step_size)
    if sampler.schedule == "cyclical":
        return schedules.Cyclical(sampler.step_size, sampler.period, sampler.exploration)
    return schedules.Polynomial(sampler.step_size)


def _inverse_information(model: SplatModel, target: PyroTarget) -> Position:
    """One over the Fisher information at the proposal's mode, [1, ...] a site.

    Of depths and opacities it is estimated from the pictures; 2n of the log of a noise scale that n
    colours tell of; other sites get 1.
    """
    generators = make_generators(0, 1)
    mode = starting_position(model, target, generators)
    parts = TileBlocks(model, ("depth", "opacity"))
    information = parts.given(mode).fisher_diagonal(
        generators, parts.extract(mode), num_probes=_PROBES
    )
    noise = mode["noise_scale"]
    information["noise_scale"] = torch.full_like(noise, 6.0 * model.num_pixels / noise.numel())
    return {
        site: 1.0 / information.get(site, torch.ones_like(value)) for site, value in mode.items()
    }


def _random_walk(model: SplatModel, target: PyroTarget, sampler: RandomWalkConfig) -> Kernel:
    walk = RandomWalkMetropolis(
        target,
        step_size=sampler.step_size,
        target_acceptance_rate=sampler.target_acceptance_rate,
    )
    if sampler.jump_fraction == 0:
        return walk
    jumps = DepthMoves(model, "proposal", sampler.jump_fraction, "depth_jump")
    return Gibbs(target, [jumps, KernelBlock("walk", walk, target.conditional(list(target.sites)))])


def _pyro_kernel(sampler: HMCConfig | NUTSConfig) -> Callable[..., MCMCKernel]:
    if isinstance(sampler, NUTSConfig):
        return partial(
            NUTS,
            step_size=sampler.step_size,
            max_tree_depth=sampler.max_tree_depth,
            target_accept_prob=sampler.target_acceptance_rate,
        )
    return partial(
        HMC,
        step_size=sampler.step_size,
        trajectory_length=sampler.trajectory_length,
        target_accept_prob=sampler.target_acceptance_rate,
    )
