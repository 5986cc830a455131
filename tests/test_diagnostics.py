import math
import re

import numpy as np
import pytest

from bayes_splat import diagnostics

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


def judge(x, **settings):
    found = diagnostics.verdict(diagnose(x), GRID, SHAPE, NAMES, **settings)
    assert found.sentence.startswith("Converged" if found.is_converged else "Not converged")
    assert found.sentence.count("\n") == 0
    assert found.sentence.endswith(".")
    return found


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


def test_good_run_is_converged():
    found = judge(iid())
    assert found.is_converged
    assert f"{NUM_PIXELS} target pixels" in found.sentence


def test_a_few_bad_pixels_are_forgiven_and_more_are_not():
    x = iid()
    x[0, :, : NUM_PIXELS // 12] += 10
    assert judge(x).is_converged
    x[0, :, : NUM_PIXELS // 6] += 10
    assert not judge(x).is_converged


def first_group(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found.group(1)


def test_slow_chains_are_told_how_many_more_draws():
    """Coefficient 0.9 leaves about 800 / 19 = 42 effective draws of 800."""
    found = judge(autoregressive(0.9))
    assert not found.is_converged
    factor = float(first_group(r"about ([\d.]+) times as many draws", found.sentence))
    assert 2.5 < factor < 7
    draws = int(first_group(r"draws=(\d+)", found.sentence))
    assert draws == pytest.approx(factor * 200, abs=50)


def test_the_promised_draws_suffice():
    found = judge(autoregressive(0.9))
    draws = int(first_group(r"draws=(\d+)", found.sentence))
    assert judge(autoregressive(0.9, num_draws=int(1.3 * draws))).is_converged


def test_shifted_chain_is_found_where_it_is():
    x = iid()
    place = (GRID.view == 1) & (GRID.row < 8) & (GRID.column >= 22)
    assert 0.05 < place.mean() < 0.1
    x[2][:, GRID.view == 1] += 6
    x[2][:, place] += 4
    found = judge(x)
    assert not found.is_converged
    assert "of view side" in found.sentence
    assert "different modes" in found.sentence
    assert "more warmup or another proposal" in found.sentence
    worst = np.nanmax(diagnose(x).statistics.rhat)
    assert f"{worst:.3g}" in found.sentence


def test_region_is_named():
    x = iid()
    place = (GRID.view == 1) & (GRID.row < 8) & (GRID.column >= 22)
    x[2][:, place] += 6
    found = judge(x, min_share=0.99)
    assert "at the upper right of view side (rows 0-7, columns 22-31)" in found.sentence


def test_one_stuck_chain():
    x = iid()
    x[3] = x[3, :1]
    assert not judge(x).is_converged


def test_all_chains_stuck_at_different_values():
    x = np.broadcast_to(np.arange(4.0)[:, None, None, None], (4, 50, NUM_PIXELS, 4))
    pixels = diagnose(x)
    assert np.isinf(pixels.statistics.rhat).all()
    assert pixels.worst_rhat == math.inf
    found = judge(x)
    assert not found.is_converged
    assert "stand still" in found.sentence


def test_all_chains_stuck_at_one_value():
    """All start at the proposal's mode and reject every move: that is not agreement."""
    found = judge(np.zeros((4, 50, NUM_PIXELS, 4)))
    assert not found.is_converged
    assert "stand still" in found.sentence


def test_pixels_that_show_nothing_are_left_out():
    x = iid()
    color, depth = 0.5 + 0.1 * x[..., :3], 3 + 0.1 * x[..., 3]
    color[:, :, :30], depth[:, :, :30] = 0, 0
    pixels = diagnostics.diagnose_pixels(color, depth)
    assert pixels.is_constant[:30].all()
    assert not pixels.is_judged[:30].any()
    assert pixels.is_judged[30:].all()
    found = diagnostics.verdict(pixels, GRID, SHAPE, NAMES)
    assert found.is_converged
    assert "30 pixels that never change left out" in found.sentence
    maps = diagnostics.rhat_map(pixels, GRID, (2, *SHAPE))
    assert np.isnan(maps[GRID.view[:30], GRID.row[:30], GRID.column[:30]]).all()


def test_targets_that_see_nothing():
    nothing = np.zeros((4, 50, NUM_PIXELS, 4))
    pixels = diagnostics.diagnose_pixels(nothing[..., :3], nothing[..., 3])
    assert math.isnan(pixels.worst_rhat)
    found = diagnostics.verdict(pixels, GRID, SHAPE, NAMES)
    assert not found.is_converged
    assert "no Gaussian is seen" in found.sentence


def test_fixed_depth_of_a_moving_pixel_does_not_count():
    x = iid()
    x[..., 3] = 1
    assert diagnose(x).is_judged[:, 3].sum() == 0
    assert judge(x).is_converged


def test_too_few_draws():
    found = judge(iid(num_draws=3))
    assert not found.is_converged
    assert "3 draws a chain are too few" in found.sentence
    assert "draws=100" in found.sentence
    assert not judge(iid(num_draws=0)).is_converged


def test_short_run_is_not_converged():
    assert not judge(iid(num_draws=20)).is_converged


def test_single_chain():
    found = judge(iid(num_chains=1, num_draws=2000))
    assert not found.is_converged
    assert "chains=4" in found.sentence


def test_interrupted_run():
    found = judge(iid(), is_interrupted=True)
    assert not found.is_converged
    assert "interrupted after 200 draws" in found.sentence


def test_diverging_run():
    found = judge(iid(), num_diverging=3)
    assert not found.is_converged
    assert "3 steps after warmup" in found.sentence
    assert "1 step after warmup" in judge(iid(), num_diverging=1).sentence


def test_several_reasons_are_all_told():
    found = judge(iid(num_chains=1), is_interrupted=True, num_diverging=2)
    assert all(word in found.sentence for word in ("interrupted", "non-finite", "single chain"))


def test_draws_that_are_not_finite_fail():
    x = iid()
    x[0, 3, :100] = np.nan
    found = judge(x)
    assert not found.is_converged
    assert "not finite" in found.sentence


def test_alpha_is_reported_but_not_judged():
    x = iid()
    alpha = np.broadcast_to(np.arange(4.0)[:, None, None], x.shape[:3])
    pixels = diagnostics.diagnose_pixels(x[..., :3], x[..., 3], alpha)
    assert pixels.quantities[-1] == "alpha"
    assert np.isinf(pixels.statistics.rhat[:, -1]).all()
    assert diagnostics.verdict(pixels, GRID, SHAPE, NAMES).is_converged


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
    assert not judge(iid(), min_ess=2000).is_converged
    assert not judge(iid(), max_rhat=1.0).is_converged


def test_rhat_alone_is_the_same_rhat():
    rng = np.random.default_rng(0)
    color, depth = rng.normal(size=(3, 20, 5, 3)), rng.normal(size=(3, 20, 5))
    color[:, :, 2], depth[:, :, 2] = 0.5, 1.0
    whole = diagnostics.diagnose_pixels(color, depth)
    part = diagnostics.diagnose_pixels(color, depth, summarise=diagnostics.only_rhat)
    np.testing.assert_array_equal(part.statistics.rhat, whole.statistics.rhat)
    np.testing.assert_array_equal(part.is_judged, whole.is_judged)
    assert np.isnan(part.statistics.ess_bulk).all()
    grid = diagnostics.fixed_grid((1, 5), 1)
    maps = [diagnostics.rhat_map(found, grid, (1, 1, 5)) for found in (part, whole)]
    np.testing.assert_array_equal(*maps)
    assert np.isfinite(maps[0]).sum() == 4
