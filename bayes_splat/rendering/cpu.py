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
from bayes_splat.rendering import cpu_lists, cpu_project, cpu_raster, cpu_tiles, reference
from bayes_splat.rendering.cpu_geometry import CAMERA
from bayes_splat.rendering.cpu_threads import run_items
from bayes_splat.rendering.projection import FRUSTUM_MARGIN, project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering

_NOTHING_LEFT = 1e-15
"""Light at which a pixel stops with the falloff cutoff: far below what float32 can add to it."""

Array = np.ndarray[Any, Any]


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
        request = _Request(
            settings=self.settings,
            threads=self.num_threads or torch.get_num_threads(),
            cameras=_pack_cameras(cameras),
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


class _Request(NamedTuple):
    """What a picture depends on besides the tensors that have gradients."""

    settings: RenderSettings
    threads: int
    cameras: Array
    image_shape: tuple[int, int]
    is_plain: bool
    keys: Array | None
    pixels: Array | None
    gaussians: Gaussians
    camera_record: Cameras


class _Drawing(NamedTuple):
    """What the backward pass needs of the forward pass."""

    sizes: tuple[int, int, int, int, bool]
    tiles: cpu_tiles.Tiles
    tile_ranges: Array
    entries: tuple[Array, Array, Array]
    records: Array
    slot_starts: Array


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        scales: Tensor,
        rotations: Tensor,
        opacities: Tensor,
        colors: Tensor,
        request: _Request,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tensors = [t.detach().contiguous() for t in (means, scales, rotations, opacities, colors)]
        world = tuple(t.numpy().reshape(-1) for t in tensors)
        chains, size = opacities.shape
        drawing = _list_splats(world, chains, size, request)
        views = len(request.cameras)
        shape = (
            (chains, views, *request.image_shape)
            if request.pixels is None
            else request.pixels.shape
        )
        pictures = tuple(torch.empty(s) for s in ((*shape, 3), shape, shape))
        states = tuple(np.empty(pictures[1].numel(), dtype=np.float32) for _ in range(2))
        _draw(drawing, request, tuple(p.numpy().reshape(-1) for p in pictures), states)
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
        _draw_backward(
            ctx.drawing,
            ctx.request,
            ctx.world,
            pictures,
            ctx.states,
            flat,
            tuple(r.numpy().reshape(-1) for r in results),
        )
        return (*results, None)


def _list_splats(world: tuple[Array, ...], chains: int, size: int, request: _Request) -> _Drawing:
    """Project, and list what every tile draws."""
    settings, (height, width) = request.settings, request.image_shape
    views, threads = len(request.cameras), request.threads
    images, blocks = chains * views, -(-size // cpu_lists.BLOCK)
    padded = -(-size // 16) * 16
    sizes = (views, size, padded, blocks, request.is_plain)
    tiles = (
        cpu_tiles.whole_pictures(images, height, width)
        if request.pixels is None
        else cpu_tiles.chosen_pixels(request.pixels, views, height, width)
    )
    records = np.empty(images * padded * cpu_raster.RECORD, dtype=np.float32)
    keys = np.empty(images * padded, dtype=np.float32)
    rects = np.empty((images * padded, 4), dtype=np.int16)
    counts = np.zeros((images, blocks, tiles.active[:1].size), dtype=np.int32)
    is_bad = np.zeros(images * blocks, dtype=np.bool_)
    opacities = torch.from_numpy(world[3])
    rims = settings.max_exponent(opacities[:1] if settings.cutoff == "falloff" else opacities)
    run_items(
        cpu_project.project_splats,
        images * blocks,
        threads,
        sizes,
        world,
        request.cameras,
        (height, width),
        np.float32(settings.low_pass),
        np.float32(settings.near_plane),
        rims.numpy(),
        np.float32(tiles.size),
        tiles.active,
        counts,
        np.empty((threads, cpu_project.SCRATCH), dtype=np.float32),
        records,
        keys,
        rects,
        is_bad,
    )
    if is_bad.any():
        _complain(request.gaussians, request.camera_record, settings)
    if request.keys is not None:
        keys.reshape(images, padded)[:, :size] = request.keys
    tile_ranges = np.zeros((len(tiles.rectangles), 2), dtype=np.int64)
    block_slots = np.empty(images * blocks + 1, dtype=np.int64)
    flat_active = tiles.active.reshape(images, -1)
    cpu_lists.place_entries(counts, flat_active, tile_ranges, block_slots)
    total = int(block_slots[-1])
    entries = (
        np.empty(total, dtype=np.uint32),
        np.empty(total, dtype=np.int32),
        np.empty(total, dtype=np.int32),
    )
    slot_starts = np.zeros(images * padded + 1, dtype=np.int32)
    run_items(
        cpu_lists.fill_entries,
        images * blocks,
        threads,
        counts,
        tiles.active,
        rects,
        block_slots,
        keys.view(np.int32),
        slot_starts,
        entries,
    )
    return _Drawing(sizes, tiles, tile_ranges, entries, records, slot_starts)


def _complain(gaussians: Gaussians, cameras: Cameras, settings: RenderSettings) -> None:
    """Say what is not finite, in the words of the reference."""
    with torch.no_grad():
        reference._require_finite(gaussians)
        projection = project(gaussians, cameras.to(torch.float32), settings)
        reference._require_finite_ellipses(gaussians, projection)


def _draw(
    drawing: _Drawing,
    request: _Request,
    pictures: tuple[Array, ...],
    states: tuple[Array, ...],
) -> None:
    """Composite every tile into the flat pictures."""
    ranges, threads = drawing.tile_ranges, request.threads
    settings, (height, width) = request.settings, request.image_shape
    fullest = int((ranges[:, 1] - ranges[:, 0]).max(initial=0))
    run_items(
        cpu_raster.draw_tiles,
        len(ranges),
        threads,
        drawing.tiles.rectangles,
        ranges,
        drawing.entries,
        drawing.records,
        width,
        height,
        np.float32(settings.max_alpha),
        np.float32(settings.min_transmittance if settings.cutoff == "alpha" else _NOTHING_LEFT),
        drawing.tiles.wanted,
        _work(threads),
        np.empty((threads, 2 * fullest + cpu_lists.SORT_COUNTERS), dtype=np.int64),
        np.empty((threads, 16), dtype=np.int64),
        pictures,
        states,
    )


def _draw_backward(
    drawing: _Drawing,
    request: _Request,
    world: tuple[Array, ...],
    pictures: tuple[Array, ...],
    states: tuple[Array, ...],
    gradients: tuple[Array, ...],
    results: tuple[Array, ...],
) -> None:
    """Gradients of the world from those of the pictures."""
    settings, threads = request.settings, request.threads
    height, width = request.image_shape
    slots = np.empty(len(drawing.entries[1]) * cpu_raster.RECORD, dtype=np.float32)
    run_items(
        cpu_raster.draw_tiles_backward,
        len(drawing.tile_ranges),
        threads,
        drawing.tiles.rectangles,
        drawing.tile_ranges,
        drawing.entries,
        drawing.records,
        width,
        height,
        np.float32(settings.max_alpha),
        drawing.tiles.wanted,
        _work(threads),
        np.empty((threads, 16), dtype=np.int64),
        pictures,
        states,
        gradients,
        slots,
    )
    views, size, padded, blocks, _ = drawing.sizes
    chains = len(world[3]) // max(size, 1)
    run_items(
        cpu_project.project_backward,
        chains * blocks,
        threads,
        drawing.sizes,
        world,
        request.cameras,
        np.float32(settings.low_pass),
        np.float32(settings.near_plane),
        drawing.slot_starts,
        slots,
        np.empty((threads, cpu_project.SCRATCH), dtype=np.float32),
        results,
    )


def _work(threads: int) -> Array:
    """Scratch of the raster, a row a thread, all starting on pages of their own.

    Where it starts matters: at unlucky places the backward pass was measured 1.5 times slower.
    """
    page = 4096 // 4
    stride = -(-cpu_raster.WORK // page) * page
    memory = np.empty(threads * stride + page, dtype=np.float32)
    start = (-memory.ctypes.data // 4) % page
    return memory[start : start + threads * stride].reshape(threads, stride)


def _pack_cameras(cameras: Cameras) -> Array:
    """One row a camera, see ``cpu_geometry.CAMERA``."""
    packed = np.empty((len(cameras), CAMERA), dtype=np.float32)
    extrinsics = cameras.extrinsics.detach().numpy()
    intrinsics = cameras.intrinsics.detach().numpy()
    packed[:, :9] = extrinsics[:, :3, :3].reshape(-1, 9)
    packed[:, 9:12] = extrinsics[:, :3, 3]
    height, width = cameras.image_shape
    for axis, extent in enumerate((width, height)):
        focal, centre = intrinsics[:, axis, axis], intrinsics[:, axis, 2]
        margin = FRUSTUM_MARGIN * 0.5 * extent / focal
        packed[:, 12 + axis], packed[:, 14 + axis] = focal, centre
        packed[:, 16 + 2 * axis] = -centre / focal - margin
        packed[:, 17 + 2 * axis] = (extent - centre) / focal + margin
    return packed


def _sort_keys(sort_depths: Tensor, shape: tuple[int, int, int]) -> Array:
    """Keys as float32 [image, gaussian]; of another type, as ranks, so that nothing is rounded."""
    keys = sort_depths.detach().expand(shape)
    if keys.dtype != torch.float32:
        order = torch.sort(keys, dim=-1, stable=True).indices
        ranks = torch.arange(shape[-1]).expand(shape)
        # Whole numbers up to 2^24 are exact in float32.
        keys = torch.empty(shape).scatter_(-1, order, ranks.to(torch.float32))
    return keys.reshape(-1, shape[-1]).numpy()


def _pixel_rows(pixels: Tensor, chains: int) -> Array:
    return pixels.detach().to(torch.int64).expand(chains, -1).contiguous().numpy()


def _view_colors(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "chain view gaussian 3"]:
    """Colours towards every camera, for harmonics that vary with direction."""
    centres = cameras.extrinsics[:, None, :3, 3].to(torch.float32)
    offset = gaussians.means[..., None, :, :] - centres
    towards = torch.nn.functional.normalize(offset, dim=-1)
    return harmonics.to_colors(gaussians.harmonics[..., None, :, :, :], towards)
