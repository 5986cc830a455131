import csv
import math

import numpy as np
import pytest

from bayes_splat import diagnostics, site_table


def draws(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(4, 100, *shape)).astype(np.float32)


def test_small_sites_have_a_line_for_each_number():
    rows = site_table.site_table({"noise_scale": draws(), "z": draws(2, 2)})
    assert [row.name for row in rows] == ["noise_scale", "z[0, 0]", "z[0, 1]", "z[1, 0]", "z[1, 1]"]
    assert all(row.over == "" and row.num_quantities == 1 for row in rows)
    assert rows[0].mean == pytest.approx(draws().mean(), rel=1e-5)
    assert rows[4].std == pytest.approx(draws(2, 2)[..., 1, 1].std(), rel=1e-5)
    assert rows[0].failing == 0


def test_large_sites_have_their_spread():
    x = draws(500)
    x[0, :, :125] += 5
    rows = site_table.site_table({"depth": x})
    assert [row.over for row in rows] == ["min", "median", "max"]
    assert [row.mean for row in rows] == pytest.approx(
        [f(x.mean((0, 1), dtype=np.float64)) for f in (np.min, np.median, np.max)], rel=1e-5
    )
    assert rows[0].rhat < 1.05 < rows[2].rhat
    assert rows[0].failing == pytest.approx(0.25, abs=0.02)
    assert rows[0].num_quantities == 500


def test_huge_sites_are_thinned():
    rows = site_table.site_table({"depth": draws(500)}, max_quantities=100)
    assert rows[0].num_quantities == 100


def test_target_pixels_follow_and_constant_ones_are_left_out():
    x = draws(50, 4)
    x[..., :10, :] = 0
    pixels = diagnostics.diagnose_pixels(x[..., :3], x[..., 3])
    rows = site_table.site_table({}, pixels)
    assert [row.name for row in rows[::3]] == [
        "target red",
        "target green",
        "target blue",
        "target depth",
    ]
    assert {row.num_quantities for row in rows} == {40}


def test_target_pixels_that_all_stand_still():
    nothing = np.zeros((4, 20, 5, 4), np.float32)
    rows = site_table.site_table({}, diagnostics.diagnose_pixels(nothing[..., :3], nothing[..., 3]))
    assert rows[0].num_quantities == 0
    assert math.isnan(rows[0].rhat)


def test_no_draws():
    rows = site_table.site_table({"noise_scale": draws()[:, :0], "depth": draws(20)[:, :0]})
    assert math.isnan(rows[0].mean)
    assert rows[1].failing == 1


def test_write_table(tmp_path):
    rows = site_table.site_table({"noise_scale": draws(), "depth": draws(20)})
    site_table.write_table(tmp_path / "summary.csv", rows)
    with (tmp_path / "summary.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == ["noise_scale", "depth", "depth", "depth"]
    assert float(read[0]["mean"]) == pytest.approx(rows[0].mean, rel=1e-5)
    assert tuple(read[0]) == site_table.Row._fields
