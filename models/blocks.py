"""What the closed-form and local moves of this room share.

They speak the ``Block`` protocol of the samplers' room without importing it: a position is a
dictionary of unconstrained float64 tensors with a leading chain axis; randomness comes from one
generator a chain.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

from bayes_splat.models.log_simplex import log_simplex
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer, ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings

Position: TypeAlias = dict[str, Tensor]
Generators: TypeAlias = Sequence[torch.Generator]


class BlockInfo(NamedTuple):
    """What one block reports of one step.

    Attributes:
        acceptance_rate: mean over the block's moves; 1 for draws from an exact conditional.
        step_size: NaN, these blocks have none.
        diverging: a move met a non-finite energy.
        potential_energy: of the joint after the step, where the block knows it.
    """

    acceptance_rate: Float[Tensor, " chain"]
    step_size: Float[Tensor, " chain"]
    diverging: Bool[Tensor, " chain"]
    potential_energy: Float[Tensor, " chain"] | None = None


def block_info(acceptance_rate: Float[Tensor, " chain"]) -> BlockInfo:
    """A report of moves without a step size that cannot diverge."""
    return BlockInfo(
        acceptance_rate=acceptance_rate,
        step_size=torch.full_like(acceptance_rate, torch.nan),
        diverging=torch.zeros_like(acceptance_rate, dtype=torch.bool),
    )


class Coordinates(NamedTuple):
    """Maps from unconstrained coordinates to the sites' values, the same that Pyro uses."""

    depth: Transform
    opacity: Transform
    noise_scale: Transform


def coordinates(model: SplatModel) -> Coordinates:
    """The unconstrained coordinates of a model's sites."""
    return Coordinates(
        depth=biject_to(model.depth_prior_inside().support),
        opacity=biject_to(model.opacity_prior().support),
        noise_scale=biject_to(model.noise_prior().support),
    )


def row(position: Position, chain: int) -> Position:
    """One chain of a position, [1, ...]."""
    return {site: value[chain : chain + 1] for site, value in position.items()}


def falloff_settings(model: SplatModel, block: str) -> RenderSettings:
    """How the model renders, for blocks that need a footprint that no opacity changes.

    Raises:
        ValueError: the model's renderer does not say, cuts off by alpha, or clamps alpha within the
            support of the opacities.
    """
    settings = getattr(model.renderer, "settings", None)
    if not isinstance(settings, RenderSettings):
        raise ValueError(
            f"{block} must know how the model renders, but {type(model.renderer).__name__} has no"
            " `settings`; give the renderer that attribute, or take make_renderer('auto')"
        )
    if settings.cutoff != "falloff":
        raise ValueError(
            f"{block} needs pictures that are affine in each opacity, but the model renders with"
            f" cutoff={settings.cutoff!r}; use RenderSettings(cutoff='falloff')"
        )
    if settings.max_alpha < MAX_OPACITY:
        raise ValueError(
            f"{block} needs pictures that are affine in each opacity, but the model renders with"
            f" max_alpha={settings.max_alpha}; it must be at least {MAX_OPACITY}"
        )
    return settings


def refuse_markov(model: SplatModel, block: str) -> None:
    """For blocks that know independent and smooth priors of depth only.

    Raises:
        ValueError: buckets follow each other along scanlines.
    """
    if model.is_markov:
        raise ValueError(
            f"{block} does not know prior={model.config.prior!r}; take DepthMoves, ScanlineMoves"
            " and OpacityGibbs, or prior=uniform, smooth or proposal"
        )


def cpu_threads(model: SplatModel) -> int | None:
    """How many threads the model's compiled CPU engine takes; None where it is not that engine."""
    renderer = model.renderer
    while isinstance(renderer, CountingRenderer):
        renderer = renderer.renderer
    if isinstance(renderer, ReferenceRenderer):
        return None
    from bayes_splat.rendering.cpu import CPURenderer  # late: loading numba takes a second

    if not isinstance(renderer, CPURenderer):
        return None
    return renderer.num_threads or torch.get_num_threads()


def any_threads(model: SplatModel) -> int:
    """How many threads compiled moves may take, whatever the renderer."""
    return cpu_threads(model) or torch.get_num_threads()


def photographed(model: SplatModel) -> Float[Tensor, "photographs pixel 3"]:
    """Photographed colours, flat over (view, height, width): for all chains, or for each."""
    observed, _ = model.observed()
    return observed if observed.ndim == 3 else observed[None]


def noise_per_view(
    model: SplatModel, noise_scale: Float[Tensor, "chain *view"]
) -> Float[Tensor, "chain view"]:
    """The noise scale of every context view, whether the model has one or one a view."""
    columns = noise_scale.reshape(noise_scale.shape[0], -1)
    return columns.expand(-1, model.num_views)


def is_present(
    model: SplatModel, values: Float[Tensor, "chain gaussian"]
) -> Bool[Tensor, "chain gaussian"]:
    """Which slots hold a Gaussian in the scene that the model is given: all of them, or some.

    Args:
        model: given a position.
        values: any, a number a Gaussian.
    """
    present = model.held.present
    return torch.ones_like(values, dtype=torch.bool) if present is None else present > 0.5


def log_transition(
    model: SplatModel, position: Position
) -> Float[Tensor, "chain bucket bucket"] | None:
    """Logarithms of the transitions between buckets; None where the prior has none."""
    if not model.is_markov:
        return None
    value: Tensor = biject_to(log_simplex)(position["log_transition"])
    return value


def reflect(walked: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Numbers anywhere on the line, mirrored at 0 and 1 until they lie between.

    A symmetric step, so mirrored, is symmetric on [0, 1].
    """
    folded = torch.remainder(walked, 2.0)
    return torch.where(folded > 1.0, 2.0 - folded, folded)


def uniforms(generators: Generators, *shape: int) -> Float[Tensor, "chain *shape"]:
    """Independent uniform numbers in [0, 1), float64, every chain from its own generator."""
    return torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in generators])


def normals(generators: Generators, *shape: int) -> Float[Tensor, "chain *shape"]:
    """Independent standard Normal numbers, float64, every chain from its own generator."""
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in generators])


def permutations(generators: Generators, size: int) -> Tensor:
    """A random permutation of 0..size-1 a chain."""
    return torch.stack([torch.randperm(size, generator=g) for g in generators])
