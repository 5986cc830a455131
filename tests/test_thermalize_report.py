"""What is written and said of runs that meet and of runs that do not."""

import csv

import numpy as np
from matplotlib import image

from bayes_splat import thermalize_report
from bayes_splat.thermalize_report import Run, Trace, draw, row


def trace(level: float, height: float, seed: int, steps: int = 256) -> Trace:
    """Noise around a level, from so high above it, forgotten in ten steps."""
    states = np.arange(steps + 1)
    noise = np.random.default_rng(seed).normal(size=(3, steps + 1))
    return Trace(level + noise + height * np.exp(-states / 10), 6.0 * states, 0.01 * states)


MET = Run("good", 20, trace(-500, 0, 0), trace(-500, 90, 1))
NOT = Run("stuck", 20, trace(-500, 0, 2), trace(-300, 900, 3))


def test_rows_tell_when_and_at_what_cost():
    good, stuck = row(MET), row(NOT)
    assert good.has_met
    assert 64 < good.step <= 128
    assert (good.renders, good.seconds) == (6.0 * good.step, 0.01 * good.step)
    assert f"meet at step {good.step}" in good.sentence
    assert not stuck.has_met
    assert (stuck.step, stuck.steps, stuck.renders) == (256, 256, 1536.0)
    assert abs(stuck.difference - 200) < 1
    assert stuck.score > 100
    assert "FAILS" in stuck.sentence
    assert "256 steps (1536 pictures" in stuck.sentence


def test_runs_of_few_steps_are_told_so():
    found = row(Run("slow", 20, trace(-500, 0, 0, 4), trace(-500, 90, 1, 4)))
    assert not found.has_met
    assert "4 steps in 0.0 s (24 pictures) are too few" in found.sentence
    assert "nan" not in found.sentence


def test_one_explosion_does_not_flatten_the_others():
    wild = trace(-500, 0, 4)
    wild.energy[1, 5:8] = 1e9
    figure = draw([MET, NOT, MET, Run("wild", 20, wild, wild)], [row(MET)] * 4)
    low, high = figure.axes[0].get_ylim()
    assert -1000 < low < -3
    assert 300 < high < 1e4
    assert [axes.axison for axes in figure.axes] == [True] * 4 + [False] * (len(figure.axes) - 4)


def test_the_table_shows_all_samplers(tmp_path):
    rows = [row(MET), row(NOT)]
    said = thermalize_report.text(rows, tmp_path)
    assert f"| good | yes | {rows[0].step} |" in said
    assert "| stuck | NO | - | - | - | -500" in said
    assert str(tmp_path) in said


def test_files(tmp_path):
    runs, rows = [MET, NOT], [row(MET), row(NOT)]
    thermalize_report.write(tmp_path, runs, rows)
    with (tmp_path / "thermalize.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["sampler"] for line in table] == ["good", "stuck"]
    assert [line["has_met"] for line in table] == ["True", "False"]
    with (tmp_path / "energies.csv").open(newline="") as stream:
        energies = list(csv.DictReader(stream))
    assert len(energies) == 4 * 257
    last = energies[-1]
    assert (last["sampler"], last["start"], last["step"]) == ("stuck", "proposal", "256")
    assert float(last["chain_2"]) == NOT.proposal.energy[2, 256]
    assert image.imread(tmp_path / "thermalize.png").std() > 0.02


def test_the_figure_shows_every_chain_on_a_logarithmic_axis():
    figure = draw([MET, NOT], [row(MET), row(NOT)])
    good, stuck = figure.axes
    assert good.get_xscale() == "log"
    for axes in (good, stuck):
        traces = [line for line in axes.lines if len(line.get_xdata()) == 257]
        assert len(traces) == 6
    assert "meets at step" in good.get_title()
    assert "does not meet" in stuck.get_title()
    dashed = [line.get_label() for line in good.lines if line.get_linestyle() == "--"]
    assert dashed == ["energies meet"]
    assert not [line for line in stuck.lines if line.get_linestyle() == "--"]


def test_energies_that_are_not_finite_are_left_out():
    broken = NOT.proposal.energy.copy()
    broken[:, :3] = np.inf
    run = NOT._replace(proposal=NOT.proposal._replace(energy=broken))
    figure = draw([run], [row(run)])
    assert np.isfinite(figure.axes[0].get_ylim()).all()
