"""Every item is done once, whoever does it."""

import numpy as np
import pytest

from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_threads import run_items, take_number


@inner
def _mark(counter, num_items, thread, done):
    while True:
        item = take_number(counter)
        if item >= num_items:
            return
        done[item] += 1


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("items", [0, 1, 3, 5000])
def test_every_item_once(threads, items):
    done = np.zeros(items, dtype=np.int64)
    run_items(_mark, items, threads, done)
    assert (done == 1).all()


def test_errors_of_helpers_are_raised():
    def fail(counter, num_items, thread):
        if thread:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run_items(fail, 2, 2)
