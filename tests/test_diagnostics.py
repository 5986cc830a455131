import math

import numpy as np
import pytest

from bayes_splat import diagnostics
from bayes_splat.draw_arrays import DrawArray

SHAPE = (24, 32)
NAMES = ("front", "side")
GRID = diagnostics.fixed_grid(SHAPE, len(NAMES), max_pixels=200)
NUM_PIXELS = len(GRID.view)


def iid(num_chains=4, num_draws=200, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_chains, num_draws, NUM_PIXELS, 4)).astype(np.float32)


def autoregressive(coefficient, num_chains=4, num_draws=200):
    x = iid(num_chains, num_draws)
    for t in range(1, num_draws):
        x[:, t] = coefficient * x[:, t - 1] + math.sqrt(1 - coefficient**2) * x[:, t]
    return x


def diagnose(x):
    return diagnostics.diagnose_pixels(0.5 + 0.1 * x[..., :3], 3 + 0.1 * x[..., 3])


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 2), (64, 64), (7, 3), (36, 64)])
@pytest.mark.parametrize("num_views", [1, 2, 3, 2000])
def test_grid_is_distinct_inside_and_not_too_large(shape, num_views):
    grid = diagnostics.fixed_grid(shape, num_views)
    assert len(grid.view) <= max(1024, num_views)
    assert len(set(zip(*grid, strict=True))) == len(grid.view)
    assert set(grid.view) == set(range(num_views))
    assert grid.row.min() >= 0
    assert grid.column.min() >= 0
    assert grid.row.max() < shape[0]
    assert grid.column.max() < shape[1]


def test_grid_is_evenly_spread():
    grid = diagnostics.fixed_grid((36, 64), 2)
    assert len(grid.view) == 1024
    rows, columns = np.unique(grid.row), np.unique(grid.column)
    assert set(np.diff(rows)) <= {2, 3}
    assert set(np.diff(columns)) <= {1, 2, 3}
    assert rows[0] <= 2
    assert 36 - rows[-1] <= 3


def test_small_pictures_are_taken_whole():
    assert len(diagnostics.fixed_grid((7, 9), 3).view) == 3 * 63


def test_statistics_of_known_draws():
    x = iid(num_draws=2000)[..., 0, 0] * 2 + 5
    found = diagnostics.statistics(x)
    assert found.mean == pytest.approx(5, abs=4 * 2 / math.sqrt(8000))
    assert found.std == pytest.approx(2, rel=0.05)
    assert found.low == pytest.approx(5 - 2 * 1.645, abs=0.15)
    assert found.high == pytest.approx(5 + 2 * 1.645, abs=0.15)
    assert found.mcse_mean == pytest.approx(2 / math.sqrt(8000), rel=0.1)


def test_alpha_is_reported_but_not_judged():
    x = iid()
    alpha = np.broadcast_to(np.arange(4.0)[:, None, None], x.shape[:3])
    pixels = diagnostics.diagnose_pixels(x[..., :3], x[..., 3], alpha)
    assert pixels.quantities[-1] == "alpha"
    assert np.isinf(pixels.statistics.rhat[:, -1]).all()
    assert not pixels.is_judged[:, -1].any()


def test_maps_put_the_worst_quantity_at_the_pixel():
    x = iid()
    x[0, :, 7, 2] += 5
    pixels = diagnose(x)
    rhat = diagnostics.rhat_map(pixels, GRID, (2, *SHAPE))
    ess = diagnostics.ess_map(pixels, GRID, (2, *SHAPE))
    assert np.isfinite(rhat).sum() == NUM_PIXELS
    at = (GRID.view[7], GRID.row[7], GRID.column[7])
    assert rhat[at] == pixels.statistics.rhat[7, 2] == pixels.worst_rhat
    assert ess[at] == pixels.statistics.ess_bulk[7, 2] == pixels.least_ess


def test_both_thresholds_count():
    found = diagnostics.statistics(iid()[..., :5, 0])._replace(
        rhat=np.array([1.04, 1.06, 1.04, math.nan, math.inf]),
        ess_bulk=np.array([101.0, 500.0, 99.0, 500.0, 500.0]),
    )
    assert diagnostics.has_converged(found).tolist() == [True, False, False, False, False]


def test_pixels_that_show_nothing_are_not_judged():
    x = iid()
    color, depth = 0.5 + 0.1 * x[..., :3], 3 + 0.1 * x[..., 3]
    color[:, :, :30], depth[:, :, :30] = 0, 0
    pixels = diagnostics.diagnose_pixels(color, depth)
    assert pixels.is_constant[:30].all()
    assert not pixels.is_judged[:30].any()
    assert pixels.is_judged[30:].all()
    maps = diagnostics.rhat_map(pixels, GRID, (2, *SHAPE))
    assert np.isnan(maps[GRID.view[:30], GRID.row[:30], GRID.column[:30]]).all()


def test_chains_that_stand_still_are_found():
    x = iid()
    assert diagnose(x).still_chains == []
    x[3, 90:] = x[3, 90]  # got stuck on the way
    pixels = diagnose(x)
    assert pixels.still_chains == [3]
    assert pixels.is_still.all()
    assert diagnose(np.zeros((4, 50, NUM_PIXELS, 4))).still_chains == [0, 1, 2, 3]
    nothing = np.zeros((4, 50, NUM_PIXELS, 3))
    assert diagnostics.diagnose_pixels(nothing, nothing[..., 0]).still_chains == []


def test_in_parts_it_is_the_same(monkeypatch):
    x = iid(num_draws=30)
    color, depth = x[..., :3], x[..., 3]
    depth[:, :, 5] = 0
    color[:, :, 5] = 0
    whole = diagnostics.diagnose_pixels(color, depth)
    monkeypatch.setattr(diagnostics, "_NUMBERS", 4 * 120 * 7)  # seven pixels at a time
    lazy = {"color": color, "depth": depth}
    parts = diagnostics.diagnose_in_parts(DrawArray(lazy, "color"), DrawArray(lazy, "depth"))
    for name, value in whole._asdict().items():
        if name == "statistics":
            for one, other in zip(value, parts.statistics, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(value, getattr(parts, name))
    third = diagnostics.statistics_in_parts(DrawArray(lazy, "depth"), step=3)
    np.testing.assert_array_equal(third.rhat, diagnostics.statistics(depth[..., ::3]).rhat)


def test_error_map_is_that_of_the_colors():
    pixels = diagnose(iid())
    found = diagnostics.mcse_map(pixels, GRID, (2, *SHAPE))
    at = (GRID.view[7], GRID.row[7], GRID.column[7])
    assert found[at] == pixels.statistics.mcse_mean[7, :3].max()
    assert found[at] == pytest.approx(0.1 / math.sqrt(800), rel=0.3)


def test_rhat_alone_is_the_same_rhat():
    rng = np.random.default_rng(0)
    color, depth = rng.normal(size=(3, 20, 5, 3)), rng.normal(size=(3, 20, 5))
    color[:, :, 2], depth[:, :, 2] = 0.5, 1.0
    whole = diagnostics.diagnose_pixels(color, depth)
    part = diagnostics.diagnose_pixels(color, depth, is_map=True)
    np.testing.assert_array_equal(part.statistics.rhat, whole.statistics.rhat)
    np.testing.assert_array_equal(part.is_judged, whole.is_judged)
    assert np.isnan(part.statistics.ess_bulk).all()
    grid = diagnostics.fixed_grid((1, 5), 1)
    maps = [diagnostics.rhat_map(found, grid, (1, 1, 5)) for found in (part, whole)]
    np.testing.assert_array_equal(*maps)
    assert np.isfinite(maps[0]).sum() == 4
