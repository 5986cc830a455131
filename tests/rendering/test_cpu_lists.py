"""Entries end up in their tile, near first, ties by index."""

import numpy as np
import pytest
from numba import njit

from bayes_splat.rendering import cpu_lists
from bayes_splat.rendering.cpu_blocks import RECORD
from bayes_splat.rendering.cpu_lanes import store


@pytest.mark.parametrize("count", [0, 1, 2, 17, 700])
@pytest.mark.parametrize("values", [2, 300, 2**31])
def test_sort_is_stable(count, values):
    random = np.random.default_rng(count)
    keys = random.integers(0, values, size=count + 4).astype(np.uint32)
    splats, slots = (random.permutation(count + 4).astype(np.int32) for _ in range(2))
    expected = np.argsort(keys[2 : 2 + count], kind="stable") + 2
    wanted = splats[expected], slots[expected]
    ends = splats[[0, 1, -2, -1]]
    scratch = np.zeros(2 * count + cpu_lists.SORT_COUNTERS, dtype=np.int64)
    cpu_lists.sort_entries((keys, splats, slots), 2, 2 + count, scratch)
    np.testing.assert_array_equal(splats[2 : 2 + count], wanted[0])
    np.testing.assert_array_equal(slots[2 : 2 + count], wanted[1])
    np.testing.assert_array_equal(splats[[0, 1, -2, -1]], ends)


def test_bits_order_as_the_numbers_do():
    values = [-np.inf, -3.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, 2.0, 1e30, np.inf, np.nan, -np.nan]
    bits = np.array(values, dtype=np.float32).view(np.int32)
    keys = [cpu_lists.ascending_bits(b) for b in bits]
    assert keys == sorted(keys)
    assert keys[3] == keys[4]
    assert len(set(keys)) == len(keys) - 2


@njit
def _place(counts, active, ranges, slots):  # a phase cannot be called from Python
    cpu_lists.place_entries(counts, active, ranges, slots)


def test_places_follow_images_tiles_and_blocks():
    counts = np.array([[[2, 0, 1], [1, 3, 0]], [[0, 1, 0], [0, 0, 4]]], dtype=np.int32)
    active = np.array([[[0, 1, 2]], [[-1, 3, 4]]], dtype=np.int32)
    ranges, slots = np.zeros((5, 2), dtype=np.int64), np.zeros(5, dtype=np.int64)
    _place(counts, active, ranges, slots)
    assert ranges.tolist() == [[0, 3], [3, 6], [6, 7], [7, 8], [8, 12]]
    assert slots.tolist() == [0, 3, 7, 8, 12]
    assert counts[0, 1].tolist() == [2, 3, 7]


def test_slots_of_a_splat_are_added_up():
    starts = np.array([0, 2, 2, 5], dtype=np.int32)
    slots = np.arange(5 * RECORD, dtype=np.float32).reshape(5, RECORD)
    sums = np.empty((3, RECORD), dtype=np.float32)
    _sum(starts, slots.ravel(), sums.ravel())
    expected = [slots[:2].sum(0), np.zeros(RECORD), slots[2:].sum(0)]
    np.testing.assert_array_equal(sums, expected)


@njit
def _sum(starts, slots, sums):
    for splat in range(3):
        store(sums, RECORD * splat, cpu_lists.sum_of_slots(starts, slots, splat))
