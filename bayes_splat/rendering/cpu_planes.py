"""Pictures into the planes of a tile and back.

Two rows of a plane are interleaved (see ``cpu_blocks``). Sixteen columns of two rows are moved at
once by shuffles; what is left over at the edges of a picture goes one number at a time.
"""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_blocks import PLANE, plane_index
from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_lanes import (
    deinterleave,
    interleave,
    load,
    load_strided,
    store,
    store_strided,
)
from bayes_splat.rendering.cpu_simd import LANES


@inner
def tile_box(tiles, tile):
    """Image, left, top, right, bottom; ends excluded."""
    return tiles[tile, 0], tiles[tile, 1], tiles[tile, 2], tiles[tile, 3], tiles[tile, 4]


@inner
def fill_rows(work, plane, value, left, top, right, bottom):
    """Set the pixels of a tile in one plane."""
    for row in range(bottom - top):
        for column in range(0, right - left, LANES):
            size = min(LANES, right - left - column)
            store_strided(work, plane * PLANE + plane_index(row, column), 2, size, value)


@inner
def from_picture(work, plane, picture, start, width, height, step):
    """Read a tile of a picture of one number a pixel.

    Args:
        start: its first pixel.
        width, height: of the tile.
        step: from row to row of the picture.
    """
    for row in range(0, height, 2):
        for column in range(0, width, LANES):
            i, pixel = plane * PLANE + plane_index(row, column), start + row * step + column
            if row + 1 < height and column + LANES <= width:
                pair = interleave((load(picture, pixel), load(picture, pixel + step)))
                store(work, i, pair[0])
                store(work, i + LANES, pair[1])
            else:
                size = min(LANES, width - column)
                for k in range(min(2, height - row)):
                    values = load_strided(picture, pixel + k * step, 1, size)
                    store_strided(work, i + k, 2, size, values)


@inner
def from_colors(work, plane, picture, start, width, height, step):
    """Like :func:`from_picture` for three numbers a pixel and three planes."""
    for row in range(0, height, 2):
        for column in range(0, width, LANES):
            i, pixel = plane * PLANE + plane_index(row, column), 3 * (start + row * step + column)
            if row + 1 < height and column + LANES <= width:
                upper, lower = _load_colors(picture, pixel), _load_colors(picture, pixel + 3 * step)
                for channel in range(3):
                    pair = interleave((upper[channel], lower[channel]))
                    store(work, i + channel * PLANE, pair[0])
                    store(work, i + channel * PLANE + LANES, pair[1])
            else:
                size = min(LANES, width - column)
                for k in range(min(2, height - row)):
                    for channel in range(3):
                        values = load_strided(picture, pixel + 3 * k * step + channel, 3, size)
                        store_strided(work, i + channel * PLANE + k, 2, size, values)


@inner
def _load_colors(picture, i):
    return deinterleave((load(picture, i), load(picture, i + LANES), load(picture, i + 2 * LANES)))


@inner
def to_picture(work, plane, picture, start, width, height, step):
    """The inverse of :func:`from_picture`."""
    for row in range(0, height, 2):
        for column in range(0, width, LANES):
            i, pixel = plane * PLANE + plane_index(row, column), start + row * step + column
            if row + 1 < height and column + LANES <= width:
                pair = deinterleave((load(work, i), load(work, i + LANES)))
                store(picture, pixel, pair[0])
                store(picture, pixel + step, pair[1])
            else:
                size = min(LANES, width - column)
                for k in range(min(2, height - row)):
                    values = load_strided(work, i + k, 2, size)
                    store_strided(picture, pixel + k * step, 1, size, values)


@inner
def to_colors(work, plane, picture, start, width, height, step):
    """The inverse of :func:`from_colors`."""
    for row in range(0, height, 2):
        for column in range(0, width, LANES):
            i, pixel = plane * PLANE + plane_index(row, column), 3 * (start + row * step + column)
            if row + 1 < height and column + LANES <= width:
                red = deinterleave((load(work, i), load(work, i + LANES)))
                j = i + PLANE
                green = deinterleave((load(work, j), load(work, j + LANES)))
                j = i + 2 * PLANE
                blue = deinterleave((load(work, j), load(work, j + LANES)))
                for k in range(2):
                    parts = interleave((red[k], green[k], blue[k]))
                    at = pixel + 3 * k * step
                    store(picture, at, parts[0])
                    store(picture, at + LANES, parts[1])
                    store(picture, at + 2 * LANES, parts[2])
            else:
                size = min(LANES, width - column)
                for k in range(min(2, height - row)):
                    for channel in range(3):
                        values = load_strided(work, i + channel * PLANE + k, 2, size)
                        store_strided(picture, pixel + 3 * k * step + channel, 3, size, values)
