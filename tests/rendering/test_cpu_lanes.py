"""Lanes find their places in memory and among each other."""

import numpy as np
import pytest

from bayes_splat.rendering import cpu_lanes as lanes
from bayes_splat.rendering import cpu_simd as simd
from bayes_splat.rendering.cpu_compile import inner

RANDOM = np.random.default_rng(0)


@inner
def _rearrange(a, out):
    rows = (
        lanes.load(a, 0), lanes.load(a, 16), lanes.load(a, 32), lanes.load(a, 48),
        lanes.load(a, 64), lanes.load(a, 80), lanes.load(a, 96), lanes.load(a, 112),
        lanes.load(a, 128), lanes.load(a, 144), lanes.load(a, 160), lanes.load(a, 176),
        lanes.load(a, 192), lanes.load(a, 208), lanes.load(a, 224), lanes.load(a, 240),
    )  # fmt: skip
    columns = lanes.transpose(rows)
    for i in range(16):
        lanes.store(out, 16 * i, columns[i])
    lanes.store(out, 256, lanes.lane_sums(rows))
    lanes.store(out, 272, lanes.lane_sums((rows[3], rows[5], rows[7])))


def test_transpose_and_sums():
    matrix = RANDOM.normal(size=(16, 16)).astype(np.float32)
    out = np.zeros(288, np.float32)
    _rearrange(matrix.ravel(), out)
    np.testing.assert_array_equal(out[:256].reshape(16, 16), matrix.T)
    np.testing.assert_allclose(out[256:272], matrix.sum(1), atol=1e-5)
    np.testing.assert_allclose(out[272:275], matrix[[3, 5, 7]].sum(1), atol=1e-5)
    assert not out[275:].any()


@inner
def _strides(a, rows, count, out):
    lanes.store(out, 0, lanes.load_strided(a, 1, 3, count))
    lanes.store(out, 16, lanes.gather(a, rows, 2))
    lanes.store_strided(out, 32, 2, count, simd.lane_numbers() + 1.0)


@pytest.mark.parametrize("count", [1, 7, 16])
def test_strided_access_stays_within_the_count(count):
    a, rows = np.arange(64, dtype=np.float32), RANDOM.integers(0, 60, size=16)
    out = np.zeros(64, np.float32)
    _strides(a, rows, count, out)
    np.testing.assert_array_equal(out[:16], a[1 + 3 * np.minimum(np.arange(16), count - 1)])
    np.testing.assert_array_equal(out[16:32], a[rows + 2])
    written = np.where(np.arange(16) < count, np.arange(16) + 1.0, 0.0)
    np.testing.assert_array_equal(out[32::2], written)
    assert not out[33::2].any()


@inner
def _shuffle(a, out):
    two = (lanes.load(a, 0), lanes.load(a, 16))
    three = (two[0], two[1], lanes.load(a, 32))
    four = (two[0], two[1], three[2], lanes.load(a, 48))
    for i in range(2):
        lanes.store(out, 16 * i, lanes.deinterleave(two)[i])
        lanes.store(out, 256 + 16 * i, lanes.interleave(two)[i])
    for i in range(3):
        lanes.store(out, 64 + 16 * i, lanes.deinterleave(three)[i])
        lanes.store(out, 320 + 16 * i, lanes.interleave(three)[i])
    for i in range(4):
        lanes.store(out, 128 + 16 * i, lanes.deinterleave(four)[i])
        lanes.store(out, 384 + 16 * i, lanes.interleave(four)[i])


def test_rows_are_taken_apart_and_put_together():
    a, out = np.arange(64, dtype=np.float32), np.zeros(448, np.float32)
    _shuffle(a, out)
    for number, start in ((2, 0), (3, 64), (4, 128)):
        size = 16 * number
        apart = a[:size].reshape(16, number).T.ravel()
        np.testing.assert_array_equal(out[start : start + size], apart)
        together = a[:size].reshape(number, 16).T.ravel()
        np.testing.assert_array_equal(out[256 + start : 256 + start + size], together)


@inner
def _touch(a):
    lanes.prefetch(a, 2)
    lanes.put(a, 3, lanes.fetch(a, 1) + 0.5)


def test_single_elements():
    a = np.arange(5, dtype=np.float32)
    _touch(a)
    assert a.tolist() == [0.0, 1.0, 2.0, 1.5, 4.0]
