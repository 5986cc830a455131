"""Tiny splat scenes with everything random, and the joint-distribution check of kernels on them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.models import colors, smoothness
from bayes_splat.models.log_simplex import LogDirichlet
from bayes_splat.models.minibatch import TileBatches
from bayes_splat.models.presence import Presence
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Cameras, Views
from tests.helpers_statistics import noise_per_pixel, statistics

LIMIT = 4.5
"""Standard errors allowed; one comparison in 150,000 would fail by chance."""

BACKGROUND = (0.25, 0.6, 0.9)
"""Of tiny scenes that have one: different in every channel."""

PRIOR_SWEEPS = 60
"""Of the Gibbs sampler of the smooth prior: many times what fields of tiny scenes take."""


def pair_of_cameras(
    image_shape: tuple[int, int] = (3, 4),
    dtype: torch.dtype = torch.float32,
    baseline: float = 0.4,
) -> Cameras:
    """Two cameras side by side that see the same few depths."""
    height, width = image_shape
    extrinsics = torch.eye(4, dtype=dtype).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = baseline
    focal = 1.2 * width
    intrinsics = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=dtype
    )
    return Cameras(
        extrinsics=extrinsics,
        intrinsics=intrinsics.repeat(2, 1, 1),
        near=torch.full((2,), 1.0, dtype=dtype),
        far=torch.full((2,), 4.0, dtype=dtype),
        image_shape=image_shape,
    )


def random_proposal(cameras: Cameras, num_buckets: int = 4, seed: int = 0) -> DepthProposal:
    """Random colours and bucket probabilities on the rays of the cameras."""
    generator = torch.Generator().manual_seed(seed)
    origins, directions = geometry.camera_rays(cameras)
    size = origins.shape[0] * origins.shape[1]
    dtype = cameras.extrinsics.dtype

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

    pixels = size // len(cameras)
    focal = cameras.intrinsics[:, 0, 0].repeat_interleave(pixels)
    return DepthProposal(
        origins=origins.reshape(-1, 3),
        directions=directions.reshape(-1, 3),
        near=cameras.near.repeat_interleave(pixels).double(),
        far=cameras.far.repeat_interleave(pixels).double(),
        probabilities=torch.softmax(2.0 * rand(size, num_buckets), dim=-1),
        offsets=rand(size, num_buckets),
        footprints=(0.4 / focal)[:, None].expand(-1, 3),
        rotations=torch.tensor([1.0, 0, 0, 0], dtype=dtype).expand(size, 4),
        opacities=0.2 + 0.6 * rand(size),
        harmonics=harmonics.from_colors(rand(size, 3)),
        cameras=cameras,
    )


@dataclass(frozen=True)
class ManyDataModel(SplatModel):
    """The same model with photographs of its own for every chain: [chain pixel 3].

    These are over the background, as ``observed`` has them.
    """

    data: Tensor | None = None

    def observed(self, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert self.data is not None
        _, view = super().observed(pixels)
        if pixels is None:
            return self.data, view
        return self.data.gather(1, pixels[..., None].expand(-1, -1, 3)), view

    def photographs(self, pixels: Tensor | None = None) -> Tensor:
        colors = self.observed(pixels)[0].to(self.views.images)
        if pixels is not None:
            return colors
        height, width = self.views.cameras.image_shape
        return rearrange(colors, "c (v h w) rgb -> c v h w rgb", h=height, w=width)


def tiny_model(
    num_buckets: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    image_shape: tuple[int, int] = (3, 4),
    baseline: float = 0.4,
    renderer: str = "reference",
    **config: object,
) -> SplatModel:
    """A two-view scene of one Gaussian a pixel whose photographs are noise.

    ``background="mean"`` puts ``BACKGROUND`` behind it.
    """
    cameras = pair_of_cameras(image_shape, dtype, baseline)
    proposal = random_proposal(cameras, num_buckets, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    images = torch.rand((2, 3, *image_shape), generator=generator, dtype=torch.float64)
    views = Views(cameras, images.to(dtype), ("left", "right"))
    settings = {"prior": "uniform", "noise_prior": [4.0, 0.05], "background": "black", **config}
    model_config = ModelConfig(**settings)
    engine = make_renderer(renderer, colors.render_settings(model_config))
    behind = None if model_config.background == "black" else torch.tensor(BACKGROUND, dtype=dtype)
    return SplatModel(proposal, views, engine, model_config, background=behind)


def with_degree(model: SplatModel, degree: int, seed: int = 5) -> SplatModel:
    """The model whose proposal's colours look a little different from every side."""
    plain = model.proposal.harmonics
    generator = torch.Generator().manual_seed(seed)
    shape = (*plain.shape[:2], (degree + 1) ** 2 - 1)
    more = 0.2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    every = torch.cat([plain, more.to(plain)], dim=-1)
    return replace(model, proposal=replace(model.proposal, harmonics=every))


def prior_draws(model: SplatModel, chains: int, seed: int = 0) -> dict[str, Tensor]:
    """Site values [chain, ...] drawn from the prior."""
    size = len(model.proposal)
    views = (model.num_views,) if model.config.noise == "per_view" else ()
    coupled = {}
    if model.smoothness is not None:
        coupled["depth"] = smoothness.sample_prior(
            model.smoothness,
            model.proposal.near,
            model.proposal.far,
            make_generators(seed, chains),
            PRIOR_SWEEPS,
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        if model.is_markov:
            return _markov_draws(model, chains, views)
        return {
            "depth": model.depth_prior().sample((chains,)).double(),
            "opacity": model.opacity_prior().sample((chains, size)),
            "noise_scale": model.noise_prior().sample((chains, *views)),
            **(_presence_draws(model, chains) if model.is_variable else {}),
            **coupled,
            **_colors_of_prior(model, chains),
        }


def _colors_of_prior(model: SplatModel, chains: int) -> dict[str, Tensor]:
    if model.config.colors == "fixed":
        return {}
    return {"harmonics": model.harmonics_prior().sample((chains,))}


def _presence_draws(model: SplatModel, chains: int) -> dict[str, Tensor]:
    inclusion = model.inclusion_prior().sample((chains,))
    slots = Presence(inclusion[:, None]).expand(torch.Size([chains, len(model.proposal)]))
    return {"inclusion": inclusion, "present": slots.sample()}


def _markov_draws(model: SplatModel, chains: int, views: tuple[int, ...]) -> dict[str, Tensor]:
    layers = {}
    if model.config.prior == "ihmm":
        concentration = model.transitions.layers().expand(chains, -1)
        layers["log_layers"] = LogDirichlet(concentration).sample()
    rows = model.transitions.rows(layers.get("log_layers"))
    rows = rows.expand(chains, *rows.shape[-2:])
    log_transition = LogDirichlet(rows).sample()
    return {
        **layers,
        "log_transition": log_transition,
        "depth": model.depth_prior(log_transition).sample().double(),
        "opacity": model.opacity_prior().sample((chains, len(model.proposal))),
        "noise_scale": model.noise_prior().sample((chains, *views)),
        **_colors_of_prior(model, chains),
    }


def with_data(model: SplatModel, sites: dict[str, Tensor], seed: int) -> SplatModel:
    """The model observing photographs drawn from its own likelihood, one set a chain."""
    generator = torch.Generator().manual_seed(seed)
    colors = model.given(sites).predict_pixels(sites["depth"], sites["opacity"])
    scatter = torch.randn(colors.shape, generator=generator, dtype=torch.float64)
    data = colors + noise_per_pixel(model, sites) * scatter
    data = data.to(model.views.images).double()  # every part of the model sees the same digits
    parts = model.proposal, model.views, model.renderer, model.config
    return ManyDataModel(*parts, background=model.background, data=data)


# ----- the joint-distribution check -----


def joint_scores(
    model: SplatModel,
    make_kernel: Callable[[SplatModel, PyroTarget], Kernel],
    *,
    chains: int = 400,
    steps: int = 5,
    seed: int = 0,
) -> dict[str, float]:
    """How far a kernel moves the joint distribution of sites and photographs, in standard errors.

    Each chain's sites are drawn from the prior and its photographs from the likelihood, so that the
    sites are an exact draw of its own posterior (Geweke 2004; Gandy & Scott 2020). After some steps
    they must still be one: the mean change over chains of every statistic is zero.
    """
    before = prior_draws(model, chains, seed)
    model = with_data(model, before, seed + 1)
    target = PyroTarget(model, vectorized=True)
    kernel, generators = make_kernel(model, target), make_generators(seed + 2, chains)
    state: Any = kernel.init(target.unconstrain(before))
    for _ in range(steps):
        state, _ = kernel.step(generators, state)
    first = statistics(model, target, before)
    last = statistics(model, target, target.constrain(state.position))
    changes = {name: last[name] - first[name] for name in first}
    return {
        name: float(change.mean() / change.std()) * math.sqrt(chains)
        for name, change in changes.items()
        if float(change.abs().max()) > 1e-9
    }


def kolmogorov_smirnov(uniform: Tensor) -> float:
    """Largest gap to the uniform distribution, in units comparable to standard errors."""
    ordered = uniform.double().sort().values
    size = len(ordered)
    steps = torch.arange(size + 1, dtype=torch.float64) / size
    gap = torch.maximum((ordered - steps[:-1]).abs().max(), (steps[1:] - ordered).abs().max())
    return 2.0 * float(gap) * math.sqrt(size)  # a fixed point's standard error is at most 1/2


def with_probabilities(proposal: DepthProposal, probabilities: Tensor) -> DepthProposal:
    """The proposal with other probabilities of its buckets."""
    return replace(proposal, probabilities=probabilities)


def every_batch(batches: TileBatches, num_starts: int) -> dict[str, Tensor]:
    """One chain for each start that ``TileBatches`` may draw."""
    with pytest.MonkeyPatch.context() as patch:
        starts = iter(range(num_starts))
        patch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(starts)))
        return batches.draw([torch.Generator()] * num_starts)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads for PyTorch meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class GridDistribution:
    """Cumulative distribution of a density known on a grid up to a constant."""

    def __init__(self, grid: Tensor, log_density: Tensor) -> None:
        density = (log_density - log_density.max()).exp()
        pieces = 0.5 * (density[1:] + density[:-1]) * grid.diff()
        self.grid = grid
        self.cumulative = torch.cat([torch.zeros(1).double(), pieces.cumsum(0)]) / pieces.sum()

    def __call__(self, values: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(values, self.grid, self.cumulative))

    def quantile(self, shares: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(shares, self.cumulative, self.grid))


def replaced(model: SplatModel, proposal: DepthProposal) -> SplatModel:
    """The model with another proposal on the same rays."""
    return replace(model, proposal=proposal)


def observing(model: SplatModel, sites: dict[str, Tensor], seed: int) -> SplatModel:
    """The model with photographs drawn from its own likelihood given the sites of one chain."""
    observed, _ = with_data(model, sites, seed).observed()
    height, width = model.views.cameras.image_shape
    seen = observed[0] if model.background is None else observed[0] + model.background
    images = rearrange(seen, "(v h w) c -> v c h w", h=height, w=width)
    return replace(model, views=replace(model.views, images=images.to(model.views.images)))
