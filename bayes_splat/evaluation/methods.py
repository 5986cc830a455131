"""Methods: each turns context photographs into draws of a scene, and all give the same record.

A method is a function of a ``Task``. What it returns are draws of the model's sites; the same
renderer, the same Gaussians and the same functions then make predictions and metrics of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor

from bayes_splat import held_out, inference
from bayes_splat.config import GROUPS, RunConfig
from bayes_splat.discrepancy import Discrepancy
from bayes_splat.errors import ModelError
from bayes_splat.evaluation import adam, predictive, scaling
from bayes_splat.evaluation.adam import Minimum
from bayes_splat.models.assembly import assemble
from bayes_splat.models.harmonics_gibbs import HarmonicsGibbs
from bayes_splat.models.noise_gibbs import NoiseGibbs
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.samplers import sampling
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.failures import Action, FailurePolicy
from bayes_splat.samplers.gibbs import Gibbs
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.sampling import Draws
from bayes_splat.types import Views

MEMBERS = 5
"""Of the ensemble."""

TOLERANCE = 1e-4
"""Of ``adam.minimise``, nats a photographed colour."""

_PROBES = 16
"""Sign vectors that the Fisher information is averaged over."""


@dataclass(frozen=True)
class Task:
    """What every method is given.

    Attributes:
        context: the photographs.
        proposal: depths of their pixels.
        config: model, renderer, seed; budget and sampler of the samplers.
        count: pictures drawn, added to by every model of this task.
        max_components: draws that methods without chains make.
    """

    context: Views
    proposal: DepthProposal
    config: RunConfig
    count: RenderCount
    max_components: int = predictive.MAX_COMPONENTS

    @cached_property
    def model(self) -> SplatModel:
        """The model that the options describe."""
        return self.model_with()

    def model_with(self, **changes: object) -> SplatModel:
        """The same with other options of the model."""
        config = replace(self.config.model, **changes)  # type: ignore[arg-type]
        name = self.config.renderer.name
        return assemble(self.proposal, self.context, config, name, self.count)


class Fitted(NamedTuple):
    """What a method returns.

    Attributes:
        model: whose sites are drawn.
        draws: of them.
        has_chains: the draws are those of Markov chains, so that R-hat means something.
        has_converged: an optimisation met its rule; None where there was none.
        discrepancy: error of pictures of new views that was learned from held-out context views;
            None: the noise of the draws is all there is.
    """

    model: SplatModel
    draws: Draws
    has_chains: bool = False
    has_converged: bool | None = None
    discrepancy: Discrepancy | None = None


Method = Callable[[Task], Fitted]


def deterministic(task: Task) -> Fitted:
    """The proposal's mode, and one noise level fitted on the context views."""
    model = task.model
    depth = model.proposal.mode().double()[None]
    return Fitted(model, _with_fitted_noise(model, _own_scene(model, depth)))


def proposal(task: Task) -> Fitted:
    """Draws of every depth from the proposal, without a look at the likelihood; noise as above.

    What the encoder could do by itself: opacities and colours are the proposal's.
    """
    model = task.model
    generators = make_generators(task.config.seed, task.max_components)
    depth = model.proposal.sample(generators).double()
    return Fitted(model, _with_fitted_noise(model, _own_scene(model, depth)))


def ensemble(task: Task) -> Fitted:
    """Modes of the posterior found by Adam from different draws of the proposal (deep ensembles,

    Lakshminarayanan et al. 2017), each with its own noise level, all sites moving.
    """
    model, target = task.model, _target(task.model)
    found = _minimum(task, target, starts=MEMBERS, from_mode=False)
    return Fitted(
        model, as_draws(target.constrain(found.position)), has_converged=found.has_converged
    )


def laplace(task: Task) -> Fitted:
    """Normal draws around one mode, with the diagonal of the Fisher information.

    Over unconstrained coordinates; information of the photographs (Gauss-Newton) plus the prior's.
    FisherRF (Jiang et al. 2024) and Bayes' Rays (Goli et al. 2024) do so in spirit; docs/
    evaluation.md says what differs.
    """
    model, target = task.model, _target(task.model)
    found = _minimum(task, target, starts=1, from_mode=True)
    sites = tuple(s for s in ("depth", "opacity", "harmonics") if s in found.position)
    precision = information(model, found.position, sites, task.config.seed)
    generator = torch.Generator().manual_seed(task.config.seed)
    drawn = {}
    for site, value in found.position.items():
        shape = (task.max_components, *value.shape[1:])
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        drawn[site] = value + normal / precision[site].sqrt()
    return Fitted(model, as_draws(target.constrain(drawn)), has_converged=found.has_converged)


def appearance(task: Task) -> Fitted:
    """Colours given the geometry of one mode: Normal, drawn exactly Gaussian by Gaussian; noise too

    The posterior of colours is Normal in closed form, its covariance couples Gaussians that share
    pixels, and Gibbs sampling draws from it without forming it.
    """
    plain, config = task.model, task.config
    target = _target(plain)
    found = _minimum(task, target, starts=1, from_mode=True)
    model = task.model_with(colors="sampled")
    generators = make_generators(config.seed, config.chains)
    start = inference.starting_position(model, _target(model), generators)
    for site in ("depth", "opacity", "noise_scale"):
        start[site] = found.position[site].expand_as(start[site]).clone()
    joint = _target(model)
    draws = sampling.sample(
        Gibbs(joint, [HarmonicsGibbs(model), NoiseGibbs(model)]),
        start,
        generators,
        num_warmup=config.num_warmup,
        num_draws=config.draws,
        thinning=config.thinning,
        constrain=joint.constrain,
        deadline_seconds=config.time_limit,
        sampling_seconds=config.sampling_limit,
    )
    draws = _not_empty(draws, config.time_limit)
    return Fitted(model, draws, has_chains=True, has_converged=found.has_converged)


def sampler(task: Task) -> Fitted:
    """Draws of the posterior by the sampler that the options name.

    Noise and error of new views are learned from held-out context views, as ``reconstruct`` does.
    """
    config, model, discrepancy = task.config, task.model, None
    if config.model.noise_prior is None:
        learned = held_out.learn(model, seed=config.seed)
        model, discrepancy = learned.model, learned.discrepancy
    draws = inference.sample_posterior(
        model,
        config.sampler,
        chains=config.chains,
        draws=config.draws,
        warmup=config.num_warmup,
        thinning=config.thinning,
        seed=config.seed,
        time_limit=config.time_limit,
        sampling_limit=config.sampling_limit,
        on_failure=FailurePolicy(cast(Action, config.on_failure)),
    )
    draws = _not_empty(draws, config.time_limit)
    return Fitted(model, draws, has_chains=True, discrepancy=discrepancy)


def with_learned_error(method: Method) -> Method:
    """A baseline with the error of new views that ``held_out.learn`` finds, the same for all."""

    def fit(task: Task) -> Fitted:
        learned = held_out.learn(task.model, seed=task.config.seed)
        return method(task)._replace(discrepancy=learned.discrepancy)

    return fit


BASELINES: dict[str, Method] = {
    "deterministic": deterministic,
    "proposal": proposal,
    "ensemble": ensemble,
    "laplace": laplace,
    "appearance": appearance,
}

METHODS: dict[str, Method] = BASELINES | dict.fromkeys(GROUPS["sampler"], sampler)
"""What ``methods=`` may name."""


def information(
    model: SplatModel, position: Position, sites: tuple[str, ...], seed: int
) -> Position:
    """Diagonal of the Fisher information plus the prior's curvature, [chain, ...] a site.

    Of ``sites`` it is estimated from the pictures; 2n of the log of a noise scale that n colours
    tell of; other sites get 1.
    """
    generators = make_generators(seed, len(position["depth"]))
    parts = TileBlocks(model, sites)
    found = parts.given(position).fisher_diagonal(
        generators, parts.extract(position), num_probes=_PROBES
    )
    noise = position["noise_scale"]
    share = noise[0].numel()
    found["noise_scale"] = torch.full_like(noise, 6.0 * model.num_pixels / share)
    return {site: found.get(site, torch.ones_like(value)) for site, value in position.items()}


def as_draws(sites: Mapping[str, Tensor]) -> Draws:
    """Independent draws [draw, ...] as those of one chain."""
    number = len(sites["depth"])
    nothing = torch.full((1, number), torch.nan, dtype=torch.float64)
    return Draws(
        sites={name: value.detach().float()[None] for name, value in sites.items()},
        stats={
            "lp": nothing,
            "stopped": torch.zeros((1, number), dtype=torch.bool),
            "diverging": torch.zeros((1, number), dtype=torch.bool),
        },
        warmup_stats={},
        final={},
        is_interrupted=False,
        seconds={"warmup": 0.0, "sampling": 0.0},
    )


def _own_scene(model: SplatModel, depth: Tensor) -> dict[str, Tensor]:
    """Sites of scenes at these depths, all else the proposal's: [draw, ...]."""
    scene = {"depth": depth, "opacity": model.proposal.opacities.double().expand_as(depth)}
    if model.config.colors == "sampled":
        own = model.proposal.harmonics.double()
        scene["harmonics"] = own.expand(len(depth), *own.shape)
    if model.is_variable:
        scene["present"] = torch.ones_like(depth)
    return scene


def _with_fitted_noise(model: SplatModel, scene: dict[str, Tensor]) -> Draws:
    number = len(scene["depth"])
    unit = as_draws({**scene, "noise_scale": torch.ones(number)})
    record, observed = scaling.own_views(model, unit, number)
    noise = scaling.fit_noise(record, observed)
    return as_draws({**scene, "noise_scale": torch.full((number,), noise)})


def _minimum(task: Task, target: PyroTarget, starts: int, from_mode: bool) -> Minimum:
    """Modes from so many starts: all at draws of the proposal, or the first at its mode."""
    model = task.model
    if model.is_variable:
        raise ModelError(
            "model.count is variable, and an unknown number of Gaussians has no mode that Adam"
            " could find; take model.count=fixed or methods without ensemble, laplace, appearance"
        )
    generators = make_generators(task.config.seed, starts)
    start = inference.starting_position(model, target, generators)
    if not from_mode:
        depth = model.proposal.sample(generators).double()
        start["depth"] = target.unconstrain({"depth": depth})["depth"]
    return adam.minimise(target, start, TOLERANCE * 3 * model.num_pixels)


def _target(model: SplatModel) -> PyroTarget:
    return PyroTarget(model, vectorized=True)


def was_stopped(draws: Draws, time_limit: float | None) -> bool:
    """Whether the user stopped the run: Ctrl-C makes it a short one, as time limits do."""
    spent = sum(value for value in draws.seconds.values() if not math.isnan(value))
    return draws.is_interrupted and (time_limit is None or spent < 0.98 * time_limit)


def _not_empty(draws: Draws, time_limit: float | None) -> Draws:
    if draws.num_draws:
        return draws
    if was_stopped(draws, time_limit):
        raise KeyboardInterrupt
    if draws.failures and not draws.is_interrupted:
        raise ModelError(f"every chain failed before the first draw: {draws.failures[0]}")
    raise ModelError("time was up before the first draw; give more with time_limit=<seconds>")
