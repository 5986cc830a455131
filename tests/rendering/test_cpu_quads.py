import numba
import numpy as np

from bayes_splat.rendering import cpu_quads as quads


@numba.njit
def everything(doubles, singles, results, scalars):
    a, b = quads.load_quad(doubles, 1), quads.load_quad(singles, 2)
    quads.store_quad(results, 0, a)
    quads.store_quad(results, 4, b)
    quads.store_quad(results, 8, quads.multiply_add(a, b, a))
    quads.store_quad(results, 12, quads.multiply_add(2.0, a, b))
    quads.store_quad(results, 16, quads.subtract(a, b))
    quads.store_quad(results, 20, quads.times(3, b))
    quads.store_quad(singles, 8, a)
    scalars[0] = quads.first_lane(a)
    scalars[1] = quads.sum_of_channels(a)


def test_lanes_do_what_numpy_does():
    generator = np.random.default_rng(0)
    doubles, singles = generator.normal(size=8), generator.normal(size=12).astype(np.float32)
    a, b = doubles[1:5].copy(), singles[2:6].astype(float)
    results, scalars = np.empty(24), np.empty(2)
    everything(doubles, singles, results, scalars)
    wanted = [a, b, a * b + a, 2 * a + b, a - b, 3 * b]
    assert np.allclose(results.reshape(6, 4), wanted, rtol=1e-15, atol=1e-15)
    assert (singles[8:] == a.astype(np.float32)).all()
    assert scalars[0] == a[0]
    assert scalars[1] == a[1] + a[2] + a[3]
