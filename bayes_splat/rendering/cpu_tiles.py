"""Which rectangles of which pictures are drawn: all of them, or those that hold chosen pixels."""

# mypy: disable-error-code="no-untyped-def"
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from bayes_splat.rendering.cpu_blocks import TILE
from bayes_splat.rendering.cpu_compile import inner, kernel

CHOSEN_TILE = 16
"""Tile size for chosen pixels: small, so that the cost follows their number."""


class Tiles(NamedTuple):
    """Rectangles to draw; an image is a (chain, view).

    Attributes:
        size: width and height of the grid's cells, a power of two.
        active: number of the rectangle by [image, row, column] of the grid, -1 where none.
        rectangles: [tile, (image, left, top, right, bottom)], pixels, ends excluded.
        wanted: (starts, columns, rows, places) of the chosen pixels, grouped by rectangle, and
            where each goes; starts is empty for whole pictures.
    """

    size: int
    active: np.ndarray[Any, Any]
    rectangles: np.ndarray[Any, Any]
    wanted: tuple[np.ndarray[Any, Any], ...]


@lru_cache(maxsize=16)
def whole_pictures(images: int, height: int, width: int) -> Tiles:
    """Every pixel of every image."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    image, row, column = (
        axis.ravel() for axis in np.indices((images, rows, columns), dtype=np.int32)
    )
    left, top = TILE * column, TILE * row
    right, bottom = np.minimum(left + TILE, width), np.minimum(top + TILE, height)
    nothing = np.zeros(0, dtype=np.int32)
    return Tiles(
        size=TILE,
        active=np.arange(image.size, dtype=np.int32).reshape(images, rows, columns),
        rectangles=np.stack([image, left, top, right, bottom], axis=1).astype(np.int32),
        wanted=(nothing, nothing, nothing, nothing),
    )


def chosen_pixels(pixels: np.ndarray[Any, Any], views: int, height: int, width: int) -> Tiles:
    """Rectangles around the chosen pixels of every chain.

    Args:
        pixels: int64 [chain, pixel], flat indices into (view, height, width).

    Raises:
        ValueError: an index is outside the pictures.
    """
    chains, number = pixels.shape
    if number and not 0 <= pixels.min() <= pixels.max() < views * height * width:
        raise ValueError(
            f"pixels holds indices from {pixels.min()} to {pixels.max()}; "
            f"they must lie in 0..{views * height * width - 1}"
        )
    rows, columns = -(-height // CHOSEN_TILE), -(-width // CHOSEN_TILE)
    active = np.full((chains * views, rows, columns), -1, dtype=np.int32)
    rectangles = np.empty((min(active.size, pixels.size), 5), dtype=np.int32)
    starts = np.zeros(len(rectangles) + 1, dtype=np.int32)
    wanted = tuple(np.empty(pixels.size, dtype=np.int32) for _ in range(3))
    count = _group(pixels, views, height, width, active, rectangles, starts, *wanted)
    return Tiles(CHOSEN_TILE, active, rectangles[:count], (starts[: count + 1], *wanted))


@inner
def _place(pixel, height, width):
    inside = pixel % (height * width)
    return pixel // (height * width), inside // width, inside % width


@kernel
def _group(pixels, views, height, width, active, rectangles, starts, columns, rows, places):
    """Counting sort of the pixels by rectangle; returns how many rectangles there are."""
    chains, number = pixels.shape
    count = 0
    for chain in range(chains):
        for k in range(number):
            view, y, x = _place(pixels[chain, k], height, width)
            image, row, column = chain * views + view, y // CHOSEN_TILE, x // CHOSEN_TILE
            tile = active[image, row, column]
            if tile < 0:
                tile = count
                count += 1
                active[image, row, column] = tile
                rectangles[tile, 0] = image
                rectangles[tile, 1], rectangles[tile, 2] = x, y
                rectangles[tile, 3], rectangles[tile, 4] = x + 1, y + 1
            rectangles[tile, 1] = min(rectangles[tile, 1], x)
            rectangles[tile, 2] = min(rectangles[tile, 2], y)
            rectangles[tile, 3] = max(rectangles[tile, 3], x + 1)
            rectangles[tile, 4] = max(rectangles[tile, 4], y + 1)
            starts[tile + 1] += 1
    for tile in range(count):
        starts[tile + 1] += starts[tile]
    free = starts.copy()
    for chain in range(chains):
        for k in range(number):
            view, y, x = _place(pixels[chain, k], height, width)
            tile = active[chain * views + view, y // CHOSEN_TILE, x // CHOSEN_TILE]
            at = free[tile]
            free[tile] = at + 1
            columns[at], rows[at], places[at] = x, y, chain * number + k
    return count
