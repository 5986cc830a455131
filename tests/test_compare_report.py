import csv
import math

import numpy as np
import pytest
from matplotlib import image

from bayes_splat import compare_report, convergence
from bayes_splat.saved_runs import load_run
from tests import helpers_runs as helpers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    return [
        load_run(helpers.write_run(place / "fast")),
        load_run(helpers.write_run(place / "slow", "mala", 0.9, 120, stopped=1)),
    ]


def test_numbers_of_a_run(runs):
    run = runs[1]
    pixels, found = run.judge()
    row = compare_report.row(run, pixels, found)
    ess = pixels.statistics.ess_bulk
    assert row.least_ess_per_second == pytest.approx(ess.min() / 10)
    assert row.median_ess_per_second == pytest.approx(np.median(ess) / 10)
    assert row.renders_per_effective_draw == pytest.approx(4000 / np.median(ess))
    assert row.worst_rhat == pixels.statistics.rhat.max()
    assert (row.chains, row.draws, row.acceptance, row.total_seconds) == (3, 120, 0.75, 13.0)
    assert (row.peak_memory, row.advice) == (512.0, "run longer")


def test_tables_hold_every_number(runs, tmp_path):
    rows = [compare_report.row(run, *run.judge()) for run in runs]
    rows[0] = rows[0]._replace(peak_memory=math.nan)
    compare_report.write_tables(tmp_path, rows)
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| fast | gibbs | 4 | 200 |")
    assert "| - | trust it |" in lines[2]
    with (tmp_path / "comparison.csv").open() as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == compare_report.Row._fields
    assert float(table[1]["worst_rhat"]) == pytest.approx(rows[1].worst_rhat, rel=1e-4)


def test_figures_and_maps_are_written(runs, tmp_path):
    pixels = [run.judge()[0] for run in runs]
    paths = compare_report.write_figures(tmp_path, runs, pixels, 3)
    names = [str(path.relative_to(tmp_path)) for path in paths]
    assert names == [
        "trace.png",
        "rank.png",
        "autocorrelation.png",
        "ess_evolution.png",
        "maps/front.png",
        "maps/side.png",
    ]
    for path in paths:
        picture = image.imread(path)
        assert picture.shape[1] > 300
        assert picture[..., :3].std() > 0.02, "something is drawn"


def test_pixels_are_chosen_from_the_slowest_to_the_fastest(runs):
    pixels = [run.judge()[0] for run in runs]
    chosen = compare_report.choose_pixels(pixels, 3)
    least = np.minimum(*(found.statistics.ess_bulk for found in pixels))
    assert chosen[0] == np.unravel_index(least.argmin(), least.shape)
    assert chosen[-1][0] == least.min(1).argmax()
    assert len(compare_report.choose_pixels(pixels, 10**6)) == helpers.NUM_PIXELS


def test_runs_that_never_moved_are_drawn_too(runs, tmp_path):
    still = [run._replace(color=0 * run.color, depth=0 * run.depth) for run in runs]
    still[1] = still[1]._replace(is_whole=np.zeros(4, dtype=bool))
    pixels = [run.judge()[0] for run in still]
    assert len(compare_report.write_figures(tmp_path, still, pixels, 2)) == 6


def test_chains_are_those_of_the_quantity(runs):
    run = runs[1]
    np.testing.assert_array_equal(
        compare_report.chains_of(run, 3, 1), run.color[[0, 2, 3], :, 3, 1]
    )
    np.testing.assert_array_equal(compare_report.chains_of(run, 3, 3), run.depth[[0, 2, 3], :, 3])


def test_autocorrelation_is_that_of_the_process(runs):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 20000))
    for t in range(1, x.shape[1]):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
    found = convergence.autocorrelation(x)
    assert found[:, :4].mean(0) == pytest.approx([1, 0.8, 0.64, 0.512], abs=0.03)
