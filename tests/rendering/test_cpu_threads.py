"""Every item is done once, whoever does it, and a phase begins when the one before is done."""

import threading

import numpy as np
import pytest

from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_threads import (
    finish_item,
    num_items,
    run_pass,
    take_item,
    wait_for_items,
)


@inner
def _mark(progress, thread, done, lasts):
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        done[item] += 1
        if finish_item(progress, 0):
            lasts[0] += 1
    wait_for_items(progress, 0)


@inner
def _add_up(progress, thread, numbers, totals):
    """The second phase needs all of the first."""
    while True:
        item = take_item(progress, 0)
        if item >= num_items(progress, 0):
            break
        for _ in range(1000 * (item % 7)):  # items of different lengths
            numbers[item] += 1.0
        numbers[item] = item
        finish_item(progress, 0)
    wait_for_items(progress, 0)
    while True:
        item = take_item(progress, 1)
        if item >= num_items(progress, 1):
            break
        totals[item] = numbers.sum()
        finish_item(progress, 1)
    wait_for_items(progress, 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("items", [0, 1, 3, 5000])
def test_every_item_once(threads, items):
    done, lasts = np.zeros(items, dtype=np.int64), np.zeros(1, dtype=np.int64)
    run_pass(_mark, (items,), threads, done, lasts)
    assert (done == 1).all()
    assert lasts[0] == min(items, 1), "one item is the last"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_phases_wait_for_each_other(threads):
    for _ in range(50):
        numbers, totals = np.zeros(100), np.zeros(100)
        run_pass(_add_up, (100, 100), threads, numbers, totals)
        assert (totals == 4950.0).all()


def test_a_late_helper_finds_nothing_to_do():
    """Nobody waits for threads, only for items; what comes late must not write."""
    seen = []
    is_passed, is_late_done = threading.Event(), threading.Event()

    def kernel(progress, thread, done):
        if thread:
            is_passed.wait(60.0)
        before = done.copy()
        _mark(progress, thread, done, np.zeros(1, dtype=np.int64))
        seen.append((thread, (done != before).sum()))
        if thread:
            is_late_done.set()

    done = np.zeros(10, dtype=np.int64)
    run_pass(kernel, (10,), 2, done)
    assert (done == 1).all()
    is_passed.set()
    assert is_late_done.wait(60.0)
    assert seen == [(0, 10), (1, 0)]
    assert (done == 1).all()
