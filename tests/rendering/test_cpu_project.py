"""Splats are those of the reference's projection."""

import numpy as np
import torch

from bayes_splat.rendering import cpu_blocks, cpu_engine
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import RenderSettings
from tests import helpers_engines


def test_records_are_the_projection_of_the_reference():
    gaussians = helpers_engines.cloud(2, 37, 0)
    cameras = helpers_engines.cameras_in_a_row(2, 50, 60)
    settings = RenderSettings()
    fields = ("means", "scales", "rotations", "opacities")
    world = [getattr(gaussians, name).numpy().reshape(-1) for name in fields]
    request = cpu_engine.Request(
        settings=settings,
        threads=1,
        cameras=cpu_engine.pack_cameras(cameras),
        image_shape=(50, 60),
        is_plain=True,
        keys=None,
        pixels=None,
    )
    world.append(gaussians.harmonics.numpy().reshape(-1))
    drawing = cpu_engine.prepare(tuple(world), 2, request)
    records = drawing.records.reshape(2, 2, 48, cpu_blocks.RECORD)[:, :, :37]
    exact = project(gaussians.to(torch.float64), cameras.to(torch.float64), settings)
    conic = exact.covariances2d[[2, 1, 0]] / exact.determinants2d / np.log(2.0)
    expected = {
        cpu_blocks.X: exact.means2d[0],
        cpu_blocks.Y: exact.means2d[1],
        cpu_blocks.A: 0.5 * conic[0],
        cpu_blocks.B: -conic[1],
        cpu_blocks.C: 0.5 * conic[2],
        cpu_blocks.RED: exact.colors[0],
        cpu_blocks.BLUE: exact.colors[2],
        cpu_blocks.DEPTH: exact.depths,
    }
    for field, values in expected.items():
        np.testing.assert_allclose(records[..., field], values, rtol=2e-5, atol=2e-5)
    slots = np.diff(drawing.slot_starts)
    assert slots.sum() == len(drawing.entries[0])
    assert not slots.reshape(2, 2, 48)[:, :, 37:].any()
