"""Rows of one, three or four numbers, whole groups of sixteen and the rest of one."""

import numpy as np
import pytest

from bayes_splat.rendering import cpu_rows as rows
from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_lanes import store


@inner
def _load(one, three, four, matrix, count, out):
    store(out, 0, rows.load1(one, 1, count))
    parts = rows.load3(three, 3, count)
    more = rows.load4(four, 4, count)
    columns = rows.load_columns(matrix, 0)
    for i in range(3):
        store(out, 16 + 16 * i, parts[i])
    for i in range(4):
        store(out, 64 + 16 * i, more[i])
    for i in range(16):
        store(out, 128 + 16 * i, columns[i])


@inner
def _store(one, three, four, count, out1, out3, out4):
    rows.store1(out1, 1, count, rows.load1(one, 1, count))
    rows.store3(out3, 3, count, rows.load3(three, 3, count))
    rows.store4(out4, 4, count, rows.load4(four, 4, count))


@pytest.mark.parametrize("count", [1, 7, 16])
def test_rows_to_lanes_and_back(count):
    random = np.random.default_rng(count)
    # No longer than what may be read.
    tables = [random.normal(size=(1 + count, n)).astype(np.float32) for n in (1, 3, 4)]
    matrix = random.normal(size=(16, 16)).astype(np.float32)
    flat = [t.ravel() for t in tables]
    out = np.zeros((24, 16), np.float32)
    _load(*flat, matrix.ravel(), count, out.ravel())
    repeated = 1 + np.minimum(np.arange(16), count - 1)
    expected = np.concatenate([t[repeated].T for t in tables])
    np.testing.assert_array_equal(out[:8], expected)
    np.testing.assert_array_equal(out[8:], matrix.T)
    written = [np.full((19, n), -1.0, np.float32) for n in (1, 3, 4)]
    _store(*flat, count, *(w.ravel() for w in written))
    for mine, table in zip(written, tables, strict=True):
        np.testing.assert_array_equal(mine[1 : 1 + count], table[1:])
        assert (mine[0] == -1.0).all()
        assert (mine[1 + count :] == -1.0).all()
