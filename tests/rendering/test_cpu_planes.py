"""Tiles of pictures go into planes and come back, whatever their size."""

import numpy as np
import pytest

from bayes_splat.rendering import cpu_planes as planes
from bayes_splat.rendering.cpu_blocks import PLANE, ROW, WORK
from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_simd import broadcast


@inner
def _in(work, gray, colors, start, width, height, step):
    planes.from_picture(work, 0, gray, start, width, height, step)
    planes.from_colors(work, 2, colors, start, width, height, step)
    planes.fill_rows(work, 6, broadcast(2.0), 0, 0, width, height)


@inner
def _out(work, gray, colors, start, width, height, step):
    planes.to_picture(work, 0, gray, start, width, height, step)
    planes.to_colors(work, 2, colors, start, width, height, step)


def by_row_and_column(plane):
    """Undo the interleaving of row pairs."""
    return plane[: 32 * ROW].reshape(16, ROW, 2).transpose(0, 2, 1).reshape(32, ROW)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (1, 1), (2, 16), (5, 17), (31, 15)])
def test_in_and_out(height, width):
    random = np.random.default_rng(0)
    gray = random.normal(size=(40, 50)).astype(np.float32)
    colors = random.normal(size=(40, 50, 3)).astype(np.float32)
    box = slice(3, 3 + height), slice(7, 7 + width)
    work = np.zeros(WORK, np.float32)
    place = (3 * 50 + 7, width, height, 50)
    _in(work, gray.ravel(), colors.ravel(), *place)
    seen = [by_row_and_column(work[i * PLANE : (i + 1) * PLANE]) for i in range(7)]
    np.testing.assert_array_equal(seen[0][:height, :width], gray[box])
    for channel in range(3):
        np.testing.assert_array_equal(seen[2 + channel][:height, :width], colors[box][..., channel])
    assert (seen[6][:height, :width] == 2.0).all()
    for plane in (seen[0], *seen[2:5], seen[6]):
        assert not plane[height:].any()
        assert not plane[:, width:].any()
    new_gray, new_colors = np.zeros_like(gray), np.zeros_like(colors)
    _out(work, new_gray.ravel(), new_colors.ravel(), *place)
    np.testing.assert_array_equal(new_gray[box], gray[box])
    np.testing.assert_array_equal(new_colors[box], colors[box])
    new_gray[box], new_colors[box] = 0.0, 0.0
    assert not new_gray.any()
    assert not new_colors.any()
