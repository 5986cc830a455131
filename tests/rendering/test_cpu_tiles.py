"""Rectangles cover what is asked for, and little else."""

import numpy as np
import pytest

from bayes_splat.rendering import cpu_tiles


@pytest.mark.parametrize(("height", "width"), [(1, 1), (32, 64), (33, 70)])
def test_whole_pictures_are_covered_once(height, width):
    tiles = cpu_tiles.whole_pictures(2, height, width)
    seen = np.zeros((2, height, width), dtype=int)
    for image, left, top, right, bottom in tiles.rectangles:
        seen[image, top:bottom, left:right] += 1
    assert (seen == 1).all()
    assert tiles.active.ravel().tolist() == list(range(len(tiles.rectangles)))


def test_chosen_pixels_are_grouped_with_their_places():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 2 * 40 * 50, size=(3, 30))
    tiles = cpu_tiles.chosen_pixels(pixels, 2, 40, 50)
    starts, columns, rows, places = tiles.wanted
    found = np.full(90, -1)
    for tile, (image, left, top, right, bottom) in enumerate(tiles.rectangles):
        inside = slice(starts[tile], starts[tile + 1])
        assert left == columns[inside].min()
        assert right == columns[inside].max() + 1
        assert top == rows[inside].min()
        assert bottom == rows[inside].max() + 1
        found[places[inside]] = (image % 2 * 40 + rows[inside]) * 50 + columns[inside]
        assert (places[inside] // 30 == image // 2).all()
    np.testing.assert_array_equal(found, pixels.ravel())


def test_one_pixel_costs_one_pixel():
    tiles = cpu_tiles.chosen_pixels(np.array([[777]]), 1, 40, 50)
    assert tiles.rectangles.tolist() == [[0, 27, 15, 28, 16]]


def test_no_pixels():
    assert len(cpu_tiles.chosen_pixels(np.zeros((2, 0), dtype=np.int64), 1, 4, 5).rectangles) == 0
