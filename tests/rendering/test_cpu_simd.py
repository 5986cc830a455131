"""Sixteen lanes do what NumPy does."""

import numpy as np

from bayes_splat.rendering import cpu_lanes as lanes
from bayes_splat.rendering import cpu_simd as simd
from bayes_splat.rendering.cpu_compile import inner

RANDOM = np.random.default_rng(0)


def numbers():
    return RANDOM.normal(size=16).astype(np.float32)


@inner
def _arithmetic(a, b, c, out):
    x, y, z = lanes.load(a, 0), lanes.load(b, 0), lanes.load(c, 0)
    lanes.store(out, 0, x + y * z - 2.0)
    lanes.store(out, 16, simd.fma(x, 3.0, z) / y)
    lanes.store(out, 32, simd.select((x <= y) & (z > 0.0), simd.minimum(x, z), -y))
    lanes.store(out, 48, simd.square_root(simd.magnitude(x)))
    lanes.store(out, 64, simd.floor(x) + simd.ceil(y))
    lanes.store(out, 80, simd.divide(x, y))
    lanes.store(out, 96, simd.select((x < y) | (x >= z), simd.maximum(x, 0.5), 1.0))


def test_arithmetic():
    a, b, c = numbers(), numbers(), numbers()
    out = np.zeros(112, np.float32)
    _arithmetic(a, b, c, out)
    expected = [
        a + b * c - np.float32(2.0),
        (a * 3.0 + c) / b,
        np.where((a <= b) & (c > 0), np.minimum(a, c), -b),
        np.sqrt(np.abs(a)),
        np.floor(a) + np.ceil(b),
        a / b,
        np.where((a < b) | (a >= c), np.maximum(a, np.float32(0.5)), 1.0),
    ]
    np.testing.assert_allclose(out.reshape(7, 16), expected, rtol=1e-6)


@inner
def _blocks(out):
    lanes.store(out, 0, simd.lane_columns())
    lanes.store(out, 16, simd.lane_rows())
    return simd.any_lane(simd.lane_rows() > 0.5), simd.any_lane(simd.lane_rows() > 1.5)


def test_lanes_are_a_block_of_eight_columns_and_two_rows():
    out = np.zeros(32, np.float32)
    assert _blocks(out) == (True, False)
    assert {(x, y) for x, y in out.reshape(2, 16).T} == {(x, y) for x in range(8) for y in (0, 1)}


@inner
def _split(a, out):
    x = lanes.load(a, 0)
    lanes.store(out, 0, simd.mantissa_of(x))
    lanes.store(out, 16, simd.exponent_of(x))


def test_mantissa_and_exponent():
    a, out = (10.0 ** RANDOM.uniform(-30, 30, size=16)).astype(np.float32), np.zeros(32, np.float32)
    _split(a, out)
    mantissa, exponent = np.frexp(a)
    np.testing.assert_array_equal(out[:16], 2.0 * mantissa)
    np.testing.assert_array_equal(out[16:], exponent - 1)
