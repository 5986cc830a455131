"""The steps of the CPU engine in order: project, list, composite, and back; arrays in and out."""

from typing import Any, NamedTuple

import numpy as np
import torch

from bayes_splat.rendering import (
    cpu_blocks,
    cpu_lists,
    cpu_project,
    cpu_project_backward,
    cpu_raster,
    cpu_raster_backward,
    cpu_statistics,
    cpu_tiles,
)
from bayes_splat.rendering.cpu_geometry import CAMERA
from bayes_splat.rendering.cpu_threads import run_items
from bayes_splat.rendering.projection import FRUSTUM_MARGIN
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras

Array = np.ndarray[Any, Any]

NOTHING_LEFT = 1e-15
"""Light at which a pixel stops with the falloff cutoff: far below what float32 can add to it."""


class Request(NamedTuple):
    """What a picture depends on besides the tensors that have gradients."""

    settings: RenderSettings
    threads: int
    cameras: Array
    image_shape: tuple[int, int]
    is_plain: bool
    keys: Array | None
    pixels: Array | None


class NotFiniteError(Exception):
    """Some chains hold numbers that are not finite, or too large for float32.

    Attributes:
        chains: which, bool by chain.
    """

    def __init__(self, chains: Array) -> None:
        super().__init__(f"chains {np.flatnonzero(chains).tolist()} are not finite")
        self.chains = chains


class Drawing(NamedTuple):
    """What the backward pass needs of the forward pass."""

    sizes: tuple[int, int, int, int, bool]
    tiles: cpu_tiles.Tiles
    tile_ranges: Array
    entries: tuple[Array, Array, Array]
    records: Array
    slot_starts: Array


def list_splats(world: tuple[Array, ...], chains: int, size: int, request: Request) -> Drawing:
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
    records = np.empty(images * padded * cpu_blocks.RECORD, dtype=np.float32)
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
        raise NotFiniteError(is_bad.reshape(chains, -1).any(axis=1))
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
    return Drawing(sizes, tiles, tile_ranges, entries, records, slot_starts)


def draw(
    drawing: Drawing,
    request: Request,
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
        np.float32(settings.min_transmittance if settings.cutoff == "alpha" else NOTHING_LEFT),
        drawing.tiles.wanted,
        _work(threads),
        np.empty((threads, 2 * fullest + cpu_lists.SORT_COUNTERS), dtype=np.int64),
        np.empty((threads, cpu_blocks.ROWS), dtype=np.int64),
        pictures,
        states,
    )


def draw_backward(
    drawing: Drawing,
    request: Request,
    world: tuple[Array, ...],
    pictures: tuple[Array, ...],
    states: tuple[Array, ...],
    gradients: tuple[Array, ...],
    results: tuple[Array, ...],
) -> None:
    """Gradients of the world from those of the pictures."""
    settings, threads = request.settings, request.threads
    height, width = request.image_shape
    slots = np.empty(len(drawing.entries[1]) * cpu_blocks.RECORD, dtype=np.float32)
    run_items(
        cpu_raster_backward.draw_tiles_backward,
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
        np.empty((threads, cpu_blocks.ROWS), dtype=np.int64),
        pictures,
        states,
        gradients,
        slots,
    )
    _, size, _, blocks, _ = drawing.sizes
    chains = len(world[3]) // max(size, 1)
    run_items(
        cpu_project_backward.project_backward,
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


def measure(
    drawing: Drawing,
    request: Request,
    states: tuple[Array, ...],
    residuals: Array,
    weights: Array,
) -> Array:
    """Sums of ``cpu_statistics.measure_tiles`` by [splat, RECORD]; residuals, weights are flat."""
    threads, (height, width) = request.threads, request.image_shape
    slots = np.empty(len(drawing.entries[1]) * cpu_blocks.RECORD, dtype=np.float32)
    run_items(
        cpu_statistics.measure_tiles,
        len(drawing.tile_ranges),
        threads,
        drawing.tiles.rectangles,
        drawing.tile_ranges,
        drawing.entries,
        drawing.records,
        width,
        height,
        np.float32(request.settings.max_alpha),
        _work(threads),
        np.empty((threads, cpu_blocks.ROWS), dtype=np.int64),
        states,
        residuals,
        weights,
        slots,
    )
    num_splats = len(drawing.slot_starts) - 1
    sums = np.empty(num_splats * cpu_blocks.RECORD, dtype=np.float32)
    blocks = -(-num_splats // cpu_lists.BLOCK)
    run_items(cpu_statistics.sum_slots, blocks, threads, drawing.slot_starts, slots, sums)
    return sums.reshape(num_splats, cpu_blocks.RECORD)


def _work(threads: int) -> Array:
    """Scratch of the raster, a row a thread, all starting on pages of their own.

    Where it starts matters: at unlucky places the backward pass was measured 1.5 times slower.
    """
    page = 4096 // 4
    stride = -(-cpu_blocks.WORK // page) * page
    memory = np.empty(threads * stride + page, dtype=np.float32)
    start = (-memory.ctypes.data // 4) % page
    return memory[start : start + threads * stride].reshape(threads, stride)


def pack_cameras(cameras: Cameras) -> Array:
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
