"""``bayes-splat thermalize``: do chains from the proposal reach where the posterior is, and when?

A teacher, a scene drawn from the prior of the model, is photographed with the model's own noise. So
it is an exact draw of the posterior given these photographs, and chains that start there are in
equilibrium from their first step. Chains that start from a proposal made of the same photographs
have arrived when their energies meet (Piccioli et al. 2024).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat import inference, view_choice
from bayes_splat.config import RunConfig
from bayes_splat.models import colors, proposals, smoothness
from bayes_splat.models.presence import Presence
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer, RenderCount, make_renderer
from bayes_splat.sampler_config import Sampler, num_warmup
from bayes_splat.samplers.base import Generators, Kernel, Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.thermalize_config import ThermalizePlan
from bayes_splat.thermalize_report import Run, Trace

PRIOR_SWEEPS = 300
"""Of the sampler of the smooth prior that a teacher's depths come from."""


@dataclass(frozen=True)
class HeldPrior(SplatModel):
    """A model whose smooth prior was given by other photographs than it observes.

    That prior is one given the contrast of photographs. A teacher is drawn before there are any of
    it: the contrast is that of the scene, and has to stay so when the teacher's own are observed.

    Attributes:
        field: what couples the depths; None where nothing does.
    """

    field: Smoothness | None = None

    @cached_property
    def smoothness(self) -> Smoothness | None:
        return self.field


class Teacher(NamedTuple):
    """An exact draw of a posterior.

    Attributes:
        model: observes photographs of the teacher.
        sites: the teacher's values, one chain.
        start: the model with the proposal that its photographs lead to, where chains start.
    """

    model: SplatModel
    sites: dict[str, Tensor]
    start: SplatModel


def thermalize(
    plan: ThermalizePlan, tell: Callable[[str], None] = lambda text: None
) -> Iterator[Run]:
    """Run every sampler from both starts, one after the other.

    Args:
        plan: what to run.
        tell: given a line before each sampler.

    Raises:
        BayesSplatError: anything about the input that the user can mend.
    """
    config = plan.run
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    teacher = make_teacher(config)
    for name, sampler in plan.samplers.items():
        tell(f"{name}: {len(teacher.model.proposal)} Gaussians, at most {plan.options.steps} steps")
        yield run_sampler(
            name,
            teacher,
            sampler,
            chains=config.chains,
            steps=plan.options.steps,
            warmup=num_warmup(sampler, config.warmup, config.model.prior),
            seconds=plan.options.seconds,
            seed=config.seed,
        )


def make_teacher(config: RunConfig) -> Teacher:
    """A scene drawn from the prior on the rays and colours of a real one, and its photographs.

    Colours, shapes and cameras are those that the photographs of ``config.scene`` lead to; depths,
    opacities and noise are drawn. The teacher's photographs are not cut off at 0 and 1: the model's
    noise is not either.
    """
    context, _ = view_choice.load_views(config)
    settings = colors.render_settings(config.model)
    renderer = CountingRenderer(make_renderer(config.renderer.name, settings), RenderCount())
    proposal = proposals.propose(context, config.proposal)
    given = SplatModel(proposal, context, renderer, config.model)
    blank = HeldPrior(proposal, context, renderer, config.model, field=given.smoothness)
    sites = draw_prior(blank, config.seed)
    model = photograph(blank, sites, config.seed + 1)
    swept = proposals.propose(model.views, config.proposal)
    # What photographs are compared for: where surfaces lie, and how sure that is.
    found = replace(
        proposal,
        probabilities=swept.probabilities,
        offsets=swept.offsets,
        opacities=swept.opacities,
    )
    start = replace(model, proposal=found)
    # As a prior the proposal is part of the target: it must not look at the teacher's photographs.
    is_prior = config.model.prior == "proposal"
    return Teacher(model if is_prior else start, sites, start)


def draw_prior(model: SplatModel, seed: int) -> dict[str, Tensor]:
    """One draw of every site from its prior, [1, ...] each, float64.

    Depths of a smooth prior are the end of a Markov chain of ``PRIOR_SWEEPS`` sweeps.
    """
    views = (model.num_views,) if model.config.noise == "per_view" else ()
    coupled = {}
    if model.smoothness is not None:
        proposal, generators = model.proposal, make_generators(seed, 1)
        coupled["depth"] = smoothness.sample_prior(
            model.smoothness, proposal.near, proposal.far, generators, PRIOR_SWEEPS
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        others = {}
        if model.is_variable:
            others["inclusion"] = model.inclusion_prior().sample((1,))
            slots = Presence(others["inclusion"]).expand(torch.Size([len(model.proposal)]))
            others["present"] = slots.sample((1,))
        sites = {
            "depth": model.depth_prior().expand(torch.Size([1, len(model.proposal)])).sample(),
            "opacity": model.opacity_prior().sample((1, len(model.proposal))),
            "noise_scale": model.noise_prior().sample((1, *views)),
            **others,
            **coupled,
        }
        if model.config.colors == "sampled":
            sites["harmonics"] = model.harmonics_prior().sample((1,))
        return sites


def photograph(model: SplatModel, sites: dict[str, Tensor], seed: int) -> SplatModel:
    """The model observing photographs drawn from its own likelihood of one chain's sites."""
    with torch.random.fork_rng(devices=()), torch.no_grad():
        torch.manual_seed(seed)
        noise = model.given(sites).likelihood(
            sites["depth"], sites["opacity"], sites["noise_scale"]
        )
        images = rearrange(noise.sample()[0, 0], "view h w c -> view c h w")
    return replace(model, views=replace(model.views, images=images.contiguous(), depths=None))


def run_sampler(
    name: str,
    teacher: Teacher,
    sampler: Sampler,
    *,
    chains: int = 4,
    steps: int = 400,
    warmup: int = 100,
    seconds: float | None = None,
    seed: int = 0,
) -> Run:
    """Chains of one sampler from both starts, as many steps each.

    The two sets never meet before their energies are compared: each tunes itself.

    Args:
        name: of the sampler.
        teacher: target and starts.
        sampler: settings.
        chains: of each set.
        steps: most steps.
        warmup: how many of them tune the sampler.
        seconds: of the proposal-started chains, after which they end.
        seed: of all chains.
    """
    model = teacher.model
    target = PyroTarget(model, vectorized=True)
    generators = make_generators(seed, 2 * chains)
    ours, theirs = generators[:chains], generators[chains:]
    count = model.renderer.count if isinstance(model.renderer, CountingRenderer) else RenderCount()

    def follow(position: Position, streams: Generators, most: int, limit: float | None) -> Trace:
        kernel = inference.make_kernel(model, target, sampler, warmup)
        return trace(kernel, target, position, streams, count, most, warmup, limit)

    start = inference.starting_position(teacher.start, target, ours)
    proposal = follow(start, ours, steps, seconds)
    exact = {
        site: value.expand(chains, *value.shape[1:]).clone()
        for site, value in target.unconstrain(teacher.sites).items()
    }
    made = proposal.energy.shape[1] - 1
    return Run(name, warmup, follow(exact, theirs, made, None), proposal)


def trace(
    kernel: Kernel,
    target: PyroTarget,
    position: Position,
    generators: Generators,
    count: RenderCount,
    steps: int,
    warmup: int,
    seconds: float | None = None,
) -> Trace:
    """Energies of every state. Looking at them is neither timed nor counted."""
    energies, renders, clock = [_energy(target, position)], [0.0], [0.0]
    before, begin = count.forward, time.perf_counter()
    state = kernel.init(position)
    spent, drawn = time.perf_counter() - begin, count.forward - before
    for step in range(steps):
        before, begin = count.forward, time.perf_counter()
        state, _ = kernel.step(generators, state, is_warmup=step < warmup)
        spent += time.perf_counter() - begin
        drawn += count.forward - before
        energies.append(_energy(target, state.position))
        renders.append(drawn)
        clock.append(spent)
        if seconds is not None and spent >= seconds:
            break
    return Trace(np.stack(energies, axis=1), np.array(renders), np.array(clock))


@torch.no_grad()
def _energy(target: PyroTarget, position: Position) -> Float[np.ndarray, " chain"]:
    return np.asarray(target.potential_energy(position).numpy())
