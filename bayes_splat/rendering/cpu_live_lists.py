"""What covers every pixel, near first, in lists that stay right while Gaussians move, compiled.

Before a sweep every Gaussian has two *places*: where it is (0) and where it might go (1). Both are
projected and sorted beforehand, all at once: in each view the 2 N places get *ranks*, near first,
ties by Gaussian. A pixel's list holds ranks in ascending order with the alphas at the pixel, so to
keep the depth order is to compare whole numbers, and paint lies in memory as lists are read.

A list has room for every place that covers its pixel, taken or not: no move can overflow it. It
ends with the rank ``END``.
"""

# mypy: disable-error-code="no-untyped-def"
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.rendering import cpu_pixel_lists
from bayes_splat.rendering.cpu_compile import inner, leaf
from bayes_splat.rendering.cpu_lanes import fetch, load, put, store
from bayes_splat.rendering.cpu_pixel_lists import (
    ELLIPSE,
    HALF_LOG2_E,
    Array,
    exp2_negative,
    row_span,
)
from bayes_splat.rendering.cpu_quads import load_quad, multiply_add
from bayes_splat.rendering.cpu_simd import LANES
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians

END = np.iinfo(np.int32).max
"""The rank behind all others."""

DARK = 1e-7
"""Light at which a walk ends. What it leaves out changes a colour by less than half a unit in the
last place of the engine's float32 pictures, so it is rounding, not another target."""


class Places(NamedTuple):
    """Both places of every Gaussian as every view sees them, and the order of all.

    Attributes:
        shapes: [chain, place, view, gaussian, ELLIPSE], float64.
        order: [chain, view, 2 * gaussian], int32: 2 * gaussian + place by rank.
        colors: [chain, place, view, gaussian, 3] or, of colours that are the same from everywhere
            and at both places, [chain, 1, 1, gaussian, 3]; float32.
        rim: twice the exponent at which the falloff is cut off.
        image_shape: height and width.
        capacity: of all lists of a chain together, ends included, at most.
        most: pixels that a Gaussian covers in all views together, at most.
    """

    shapes: Array
    order: Array
    colors: Array
    rim: float
    image_shape: tuple[int, int]
    capacity: int
    most: int


class Lists(NamedTuple):
    """A thread's lists of one chain; pixels are flat over (view, height, width).

    Attributes:
        starts: [pixel + 1], int64, where lists begin.
        ends: [pixel + 1], int64, scratch of the building.
        ranks, alphas: of the entries, int32 and float32.
        rank: [view, 2 * gaussian], int32: the rank of a place.
        paint: flat [view * 2 * gaussian * 4], float32: by rank, 1 and the three channels.
        pixels, falloffs: [place, covered pixel], scratch: what a Gaussian covers, int32, float32.
    """

    starts: Array
    ends: Array
    ranks: Array
    alphas: Array
    rank: Array
    paint: Array
    pixels: Array
    falloffs: Array


def find_places(
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
    sort_depths: Float[Tensor, "row view gaussian"] | None,
    threads: int,
) -> Places:
    """Project and sort.

    Args:
        gaussians: two rows a chain, those at place 0 and those at place 1; opacities are not
            looked at.
        sort_depths: keys of these rows, see ``Renderer.render``.

    Raises:
        ValueError: as ``cpu_pixel_lists.find_ellipses``.
    """
    (rows, size), views = gaussians.opacities.shape, len(cameras)
    ellipses = cpu_pixel_lists.find_ellipses(gaussians, cameras, settings, threads)
    keys = cpu_pixel_lists.sort_keys(ellipses, sort_depths).reshape(rows // 2, 2, views, size)
    side_by_side = keys.transpose(0, 2, 3, 1).reshape(-1, 2 * size)
    order = cpu_pixel_lists.sort_rows(side_by_side, threads).reshape(rows // 2, views, 2 * size)
    bounds = ellipses.bounds.reshape(rows // 2, 2, views, size).astype(np.int64)
    height, width = cameras.image_shape
    return Places(
        shapes=ellipses.shapes.reshape(rows // 2, 2, views, size, ELLIPSE),
        order=order,
        colors=_colors(gaussians, cameras, settings.least_color),
        rim=ellipses.rim,
        image_shape=(height, width),
        capacity=int(bounds.sum((1, 2, 3)).max(initial=0)) + views * height * width,
        most=int(bounds.sum(2).max(initial=0)),
    )


def _colors(gaussians: Gaussians, cameras: Cameras, least: float) -> Array:
    """See ``Places``."""
    rows, size = gaussians.opacities.shape
    if gaussians.harmonics.shape[-1] == 1:
        plain = harmonics.plain_colors(gaussians.harmonics[::2], least)
        return np.asarray(plain.float().contiguous().numpy()).reshape(rows // 2, 1, 1, size, 3)
    offset = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
    towards = torch.nn.functional.normalize(offset, dim=-1)
    colors = harmonics.to_colors(gaussians.harmonics[:, None], towards, least)
    return np.asarray(colors.float().contiguous().numpy()).reshape(
        rows // 2, 2, len(cameras), size, 3
    )


def make_lists(places: Places, threads: int) -> Lists:
    """Room for the lists of as many chains as there are threads: a row each."""
    _, _, views, size, _ = places.shapes.shape
    pixels, covered = views * places.image_shape[0] * places.image_shape[1], places.most + LANES
    return Lists(
        starts=np.empty((threads, pixels + 1), dtype=np.int64),
        ends=np.empty((threads, pixels + 1), dtype=np.int64),
        ranks=np.empty((threads, places.capacity), dtype=np.int32),
        alphas=np.empty((threads, places.capacity), dtype=np.float32),
        rank=np.empty((threads, views, 2 * size), dtype=np.int32),
        paint=np.empty((threads, views * 2 * size * 4), dtype=np.float32),
        pixels=np.empty((threads, 2, covered), dtype=np.int32),
        falloffs=np.empty((threads, 2, covered), dtype=np.float32),
    )


def photograph_quads(observed: Float[Tensor, "chain pixel 3"]) -> Array:
    """Rows of 0 and three channels, [chain, 4 * pixel], float64."""
    quads = np.zeros((*observed.shape[:-1], 4))
    quads[..., 1:] = observed.detach().numpy()
    return quads.reshape(len(quads), -1)


def edge_arrays(
    neighbours: tuple[float, Tensor, Tensor, tuple[int, int]],
) -> tuple[float, Array, Array, tuple[int, int]]:
    """Strength, weights to the right and below, and image shape as kernels take them."""
    strength, *weights, (height, width) = neighbours
    right, below = (w.detach().double().contiguous().numpy() for w in weights)
    return float(strength), right, below, (int(height), int(width))


@inner
def lists_of(lists, thread):
    """The row of one thread."""
    return Lists(
        lists.starts[thread],
        lists.ends[thread],
        lists.ranks[thread],
        lists.alphas[thread],
        lists.rank[thread],
        lists.paint[thread],
        lists.pixels[thread],
        lists.falloffs[thread],
    )


# ----- what one Gaussian covers -----


@leaf
def cover(shape, rim, width, offset, pixels, exponents, count):
    """Append the pixels of an ellipse, ascending, and their exponents of two; the new count."""
    of_x, of_y, half_rim = HALF_LOG2_E * shape[3], HALF_LOG2_E * shape[4], HALF_LOG2_E * rim
    for row in range(int(shape[5]), int(shape[6]) + 1):
        left, right, dy, middle = row_span(shape, row, rim, width)
        of_row, pixel = of_y * dy * dy, offset + row * width
        for column in range(left, right + 1):
            dx = column + 0.5 - middle
            exponent = of_row + of_x * dx * dx
            if exponent <= half_rim:
                put(pixels, count, pixel + column)
                put(exponents, count, exponent)
                count += 1
    return count


@leaf
def make_room(shape, rim, width, offset, room):
    """Add one to every pixel that an ellipse may cover: its rows from end to end."""
    for row in range(int(shape[5]), int(shape[6]) + 1):
        left, right, _, _ = row_span(shape, row, rim, width)
        for pixel in range(offset + row * width + left, offset + row * width + right + 1):
            put(room, pixel, fetch(room, pixel) + 1)


@leaf
def to_falloffs(exponents, count):
    """Exponents of two, so many, to falloffs; what lies behind them is scratch."""
    for i in range(0, count, LANES):
        store(exponents, i, exp2_negative(load(exponents, i)))


# ----- all lists of a chain -----


@leaf
def build_lists(shapes, order, colors, rim, image_shape, opacity, may_move, lists):
    """Lists of the Gaussians at place 0, with room for those that may come to place 1.

    Those of opacity 0 are in no list.
    ``lists`` is one thread's; shapes [place, view, gaussian, ...], order [view, 2 * gaussian].
    """
    height, width = image_shape
    views, size = shapes.shape[1], shapes.shape[2]
    starts, ranks, alphas = lists.starts, lists.ranks, lists.alphas
    pixels, falloffs = lists.pixels[0], lists.falloffs[0]
    starts[:] = 1  # the end of a list is an entry too
    for view in range(views):
        for g in range(size):
            make_room(shapes[0, view, g], rim, width, view * height * width, starts)
            if may_move[g]:
                make_room(shapes[1, view, g], rim, width, view * height * width, starts)
    total = 0
    for pixel in range(starts.shape[0]):
        room, starts[pixel] = starts[pixel], total
        total += room
        lists.ends[pixel] = starts[pixel]
    for view in range(views):
        for rank in range(2 * size):
            slot = order[view, rank]
            g, place = slot >> 1, slot & 1
            lists.rank[view, slot] = rank
            color = colors[place % colors.shape[0], view % colors.shape[1], g]
            at = 4 * (view * 2 * size + rank)
            lists.paint[at] = 1.0
            for channel in range(3):
                lists.paint[at + 1 + channel] = color[channel]
            if place == 1 or opacity[g] == 0.0:
                continue
            shape = shapes[0, view, g]
            count = cover(shape, rim, width, view * height * width, pixels, falloffs, 0)
            to_falloffs(falloffs, count)
            for i in range(count):
                pixel = fetch(pixels, i)
                at = fetch(lists.ends, pixel)
                put(ranks, at, rank)
                put(alphas, at, opacity[g] * fetch(falloffs, i))
                put(lists.ends, pixel, at + 1)
    for pixel in range(starts.shape[0] - 1):
        ranks[lists.ends[pixel]] = END


# ----- one list -----


@leaf
def remove(ranks, alphas, at):
    """Take an entry out."""
    while True:
        rank = fetch(ranks, at + 1)
        put(ranks, at, rank)
        put(alphas, at, fetch(alphas, at + 1))
        if rank == END:
            break
        at += 1


@leaf
def insert(ranks, alphas, at, rank, alpha):
    """Put an entry in front of another."""
    while rank != END:
        next_rank, next_alpha = fetch(ranks, at), fetch(alphas, at)
        put(ranks, at, rank)
        put(alphas, at, alpha)
        rank, alpha = next_rank, next_alpha
        at += 1
    put(ranks, at, rank)


@leaf
def move(ranks, alphas, at, target, rank, alpha):
    """Take an entry out and put another in front of what is at ``target`` now."""
    while target > at + 1:
        put(ranks, at, fetch(ranks, at + 1))
        put(alphas, at, fetch(alphas, at + 1))
        at += 1
    while target < at:
        put(ranks, at, fetch(ranks, at - 1))
        put(alphas, at, fetch(alphas, at - 1))
        at -= 1
    put(ranks, at, rank)
    put(alphas, at, alpha)


@leaf
def composite(ranks, alphas, paint, of_view, at, bound, light, rest):
    """Walk over the entries in front of the rank ``bound``, or until the light is gone.

    Args:
        of_view: where the paint of the view starts.
        at: where the walk begins.
        light: transmittance there.
        rest: quad of what the photograph has more than what is composited so far.

    Returns:
        The entry at which the walk ended, light and rest there.
    """
    while light >= DARK:
        rank = fetch(ranks, at)
        if rank >= bound:
            break
        alpha = np.float64(fetch(alphas, at))
        rest = multiply_add(-(light * alpha), load_quad(paint, of_view + 4 * rank), rest)
        light *= 1.0 - alpha
        at += 1
    return at, light, rest


@leaf
def walk(ranks, alphas, paint, of_view, at, bound, light, rest):
    """The same over all entries in front of ``bound``, however little light is left."""
    while True:
        rank = fetch(ranks, at)
        if rank >= bound:
            return at, light, rest
        alpha = np.float64(fetch(alphas, at))
        rest = multiply_add(-(light * alpha), load_quad(paint, of_view + 4 * rank), rest)
        light *= 1.0 - alpha
        at += 1
