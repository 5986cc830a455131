"""Sums of slots; what is in them is tested in test_cpu.py."""

import numpy as np

from bayes_splat.rendering.cpu_blocks import RECORD
from bayes_splat.rendering.cpu_statistics import sum_slots
from bayes_splat.rendering.cpu_threads import run_items


def test_slots_of_every_splat_are_added_up():
    starts = np.array([0, 2, 2, 5], dtype=np.int32)
    slots = np.arange(5 * RECORD, dtype=np.float32).reshape(5, RECORD)
    sums = np.empty(3 * RECORD, dtype=np.float32)
    run_items(sum_slots, 1, 1, starts, slots.ravel(), sums)
    expected = [slots[:2].sum(0), np.zeros(RECORD), slots[2:].sum(0)]
    np.testing.assert_array_equal(sums.reshape(3, RECORD), expected)
