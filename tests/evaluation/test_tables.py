import math

import numpy as np
import pytest

from bayes_splat.errors import OutputError
from bayes_splat.evaluation import tables


def _row(method, view, nll, scaling="raw", scene="fox"):
    return {
        "scene": scene,
        "split": "near",
        "method": method,
        "scaling": scaling,
        "view": view,
        "nll": nll,
    }


ROWS = [
    _row("gibbs", "a", 1.0),
    _row("gibbs", "b", 2.0),
    _row("gibbs", "a", 5.0, scene="fern"),
    _row("ensemble", "a", 2.0),
    _row("ensemble", "b", 2.5),
    _row("ensemble", "a", 4.0, scene="fern"),
    _row("gibbs", "a", 9.0, scaling="scaled"),
]


def test_rows_come_back_as_they_were(tmp_path):
    rows = [*ROWS, {**ROWS[0], "depth_nll": math.nan, "error": 'no, "really"'}]
    tables.write_csv(tmp_path / "a" / "metrics.csv", rows)
    found = tables.read_csv(tmp_path / "a" / "metrics.csv")
    assert [row["nll"] for row in found] == [row["nll"] for row in rows]
    assert found[-1]["error"] == 'no, "really"'
    assert math.isnan(found[-1]["depth_nll"])
    assert (tmp_path / "a" / "metrics.csv").read_text().startswith("scene,split,method,scaling")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(OutputError, match="give the out=<folder> of a finished evaluation"):
        tables.read_csv(tmp_path / "metrics.csv")
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="no table of bayes-splat evaluate"):
        tables.read_csv(tmp_path / "metrics.csv")


def test_values_and_methods():
    assert tables.methods([*ROWS, {**_row("nuts", "a", 1.0), "error": "too slow"}]) == [
        ("gibbs", "raw"),
        ("ensemble", "raw"),
        ("gibbs", "scaled"),
    ]
    np.testing.assert_array_equal(tables.values(ROWS, "gibbs", "raw", "nll"), [1, 2, 5])
    assert tables.values(ROWS, "gibbs", "raw", "psnr").size == 0


def test_bootstrap_interval_has_the_size_of_the_standard_error():
    numbers = np.random.default_rng(0).normal(size=400)
    found = tables.bootstrap(numbers)
    assert found.mean == pytest.approx(numbers.mean())
    width = 2 * 1.96 * numbers.std() / 20
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert found == tables.bootstrap(numbers)
    one = tables.bootstrap(np.array([2.0]))
    assert (one.mean, one.low, one.high, one.size) == (2.0, 2.0, 2.0, 1)
    assert math.isnan(tables.bootstrap(np.array([])).mean)


def test_aggregate_has_a_row_a_method():
    found = tables.aggregate(ROWS, ["nll"])
    assert [(row["method"], row["scaling"]) for row in found] == tables.methods(ROWS)
    assert found[0]["nll"] == pytest.approx(8 / 3)
    assert found[0]["nll_low"] < found[0]["nll"] < found[0]["nll_high"]


def test_duels_pair_views_and_count_scenes():
    found = tables.duel(ROWS, "gibbs", "ensemble", "raw", "nll")
    assert found.difference.mean == pytest.approx((-1 - 0.5 + 1) / 3)
    assert (found.wins, found.scenes) == (0.5, 2)
    missing = tables.duel(ROWS, "gibbs", "nuts", "raw", "nll")
    assert missing.scenes == 0
    assert math.isnan(missing.wins)
