"""What the CPU engine does, arrays in and out: memory and numbers of items for its passes."""

from typing import Any, NamedTuple

import numpy as np
import torch

from bayes_splat.rendering import cpu_blocks, cpu_lists, cpu_passes, cpu_project, cpu_tiles
from bayes_splat.rendering.cpu_geometry import CAMERA
from bayes_splat.rendering.cpu_project_backward import POSE
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.cpu_threads import run_pass
from bayes_splat.rendering.projection import FRUSTUM_MARGIN
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras

Array = np.ndarray[Any, Any]

NOTHING_LEFT = 1e-15
"""Light at which a pixel stops with the falloff cutoff: far below what float32 can add to it."""

_NOTHING = np.empty(0, dtype=np.float32)
_NO_KEYS = np.empty(0, dtype=np.int32)


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


class Splats(NamedTuple):
    """Gaussians in their images, and what every tile draws of them.

    Attributes:
        sizes: views, Gaussians of a chain, the same padded, blocks of them, whether colours are
            harmonics of degree 0.
        lists: see ``cpu_lists.place_entries``.
        entries: (keys, splats, slots).
        is_sorted: whether the entries of every tile are in order.
    """

    sizes: tuple[int, int, int, int, bool]
    tiles: cpu_tiles.Tiles
    lists: tuple[Array, Array, Array]
    entries: tuple[Array, Array, Array]
    records: Array
    slot_starts: Array
    is_sorted: bool


class Drawn(NamedTuple):
    """Flat pictures (colors, depths, alphas), and how every pixel ended (light left, stop)."""

    splats: Splats
    pictures: tuple[Array, Array, Array]
    states: tuple[Array, Array]


_NOT_DRAWN = (_NOTHING, _NOTHING, _NOTHING), (_NOTHING, _NOTHING)


def draw(world: tuple[Array, ...], chains: int, request: Request) -> Drawn:
    """Project, list and composite.

    Args:
        world: flat means, scales, rotations, opacities, and colours or harmonics of degree 0.

    Raises:
        NotFiniteError: instead of drawing anything.
    """
    tiles, pixels = _tiles(chains, request)
    pictures, states = _empty_pictures(pixels)
    splats = _list(world, chains, request, tiles, False, pictures, states)
    return Drawn(splats, pictures, states)


def prepare(world: tuple[Array, ...], chains: int, request: Request) -> Splats:
    """Project, list and sort; raises as :func:`draw`."""
    return _list(world, chains, request, _tiles(chains, request)[0], True, *_NOT_DRAWN)


def draw_prepared(splats: Splats, world: tuple[Array, ...], chains: int, request: Request) -> Drawn:
    """Composite prepared splats with the opacities and colours of the world; raises as draw."""
    pictures, states = _empty_pictures(_tiles(chains, request)[1])
    records = np.empty_like(splats.records)
    images, blocks = splats.lists[0].shape[:2]
    is_bad = np.zeros(images * blocks, dtype=np.bool_)
    run_pass(
        cpu_passes.forward_pass,
        (0, 0, 0, 0, images * blocks, len(splats.tiles.rectangles)),
        request.threads,
        splats.sizes,
        world,
        request.cameras,
        request.image_shape,
        _lens(request.settings),
        np.float32(splats.tiles.size),
        splats.tiles[1:],
        splats.lists,
        (records, _NOTHING, np.empty(0, dtype=np.int16), splats.slot_starts),
        _NO_KEYS,
        splats.entries,
        splats.records,
        is_bad,
        True,
        _cutoffs(request.settings),
        _scratch(request.threads, 0),
        pictures,
        states,
    )
    _require_finite(is_bad, chains)
    return Drawn(splats._replace(records=records), pictures, states)


def _list(
    world: tuple[Array, ...],
    chains: int,
    request: Request,
    tiles: cpu_tiles.Tiles,
    only_prepare: bool,
    pictures: tuple[Array, ...],
    states: tuple[Array, ...],
) -> Splats:
    settings, threads, views = request.settings, request.threads, len(request.cameras)
    size = len(world[3]) // max(chains, 1)
    images, blocks, padded = chains * views, -(-size // cpu_lists.BLOCK), -(-size // LANES) * LANES
    sizes = (views, size, padded, blocks, request.is_plain)
    num_tiles = len(tiles.rectangles)
    lists = (
        np.zeros((images, blocks, tiles.active[:1].size), dtype=np.int32),
        np.zeros((num_tiles, 2), dtype=np.int64),
        np.zeros(images * blocks + 1, dtype=np.int64),
    )
    records = np.empty(images * padded * cpu_blocks.RECORD, dtype=np.float32)
    depths = np.empty(images * padded, dtype=np.float32)
    rects = np.empty(images * padded * 4, dtype=np.int16)
    slot_starts = np.empty(images * padded + 1, dtype=np.int32)
    slot_starts[-1] = 0
    is_bad = np.zeros(images * blocks, dtype=np.bool_)
    # How many entries there are is known once they are counted. Mostly this is enough; memory that
    # nobody touches costs nothing.
    room = 2 * images * padded
    items = (images * blocks, 1, images * blocks) + (
        (num_tiles, 0, 0) if only_prepare else (0, 0, num_tiles)
    )
    while True:
        entries = (
            np.empty(room, dtype=np.uint32),
            np.empty(room, dtype=np.int32),
            np.empty(room, dtype=np.int32),
        )
        run_pass(
            cpu_passes.forward_pass,
            items,
            threads,
            sizes,
            world,
            request.cameras,
            request.image_shape,
            _lens(settings),
            np.float32(tiles.size),
            tiles[1:],
            lists,
            (records, depths, rects, slot_starts),
            _NO_KEYS if request.keys is None else request.keys,
            entries,
            _NOTHING,
            is_bad,
            False,
            _cutoffs(settings),
            _scratch(threads, room),
            pictures,
            states,
        )
        _require_finite(is_bad, chains)
        total = int(lists[2][-1])
        if total <= room:
            break
        room, items = total, (0, 0, *items[2:])
    keys, splats, slots = (array[:total] for array in entries)
    return Splats(sizes, tiles, lists, (keys, splats, slots), records, slot_starts, only_prepare)


def draw_backward(
    drawn: Drawn,
    request: Request,
    world: tuple[Array, ...],
    of_pictures: tuple[Array, ...],
    gradients: tuple[Array, ...],
    *,
    with_geometry: bool,
    with_rotations: bool,
    with_poses: bool,
) -> Array:
    """Gradients of the world from those of the pictures.

    Args:
        of_pictures: gradients of (colors, depths, alphas), flat; the last two may be empty.
        gradients: like ``world``, filled: opacities and colours, the rest ``with_geometry``.

    Returns:
        Gradients of the cameras [view, POSE], float64; empty unless ``with_poses``.
    """
    splats = drawn.splats
    views, size, _, blocks, _ = splats.sizes
    items = len(world[3]) // max(size, 1) * blocks
    poses = np.zeros(items * views * POSE * LANES if with_poses else 0, dtype=np.float32)
    run_pass(
        cpu_passes.backward_pass,
        (len(splats.tiles.rectangles), *((0, items) if with_geometry else (items, 0))),
        request.threads,
        splats.sizes,
        world,
        request.cameras,
        request.image_shape,
        _lens(request.settings),
        np.float32(request.settings.max_alpha),
        splats.tiles[1:],
        splats.lists[1],
        splats.entries,
        splats.records,
        splats.slot_starts,
        _scratch(request.threads, 0),
        drawn.pictures,
        drawn.states,
        of_pictures,
        np.empty(len(splats.entries[1]) * cpu_blocks.RECORD, dtype=np.float32),
        with_rotations,
        gradients,
        poses,
    )
    if not with_poses:
        return _NOTHING
    by_item = poses.reshape(items, views, POSE, LANES).astype(np.float64)
    return np.asarray(by_item.sum(axis=(0, 3)))


def measure(
    drawn: Drawn,
    request: Request,
    opacities: Array,
    residuals: Array,
    weights: Array,
    *,
    with_means: bool,
) -> tuple[Array, Array, Array]:
    """Flat curvature and slope by Gaussian, and sums for the means by splat if wanted.

    Args:
        residuals, weights: flat.
    """
    splats = drawn.splats
    views, _, _, blocks, _ = splats.sizes
    images = splats.lists[0].shape[0]
    results = (
        np.empty(len(opacities), dtype=np.float32),
        np.empty(len(opacities), dtype=np.float32),
        np.empty(3 * views * len(opacities) if with_means else 0, dtype=np.float32),
    )
    run_pass(
        cpu_passes.statistics_pass,
        (len(splats.tiles.rectangles), images // views * blocks),
        request.threads,
        splats.sizes,
        opacities,
        request.image_shape,
        np.float32(request.settings.max_alpha),
        splats.tiles.rectangles,
        splats.lists[1],
        splats.entries,
        splats.records,
        splats.slot_starts,
        _scratch(request.threads, 0),
        drawn.states,
        residuals,
        weights,
        with_means,
        np.empty(len(splats.entries[1]) * cpu_blocks.RECORD, dtype=np.float32),
        results,
    )
    return results


def _tiles(chains: int, request: Request) -> tuple[cpu_tiles.Tiles, int]:
    """What is drawn, and how many pixels that is."""
    views, (height, width) = len(request.cameras), request.image_shape
    if request.pixels is not None:
        return cpu_tiles.chosen_pixels(request.pixels, views, height, width), request.pixels.size
    tiles = cpu_tiles.whole_pictures(chains * views, height, width)
    return tiles, chains * views * height * width


def _empty_pictures(pixels: int) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    colors, depths, alphas, lights, stops = (
        np.empty(n * pixels, dtype=np.float32) for n in (3, 1, 1, 1, 1)
    )
    return (colors, depths, alphas), (lights, stops)


def _require_finite(is_bad: Array, chains: int) -> None:
    if is_bad.any():
        raise NotFiniteError(np.asarray(is_bad.reshape(chains, -1).any(axis=1)))


def _lens(settings: RenderSettings) -> tuple[np.float32, np.float32]:
    return np.float32(settings.low_pass), np.float32(settings.near_plane)


def _cutoffs(settings: RenderSettings) -> tuple[np.float32, np.float32, np.float32, bool]:
    """(max_alpha, min_transmittance, one over the threshold, whether that is on alpha)."""
    is_on_alpha = settings.cutoff == "alpha"
    least = settings.min_transmittance if is_on_alpha else NOTHING_LEFT
    over = 1.0 / settings.threshold
    return np.float32(settings.max_alpha), np.float32(least), np.float32(over), is_on_alpha


def _scratch(threads: int, room: int) -> tuple[Array, Array, Array, Array]:
    """Memory of every thread, a row each: (work, sort, rows, lanes)."""
    return (
        _work(threads),
        np.empty((threads, 2 * room + cpu_lists.SORT_COUNTERS), dtype=np.int64),
        np.empty((threads, cpu_blocks.ROWS), dtype=np.int64),
        np.empty((threads, cpu_project.SCRATCH), dtype=np.float32),
    )


def _work(threads: int) -> Array:
    """Scratch of the raster, a row a thread, all starting on pages of their own.

    Where it starts matters: at unlucky places the backward pass was measured 1.5 times slower.
    """
    page = 4096 // 4
    stride = -(-cpu_blocks.WORK // page) * page
    memory = np.empty(threads * stride + page, dtype=np.float32)
    start = (-memory.ctypes.data // 4) % page
    return memory[start : start + threads * stride].reshape(threads, stride)


def pack_cameras(cameras: Cameras, dtype: type = np.float32) -> Array:
    """One row a camera, see ``cpu_geometry.CAMERA``."""
    packed: Array = np.empty((len(cameras), CAMERA), dtype=dtype)
    height, width = cameras.image_shape
    poses, lenses = (
        t.detach().to(torch.float64).contiguous().numpy()
        for t in (cameras.extrinsics, cameras.intrinsics)
    )
    cpu_passes.pack_cameras(poses, lenses, height, width, FRUSTUM_MARGIN, packed)
    return packed
