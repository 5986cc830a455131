import numpy as np
import pytest

from bayes_splat import evaluate_encoder_figures as figures
from bayes_splat import report
from bayes_splat.depth_metrics import LEVELS
from bayes_splat.evaluate_encoder_figures import Panel
from bayes_splat.evaluate_encoder_report import Row


def row(source, proposal, value):
    levels = (value,) * len(LEVELS)
    return Row(source, "a", proposal, inside=levels, mass=levels)


def test_reliability_has_a_panel_a_source_and_a_curve_a_proposal():
    rows = [row("one", "encoder", 0.5), row("one", "plane_sweep", 0.6), row("two", "encoder", 0.7)]
    figure = figures.reliability_figure([*rows, row("three", "encoder", np.nan)])
    assert figure is not None
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("one", "two")
    assert [len(axes.lines) for axes in (first, second)] == [5, 3]  # diagonal; curve and mass
    curve = first.lines[3]
    assert curve.get_label() == "plane_sweep"
    assert curve.get_xdata() == pytest.approx(LEVELS)
    assert curve.get_ydata() == pytest.approx(0.6)
    assert second.lines[1].get_color() == first.lines[1].get_color()


def test_without_depths_there_is_no_reliability():
    assert figures.reliability_figure([row("one", "encoder", np.nan)]) is None


def test_panels_show_what_there_is(tmp_path):
    picture, depth = np.zeros((8, 12, 3)), np.linspace(1, 2, 96).reshape(8, 12)
    truth = np.where(depth > 1.5, depth, np.nan)
    full = Panel("full", picture, picture, picture, depth, truth, depth)
    bare = Panel("bare", None, None, picture, depth, None, depth)
    unknown = bare._replace(title="unknown", truth=np.full_like(depth, np.nan))
    figure = figures.panel_figure("encoder", [full, bare, unknown], 5.0)
    drawn = [[a.get_title() for a in p.axes if a.axison and a.get_title()] for p in figure.subfigs]
    everything = ["target", "render", "context", "depth at the mode", "true depth", "entropy"]
    assert drawn == [everything, ["context", "depth at the mode", "entropy"], everything[2:]]
    report.save_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_depths_share_the_colours_of_the_truth():
    depth, truth = np.full((8, 8), 9.0), np.linspace(1, 2, 64).reshape(8, 8)
    panel = Panel("a", None, None, np.zeros((8, 8, 3)), depth, truth, depth)
    figure = figures.panel_figure("encoder", [panel], 5.0)
    images = [axes.images[0] for axes in figure.subfigs[0].axes if axes.images and axes.axison]
    _, ours, theirs, _ = images
    assert ours.norm.vmin == theirs.norm.vmin == pytest.approx(1.01, abs=0.02)
    assert ours.norm.vmax == theirs.norm.vmax == pytest.approx(1.99, abs=0.02)
