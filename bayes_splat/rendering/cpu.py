"""The CPU engine: the reference's pictures and gradients, compiled, many times faster.

Numbers are float32 throughout. Every sum has one fixed order, so results are the same bits for any
number of threads.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat import geometry, harmonics
from bayes_splat.rendering import cpu_engine, cpu_project
from bayes_splat.rendering.pair_statistics import OpacityStatistics, diagonal_of_means
from bayes_splat.rendering.projection import project
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
        request = self._request(single, cameras, sort_depths, pixels)
        pictures = _Draw.apply(*_world(single, cameras), request)  # type: ignore[no-untyped-call]
        return Rendering(*(picture.to(dtype) for picture in pictures))

    @torch.no_grad()
    def opacity_statistics(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        residuals: Float[Tensor, "chain view height width 3"],
        weights: Float[Tensor, "chain view height width"],
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    ) -> OpacityStatistics:
        """Weighted sums over all pixels of all views, for every Gaussian.

        Args:
            residuals: what is to be explained, photograph minus rendering for a likelihood.
            weights: of the pixels; one over the noise variance for a likelihood.
        """
        single = gaussians.to(torch.float32)
        request = self._request(single, cameras, sort_depths, None)
        world = _flat(_world(single, cameras))
        chains, size, views = single.means.shape[0], len(single), len(cameras)
        drawing = cpu_engine.list_splats(world, chains, size, request)
        pixels = weights.numel()
        pictures = tuple(np.empty(n, dtype=np.float32) for n in (3 * pixels, pixels, pixels))
        states = tuple(np.empty(pixels, dtype=np.float32) for _ in range(2))
        cpu_engine.draw(drawing, request, pictures, states)
        sums = cpu_engine.measure(
            drawing, request, states, *_flat((residuals.float(), weights.float()))
        )
        by_view = torch.from_numpy(sums).reshape(chains, views, -1, sums.shape[-1])[:, :, :size]
        return _statistics(by_view, single, cameras, self.settings)

    def _request(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        sort_depths: Tensor | None,
        pixels: Tensor | None,
    ) -> cpu_engine.Request:
        chains, size, views = gaussians.means.shape[0], len(gaussians), len(cameras)
        return cpu_engine.Request(
            settings=self.settings,
            threads=self.num_threads or torch.get_num_threads(),
            cameras=cpu_engine.pack_cameras(cameras),
            image_shape=cameras.image_shape,
            is_plain=gaussians.harmonics.shape[-1] == 1,
            keys=None if sort_depths is None else _sort_keys(sort_depths, (chains, views, size)),
            pixels=None if pixels is None else _pixel_rows(pixels, chains),
            gaussians=gaussians,
            camera_record=cameras,
        )


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
    ) -> tuple[Tensor, ...]:
        tensors = (means, scales, rotations, opacities, colors)
        world = _flat(tensors)
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
        return pictures

    @staticmethod
    @torch.autograd.function.once_differentiable
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


def _flat(tensors: tuple[Tensor, ...]) -> tuple[cpu_engine.Array, ...]:
    return tuple(t.detach().contiguous().numpy().reshape(-1) for t in tensors)


def _world(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, ...]:
    """Means, scales, rotations, opacities, and colours as the kernels take them."""
    colors = gaussians.harmonics[..., 0]
    if gaussians.harmonics.shape[-1] > 1:
        # Clipping hides an infinite coefficient from the kernels.
        poison = 0.0 * gaussians.harmonics.detach().sum((-2, -1))[:, None, :, None]
        colors = _view_colors(gaussians, cameras) + poison
    return gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, colors


def _statistics(
    sums: Float[Tensor, "chain view gaussian 16"],
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
) -> OpacityStatistics:
    """From sums of splats, see ``cpu_statistics.measure_tiles``, to sums of Gaussians."""
    squares, along, xx, xy, yy = sums[..., :5].unbind(-1)
    solid = gaussians.opacities.where(
        gaussians.opacities.abs() >= cpu_project.SMALLEST_OPACITY, cpu_project.SMALLEST_OPACITY
    )
    single_cameras = cameras.to(torch.float32)
    projection = project(gaussians, single_cameras, settings)
    a, b, c = (
        sign * projection.covariances2d[i] / projection.determinants2d
        for i, sign in ((2, 1.0), (1, -1.0), (0, 1.0))
    )
    # With the conic Q and an offset d, the exponent's derivative in the splat's position is Q d.
    of_x = a * a * xx + 2.0 * a * b * xy + b * b * yy
    of_both = a * b * xx + (a * c + b * b) * xy + b * c * yy
    of_y = b * b * xx + 2.0 * b * c * xy + c * c * yy
    return OpacityStatistics(
        curvature=geometry.sum_terms(squares, axis=1) / (solid * solid),
        slope=geometry.sum_terms(along, axis=1) / solid,
        means=diagonal_of_means(of_x, of_both, of_y, gaussians, single_cameras, settings),
    )


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
