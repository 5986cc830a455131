import numpy as np

from bayes_splat import report
from bayes_splat.evaluation import curves, figures, scores
from tests.helpers_evaluation import record


def _curves(noise):
    found, truth = record(noise=noise)
    return curves.curves(scores.maps(found, truth), truth)


CURVES = {"ensemble": _curves(0.05), "gibbs": _curves(0.1), "laplace": _curves(0.2)}


def test_curves_have_a_line_a_method_in_one_colour(tmp_path):
    figure = figures.sparsification(CURVES)
    left, right = figure.axes
    assert [text.get_text().split()[0] for text in right.get_legend().get_texts()] == list(CURVES)
    assert right.lines[1].get_color() == left.lines[2].get_color() == "C1"
    np.testing.assert_allclose(left.lines[0].get_ydata(), CURVES["ensemble"]["sparsification"])
    figure = figures.reliability(CURVES, CURVES)
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    report.save_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_scatter_has_a_panel_a_method():
    figure = figures.scatter(CURVES)
    assert [axes.get_title() for axes in figure.axes] == list(CURVES)


def test_panel_has_a_column_a_method_on_one_scale():
    rng = np.random.default_rng(0)
    photo = rng.uniform(0, 0.9, size=(6, 8, 3))
    means = dict.fromkeys(CURVES, photo + 0.1)
    stds = dict.fromkeys(CURVES, np.full_like(photo, 0.2))
    figure = figures.panel("fox: a", photo, means, stds)
    assert len(figure.axes) == 13  # three rows of four, and the colour bar
    drawn = [axes.images[0] for axes in (*figure.axes[5:8], *figure.axes[9:12])]
    assert {image.norm.vmax for image in drawn} == {0.2}
    np.testing.assert_allclose(drawn[0].get_array(), 0.1)
    np.testing.assert_allclose(drawn[3].get_array(), 0.2)
    assert figure.axes[2].get_title() == "gibbs\n20.00 dB"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), photo)


def test_curves_of_scenes_are_averaged():
    found = figures.mean_curves([CURVES["ensemble"], CURVES["laplace"]])
    expected = np.mean([CURVES[n]["reliability"] for n in ("ensemble", "laplace")], 0)
    np.testing.assert_allclose(found["reliability"], expected)
    assert len(found["points"]) == len(CURVES["ensemble"]["points"])
