"""The CPU engine: the reference's pictures and gradients, compiled, many times faster.

Numbers are float32 throughout. Every sum has one fixed order, so results are the same bits for any
number of threads.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.rendering import cpu_engine
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering

@dataclass(frozen=True)
class CPURenderer:
    """Compiled rasteriser for CPUs; differentiable in all fields of the Gaussians, not in cameras.

    Works in float32; inputs of another precision are converted, and so are the pictures.

    Attributes:
        settings: semantics of the picture.
        num_threads: None takes as many as PyTorch does. Results do not depend on it.
    """

    settings: RenderSettings = field(default_factory=RenderSettings)
    num_threads: int | None = None

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Rendering:
        """See :meth:`Renderer.render`.

        Raises:
            ValueError: a Gaussian is not finite (names the field and the first bad index), or is
                too large for float32.
        """
        dtype = gaussians.means.dtype
        single = gaussians.to(torch.float32)
        chains, size, views = single.means.shape[0], len(gaussians), len(cameras)
        is_plain = single.harmonics.shape[-1] == 1
        request = cpu_engine.Request(
            settings=self.settings,
            threads=self.num_threads or torch.get_num_threads(),
            cameras=cpu_engine.pack_cameras(cameras),
            image_shape=cameras.image_shape,
            is_plain=is_plain,
            keys=None if sort_depths is None else _sort_keys(sort_depths, (chains, views, size)),
            pixels=None if pixels is None else _pixel_rows(pixels, chains),
            gaussians=single,
            camera_record=cameras,
        )
        pictures = _Draw.apply(
            single.means,
            single.scales,
            single.rotations,
            single.opacities,
            single.harmonics[..., 0] if is_plain else _view_colors(single, cameras),
            request,
        )
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
        request: cpu_engine.Request,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors = [t.detach().contiguous() for t in (means, scales, rotations, opacities, colors)]
        world = tuple(t.numpy().reshape(-1) for t in tensors)
        chains, size = opacities.shape
        drawing = cpu_engine.list_splats(world, chains, size, request)
        views = len(request.cameras)
        shape = (
            (chains, views, *request.image_shape)
            if request.pixels is None
            else request.pixels.shape
        )
        pictures = tuple(torch.empty(s) for s in ((*shape, 3), shape, shape))
        states = tuple(np.empty(pictures[1].numel(), dtype=np.float32) for _ in range(2))
        cpu_engine.draw(drawing, request, tuple(p.numpy().reshape(-1) for p in pictures), states)
        ctx.save_for_backward(*pictures)
        ctx.world, ctx.request, ctx.drawing, ctx.states = world, request, drawing, states
        ctx.shapes = [t.shape for t in tensors]
        ctx.set_materialize_grads(False)
        return pictures  # type: ignore[return-value]

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        pictures = tuple(p.numpy().reshape(-1) for p in ctx.saved_tensors)
        of_colors, of_depths, of_alphas = gradients
        if of_colors is None:
            of_colors = torch.zeros_like(ctx.saved_tensors[0])
        nothing = torch.empty(0)
        flat = tuple(
            (nothing if g is None else g).contiguous().numpy().reshape(-1)
            for g in (of_colors, of_depths, of_alphas)
        )
        results = [torch.empty(shape) for shape in ctx.shapes]
        cpu_engine.draw_backward(
            ctx.drawing,
            ctx.request,
            ctx.world,
            pictures,
            ctx.states,
            flat,
            tuple(r.numpy().reshape(-1) for r in results),
        )
        return (*results, None)


def _sort_keys(sort_depths: Tensor, shape: tuple[int, int, int]) -> cpu_engine.Array:
    """Keys as float32 [image, gaussian]; of another type, as ranks, so that nothing is rounded."""
    keys = sort_depths.detach().expand(shape)
    if keys.dtype != torch.float32:
        order = torch.sort(keys, dim=-1, stable=True).indices
        ranks = torch.arange(shape[-1]).expand(shape)
        # Whole numbers up to 2^24 are exact in float32.
        keys = torch.empty(shape).scatter_(-1, order, ranks.to(torch.float32))
    return keys.reshape(-1, shape[-1]).numpy()


def _pixel_rows(pixels: Tensor, chains: int) -> cpu_engine.Array:
    return pixels.detach().to(torch.int64).expand(chains, -1).contiguous().numpy()


def _view_colors(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "chain view gaussian 3"]:
    """Colours towards every camera, for harmonics that vary with direction."""
    centres = cameras.extrinsics[:, None, :3, 3].to(torch.float32)
    offset = gaussians.means[..., None, :, :] - centres
    towards = torch.nn.functional.normalize(offset, dim=-1)
    return harmonics.to_colors(gaussians.harmonics[..., None, :, :, :], towards)
