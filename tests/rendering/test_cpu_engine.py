"""What the engine makes of cameras; the rest is tested in test_cpu.py."""

import numpy as np

from bayes_splat.rendering import cpu_blocks, cpu_engine
from tests import helpers_engines


def test_packed_cameras():
    cameras = helpers_engines.cameras_in_a_row(3, 20, 30)
    packed = cpu_engine.pack_cameras(cameras)
    rotation, centre, focal, middle, limits = np.split(packed, [9, 12, 14, 16], axis=1)
    np.testing.assert_array_equal(rotation, cameras.extrinsics[:, :3, :3].flatten(1))
    np.testing.assert_array_equal(centre, cameras.extrinsics[:, :3, 3])
    np.testing.assert_allclose(focal, [[36.0, 39.6]] * 3, rtol=1e-6)
    # The picture and a margin of 0.15 times its size, as slopes.
    left, right, top, bottom = (limits * np.repeat(focal, 2, axis=1)).T
    np.testing.assert_allclose((right - left)[0], 1.3 * 30, rtol=1e-6)
    np.testing.assert_allclose((bottom - top)[0], 1.3 * 20, rtol=1e-6)
    np.testing.assert_allclose(left[0] + middle[0, 0], -0.15 * 30, atol=1e-4)


def test_scratch_of_every_thread_starts_a_page():
    for threads in (1, 3):
        work = cpu_engine._work(threads)
        assert work.shape[1] >= cpu_blocks.WORK
        assert all(row.ctypes.data % 4096 == 0 for row in work)
