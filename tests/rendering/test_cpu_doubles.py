import numba
import numpy as np

from bayes_splat.rendering import cpu_doubles as lanes


@numba.njit
def everything(a, doubles, singles, integers):
    x = lanes.places() * a - 2.0
    lanes.store_doubles(doubles, 1, x)
    lanes.store_doubles(doubles, 9, lanes.fused(x, 3.0, lanes.places()))
    lanes.store_doubles(singles, 0, x / 3.0)
    lanes.store_doubles(integers, 2, -x)


def test_lanes_do_what_numpy_does():
    doubles, singles = np.zeros(17), np.zeros(8, dtype=np.float32)
    integers = np.zeros(11, dtype=np.int32)
    everything(1.75, doubles, singles, integers)
    places = np.arange(8.0)
    x = 1.75 * places - 2.0
    assert (doubles[1:].reshape(2, 8) == [x, 3.0 * x + places]).all()
    assert (singles == (x / 3.0).astype(np.float32)).all()
    assert (integers == [0, 0, *(-x).astype(int), 0]).all()


@numba.njit
def stretch(first, last):
    inside = (lanes.places() >= first) & (lanes.places() <= last)
    return lanes.first_true(inside), lanes.count_lanes(inside)


def test_a_stretch_is_found_and_counted():
    for first in range(9):
        for last in range(first - 1, 8):
            start, count = stretch(float(first), float(last))
            assert count == last - first + 1
            assert start == (first if count else 8)
