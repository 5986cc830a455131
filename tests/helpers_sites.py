"""What site and patch sweeps must do, by whole pictures of the reference renderer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.truncated_normal import sample_truncated_normal
from bayes_splat.rendering.settings import RenderSettings
from tests import helpers_scenes as scenes

SETTINGS = RenderSettings(threshold=ModelConfig().cutoff)


class Task(NamedTuple):
    """A scene with photographs that are noise, and where its Gaussians might go."""

    model: SplatModel
    depth: Tensor
    offered: Tensor
    opacity: Tensor
    noise: Tensor
    edges: tuple[float, Tensor, Tensor, tuple[int, int]]

    def relative(self) -> Tensor:
        near, far = self.model.proposal.near, self.model.proposal.far
        both = torch.stack([self.depth, self.offered], 1)
        return geometry.depth_to_relative_disparity(both, near.expand_as(both), far.expand_as(both))

    def shared(self) -> dict[str, Any]:
        """What both sweeps are given."""
        model = self.model
        rows = torch.stack([self.depth, self.offered], 1).flatten(0, 1)
        cameras = model.views.cameras
        return {
            "gaussians": model.gaussians(rows, self.opacity.repeat_interleave(2, 0)),
            "cameras": cameras,
            "settings": SETTINGS,
            "sort_depths": model.sort_depths(rows, cameras),
            "opacities": self.opacity,
            "observed": model.observed()[0][None],
            "precisions": 1.0 / self.noise**2,
            "relative_disparities": self.relative(),
            "neighbours": self.edges,
        }


def task(
    strength: float = 0.0, seed: int = 0, chains: int = 2, noise: float = 0.3, **scene: Any
) -> Task:
    """Random places near and far from each other; chains differ."""
    model = scenes.tiny_model(seed=seed, **{"dtype": torch.float64, **scene})
    generator = torch.Generator().manual_seed(seed + 7)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    size, (height, width) = len(model.proposal), model.proposal.cameras.image_shape
    grid = rand(2, size // (height * width), height, width)
    grid[0, :, :, -1] = grid[1, :, -1] = 0.0
    first, second = scenes.prior_draws(model, chains, seed), scenes.prior_draws(model, chains, 99)
    nearby = first["depth"] * (1.0 + 0.02 * (rand(chains, size) - 0.5))
    offered = torch.where(rand(chains, size) < 0.5, nearby, second["depth"]).clamp(1.0, 4.0)
    return Task(
        model,
        first["depth"],
        offered,
        first["opacity"],
        noise * (1.0 + rand(chains, model.num_views)),
        (strength, *grid.flatten(1), (height, width)),
    )


def held(task: Task, is_moving: Tensor) -> Task:
    """The same with the others offered where they are."""
    return task._replace(offered=torch.where(is_moving, task.offered, task.depth))


def energies(task: Task, depths: Tensor, chain: int) -> Tensor:
    """Minus the log likelihood at every row of depths, up to its constant."""
    colors = task.model.predict_pixels(depths, task.opacity[chain].repeat(len(depths), 1))
    residual = task.model.observed()[0] - colors
    return 0.5 * (weights(task, chain) * residual**2).sum((1, 2))


def weights(task: Task, chain: int) -> Tensor:
    per_view = task.model.num_pixels // task.model.num_views
    return task.noise[chain].repeat_interleave(per_view)[:, None] ** -2


def roughness(task: Task, relative: Tensor) -> Tensor:
    """strength * sum of w |r_i - r_j|, edge by edge."""
    strength, right, below, (_, width) = task.edges
    total = torch.zeros((), dtype=torch.float64)
    for g in range(len(relative)):
        if right[g] > 0:
            total += right[g] * (relative[g] - relative[g + 1]).abs()
        if below[g] > 0:
            total += below[g] * (relative[g] - relative[g + width]).abs()
    return strength * total


def site_statistics(
    task: Task, depths: Tensor, opacity: Tensor, chain: int, g: int
) -> list[tuple[Tensor, Tensor]]:
    """sum B (I - A) / noise^2 and sum B^2 / noise^2 at every row of depths.

    From the pictures with the opacity of one Gaussian at 0 and at 0.9.
    """
    both = opacity.repeat(2 * len(depths), 1)
    both[::2, g], both[1::2, g] = 0.0, 0.9
    colors = task.model.predict_pixels(depths.repeat_interleave(2, 0), both)
    start, slope = colors[::2], (colors[1::2] - colors[::2]) / 0.9
    weight, residual = weights(task, chain), task.model.observed()[0] - start
    lin, prec = (weight * slope * residual).sum((1, 2)), (weight * slope**2).sum((1, 2))
    return list(zip(lin, prec, strict=True))


def log_mass(lin: Tensor, prec: Tensor) -> Tensor:
    """Integral over the opacity by the trapezium rule."""
    grid = torch.linspace(0.0, MAX_OPACITY, 20001, dtype=torch.float64)
    exponent = lin * grid - 0.5 * prec * grid**2
    top = exponent.max()
    return torch.trapezoid((exponent - top).exp(), grid).log() + top


def log_beta(opacity: Tensor, prior: tuple[float, float]) -> Tensor:
    a, b = prior
    return (a - 1.0) * opacity.log() + (b - 1.0) * (MAX_OPACITY - opacity).log()


def draw(lin: Tensor, prec: Tensor, uniform: Tensor) -> Tensor:
    found, correction = sample_truncated_normal(
        lin[None], prec[None], torch.zeros(1).double(), MAX_OPACITY, uniform[None]
    )
    assert correction == 0.0
    return found[0]


def sweep_sites(
    task: Task,
    log_weights: Tensor,
    is_visited: Tensor,
    is_backward: Tensor,
    uniforms: Tensor,
    prior: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """moved, opacities and log ratios of a sweep, Gaussian by Gaussian."""
    moved = torch.zeros_like(task.depth, dtype=torch.bool)
    opacities, ratios = task.opacity.clone(), torch.zeros_like(task.depth)
    for chain in range(len(task.depth)):
        depth, opacity = task.depth[chain].clone(), opacities[chain]
        relative = task.relative()[chain]
        here = relative[0].clone()
        order = range(len(depth))
        for g in reversed(order) if is_backward[chain] else order:
            if not is_visited[chain, g]:
                ratios[chain, g] = -torch.inf
                continue
            there, other = here.clone(), depth.clone()
            there[g], other[g] = relative[1, g], task.offered[chain, g]
            both = torch.stack([depth, other])
            old, new = site_statistics(task, both, opacity, chain, g)
            candidate = draw(*new, uniforms[chain, 0, g])
            ratio = log_mass(*new) - log_mass(*old)
            ratio += log_weights[chain, 1, g] - log_weights[chain, 0, g]
            ratio += roughness(task, here) - roughness(task, there)
            ratio += log_beta(candidate, prior) - log_beta(opacity[g], prior)
            ratios[chain, g] = ratio
            if uniforms[chain, 1, g].log() < ratio:
                depth, here, old, moved[chain, g] = other, there, new, True
                opacity[g] = candidate
            fresh = draw(*old, uniforms[chain, 2, g])
            factor = log_beta(fresh, prior) - log_beta(opacity[g], prior)
            if uniforms[chain, 3, g].log() < factor:
                opacity[g] = fresh
    return moved, opacities, ratios


def sweep_patches(
    task: Task,
    is_inside: Tensor,
    log_ratios: Tensor,
    size: int,
    offsets: Tensor,
    uniforms: Tensor,
) -> tuple[Tensor, Tensor]:
    """moved, and mean acceptance rates, patch by patch."""
    height, width = task.edges[3]
    rows, columns = (height - 1) // size + 2, (width - 1) // size + 2
    numbers = torch.arange(task.depth.shape[1]).reshape(-1, height, width)
    moved = torch.zeros_like(task.depth, dtype=torch.bool)
    rates: list[list[float]] = [[] for _ in task.depth]
    for chain in range(len(task.depth)):
        depth, here = task.depth[chain].clone(), task.relative()[chain, 0].clone()
        for patch in range(len(numbers) * rows * columns):
            view, row, column = patch // (rows * columns), patch // columns % rows, patch % columns
            top, left = (
                at * size - int(offset)
                for at, offset in zip((row, column), offsets[chain], strict=True)
            )
            down, across = (slice(max(at, 0), max(at + size, 0)) for at in (top, left))
            members = numbers[view, down, across].flatten()
            if len(members) == 0:
                continue
            rates[chain].append(0.0)
            if not is_inside[chain, members].all():
                continue
            other, there = depth.clone(), here.clone()
            other[members] = task.offered[chain, members]
            there[members] = task.relative()[chain, 1, members]
            ratio = log_ratios[chain, members].sum()
            ratio += roughness(task, here) - roughness(task, there)
            before, after = energies(task, torch.stack([depth, other]), chain)
            ratio += before - after
            rates[chain][-1] = float(ratio.clamp_max(0.0).exp())
            if uniforms[chain, patch].log() < ratio:
                depth, here, moved[chain, members] = other, there, True
    return moved, torch.tensor([sum(r) / len(r) for r in rates]).double()
