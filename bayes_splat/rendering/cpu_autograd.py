"""Between PyTorch and the arrays of the CPU engine: conversions, and pictures with a gradient."""

import math
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.rendering import cpu_engine
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


def draw_world(
    world: tuple[Tensor, ...],
    cameras: Cameras,
    request: cpu_engine.Request,
    splats: cpu_engine.Splats | None,
    dtype: torch.dtype,
) -> Rendering:
    """Pictures of a world, from :func:`world_of`, or of prepared splats in its paint.

    Raises:
        NotFiniteError: some chains cannot be drawn.
    """
    pictures = _Draw.apply(*world, cameras.extrinsics, request, splats)  # type: ignore[no-untyped-call]
    if dtype == torch.float32:
        return Rendering(*pictures)
    return Rendering(*(picture.to(dtype) for picture in pictures))


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        scales: Tensor,
        rotations: Tensor,
        opacities: Tensor,
        colors: Tensor,
        extrinsics: Tensor,
        request: cpu_engine.Request,
        splats: cpu_engine.Splats | None,
    ) -> tuple[Tensor, ...]:
        tensors = (means, scales, rotations, opacities, colors)
        world, chains = flat(tensors), opacities.shape[0]
        drawn = (
            cpu_engine.draw(world, chains, request)
            if splats is None
            else cpu_engine.draw_prepared(splats, world, chains, request)
        )
        shape = (
            (chains, len(request.cameras), *request.image_shape)
            if request.pixels is None
            else request.pixels.shape
        )
        pictures = tuple(
            torch.from_numpy(array).view(s)
            for array, s in zip(drawn.pictures, ((*shape, 3), shape, shape), strict=True)
        )
        ctx.save_for_backward(*pictures)
        ctx.world, ctx.request, ctx.drawn = world, request, drawn
        ctx.shapes, ctx.pose_type = [t.shape for t in tensors], extrinsics.dtype
        ctx.set_materialize_grads(False)
        return pictures

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        like_colors = ctx.saved_tensors[0]  # complains if a picture was changed in place
        of_colors, *others = gradients
        if of_colors is None:
            of_colors = torch.zeros_like(like_colors)
        of_pictures = flat(tuple(_NOTHING if g is None else g for g in (of_colors, *others)))
        wanted = ctx.needs_input_grad
        with_geometry = any(wanted[:3]) or wanted[5]
        written = [with_geometry, with_geometry, wanted[2], True, True]
        results = [
            torch.empty(shape) if is_written else _NOTHING
            for shape, is_written in zip(ctx.shapes, written, strict=True)
        ]
        poses = cpu_engine.draw_backward(
            ctx.drawn,
            ctx.request,
            ctx.world,
            of_pictures,
            flat(tuple(results)),
            with_geometry=with_geometry,
            with_rotations=wanted[2],
            with_poses=wanted[5],
        )
        kept = [r if w else None for r, w in zip(results, wanted[:5], strict=True)]
        return (*kept, _pose_gradient(poses).to(ctx.pose_type) if wanted[5] else None, None, None)


_NOTHING = torch.empty(0)


def _pose_gradient(poses: cpu_engine.Array) -> Float[Tensor, "view 4 4"]:
    gradient = torch.zeros(len(poses), 4, 4, dtype=torch.float64)
    sums = torch.from_numpy(poses)
    gradient[:, :3, :3] = sums[:, :9].reshape(-1, 3, 3)
    gradient[:, :3, 3] = sums[:, 9:]
    return gradient


def to_single(gaussians: Gaussians) -> Gaussians:
    """In float32; the same object where it is."""
    is_single = all(getattr(gaussians, f.name).dtype == torch.float32 for f in fields(Gaussians))
    return gaussians if is_single else gaussians.to(torch.float32)


def flat(tensors: tuple[Tensor, ...]) -> tuple[cpu_engine.Array, ...]:
    """Their numbers in order, in the same memory where they lie so."""
    return tuple(t.detach().contiguous().numpy().reshape(-1) for t in tensors)


def is_plain(gaussians: Gaussians, settings: RenderSettings) -> bool:
    """Whether the kernels make colours of harmonics themselves: degree 0, clipped at 0."""
    return gaussians.harmonics.shape[-1] == 1 and settings.least_color == 0.0


def world_of(
    gaussians: Gaussians, cameras: Cameras, settings: RenderSettings
) -> tuple[Tensor, ...]:
    """Means, scales, rotations, opacities, and colours as the kernels take them."""
    colors = gaussians.harmonics
    if not is_plain(gaussians, settings):
        colors = _view_colors(gaussians, cameras, settings.least_color)
        if settings.least_color != -math.inf:
            # Clipping hides an infinite coefficient from the kernels.
            poison = 0.0 * gaussians.harmonics.detach().sum((-2, -1))[:, None, :, None]
            colors = colors + poison
    return gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, colors


def sort_keys(sort_depths: Tensor, shape: tuple[int, int, int]) -> cpu_engine.Array:
    """Bits of float32 keys [image * gaussian]; other types as ranks, so that nothing is rounded."""
    keys = sort_depths.detach().expand(shape)
    if keys.dtype != torch.float32:
        order = torch.sort(keys, dim=-1, stable=True).indices
        ranks = torch.arange(shape[-1]).expand(shape)
        # Whole numbers up to 2^24 are exact in float32.
        keys = torch.empty(shape).scatter_(-1, order, ranks.to(torch.float32))
    return keys.contiguous().numpy().reshape(-1).view(np.int32)


def pixel_rows(pixels: Tensor, chains: int) -> cpu_engine.Array:
    """int64 [chain, pixel]."""
    return pixels.detach().to(torch.int64).expand(chains, -1).contiguous().numpy()


def _view_colors(
    gaussians: Gaussians, cameras: Cameras, least: float
) -> Float[Tensor, "chain view gaussian 3"]:
    """Colours towards every camera."""
    if gaussians.harmonics.shape[-1] == 1:
        plain = harmonics.plain_colors(gaussians.harmonics, least)
        return plain[:, None].expand(-1, len(cameras), -1, -1)
    centres = cameras.extrinsics[:, None, :3, 3].to(torch.float32)
    offset = gaussians.means[..., None, :, :] - centres
    towards = torch.nn.functional.normalize(offset, dim=-1)
    return harmonics.to_colors(gaussians.harmonics[..., None, :, :, :], towards, least)
