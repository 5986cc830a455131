"""Phases in one pass; what they draw is tested in test_cpu.py."""

import numpy as np
import pytest
import torch

from bayes_splat.rendering import cpu_engine
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.renderer import ReferenceRenderer
from tests import helpers_engines


@pytest.mark.parametrize("threads", [1, 3])
def test_more_entries_than_there_was_room_for(threads, monkeypatch):
    """Large splats meet many tiles: the lists are made in a second pass."""
    gaussians = helpers_engines.cloud(1, 40, 0, spread=0.5)
    cameras = helpers_engines.cameras_in_a_row(2, 130, 150)
    passes = []
    plain = cpu_engine.run_pass

    def noted(kernel, items, *rest):
        passes.append(items)
        plain(kernel, items, *rest)

    monkeypatch.setattr(cpu_engine, "run_pass", noted)
    mine = CPURenderer(num_threads=threads).render(gaussians, cameras)
    first, second = passes
    assert second == (0, 0, *first[2:])
    theirs = ReferenceRenderer().render(gaussians.to(torch.float64), cameras.to(torch.float64))
    assert (mine.alphas - theirs.alphas).abs().median() < 2e-6


def test_statistics_are_the_same_bits_for_any_number_of_threads():
    gaussians = helpers_engines.cloud(2, 3000, 9, spread=0.04)
    cameras = helpers_engines.cameras_in_a_row(2, 75, 100)
    generator = torch.Generator().manual_seed(0)
    residuals = torch.randn(2, 2, 75, 100, 3, generator=generator)
    weights = torch.rand(2, 2, 75, 100, generator=generator)
    results = [
        CPURenderer(num_threads=n).opacity_statistics(
            gaussians, cameras, residuals, weights, means=True
        )
        for n in (1, 2, 3, 1)
    ]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    short = CPURenderer().opacity_statistics(gaussians, cameras, residuals, weights)
    assert short.means is None
    assert torch.equal(short.curvature, results[0].curvature)
    assert torch.equal(short.slope, results[0].slope)


def test_cameras_of_both_precisions_are_packed_alike():
    cameras = helpers_engines.cameras_in_a_row(3, 20, 30)
    np.testing.assert_array_equal(
        cpu_engine.pack_cameras(cameras), cpu_engine.pack_cameras(cameras.to(torch.float64))
    )


def test_nobody_reads_the_lists_before_they_are_placed():
    """Many tiles and few Gaussians: placing the lists takes longer than a thread needs to go on."""
    gaussians = helpers_engines.cloud(2, 200, 0)
    cameras = helpers_engines.cameras_in_a_row(2, 1000, 1000)
    pixels = torch.arange(0, 2_000_000, 20_011).expand(2, -1)
    expected = CPURenderer(num_threads=1).render(gaussians, cameras, pixels=pixels)
    for _ in range(100):
        picture = CPURenderer(num_threads=3).render(gaussians, cameras, pixels=pixels)
        assert all(torch.equal(a, b) for a, b in zip(picture, expected, strict=True))
