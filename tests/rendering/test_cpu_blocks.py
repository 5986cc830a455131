"""The pieces of the tile loop that pictures hardly show; pictures are tested in test_cpu.py."""

import numpy as np

from bayes_splat.rendering import cpu_blocks
from bayes_splat.rendering import cpu_lanes as lanes
from bayes_splat.rendering.cpu_compile import inner


@inner
def _powers(exponents, out):
    for i in range(0, exponents.shape[0], 16):
        lanes.store(out, i, cpu_blocks.exp2_negative(lanes.load(exponents, i)))


def test_exp2_polynomial():
    """Pictures stay within their bounds with an error fifty times as large where alpha is small."""
    exponents = np.linspace(0.0, 126.0, 160_000, dtype=np.float32)
    near = np.linspace(0.0, 8.0, 160_000, dtype=np.float32)
    for values in (exponents, near):
        out = np.empty_like(values)
        _powers(values, out)
        exact = np.exp2(-values.astype(np.float64))
        assert np.abs(out / exact - 1.0).max() <= 3e-7


def test_no_two_planes_alias():
    """Processors compare the lowest twelve bits of addresses first."""
    offsets = 4 * cpu_blocks.PLANE * np.arange(cpu_blocks.PLANES) % 4096
    gaps = np.diff(np.sort(np.append(offsets, offsets.min() + 4096)))
    assert gaps.min() >= 64


def test_pixels_of_a_block_are_neighbours():
    first = cpu_blocks.plane_index(4, 5)
    block = [cpu_blocks.plane_index(4 + lane % 2, 5 + lane // 2) for lane in range(16)]
    assert block == list(range(first, first + 16))
