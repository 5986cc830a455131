import numpy as np
import pytest

from bayes_splat import proposal_figures
from bayes_splat.proposal_figures import Look, PixelStory

IMAGE = np.random.default_rng(0).random((12, 16, 3))
PHI = np.array([0.1, 0.6, 0.2, 0.1])


def story(looks: list[Look], truth: tuple[float, float] | None = (1.5, 2.4)) -> PixelStory:
    edges = np.array([1.0, 1.5, 2.0, 4.0, 8.0])
    return PixelStory("column 3, row 4 of a", IMAGE, 3, 4, edges, PHI, 2.2, truth, looks)


def test_entropy_is_in_bits():
    phi = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    assert proposal_figures.entropy(phi) == pytest.approx([2.0, 0.0, 1.0])


def test_bars_are_the_probabilities_and_the_truth_stands_among_them():
    points = np.array([[1.5, 2.5], [8.5, 3.5], [14.0, 4.0]])
    look = Look("b: bucket probability", IMAGE, points, np.array([0.2, 0.6, 0.2]))
    figure = proposal_figures.pixel_figure(story([look]))
    photo, other, bars = figure.axes
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(PHI)
    line = next(line for line in bars.lines if "truth" in str(line.get_label()))
    assert np.asarray(line.get_xydata())[0, 0] == 1.5
    assert [text.get_text() for text in bars.get_xticklabels()] == ["1", "1.5", "2", "4", "8"]
    assert photo.lines[0].get_xydata().tolist() == [[3, 4]]
    # The heaviest point is drawn last, on top, where the picture has its pixel.
    drawn = other.collections[0]
    assert np.asarray(drawn.get_offsets())[-1].tolist() == [8.0, 3.0]
    assert drawn.get_sizes()[-1] == max(drawn.get_sizes())


def test_no_truth_and_no_points_are_said():
    figure = proposal_figures.pixel_figure(
        story([Look("b", IMAGE, np.zeros((0, 2)), np.zeros(0))], truth=None)
    )
    assert any("not seen here" in text.get_text() for text in figure.axes[1].texts)
    assert not any("truth" in str(line.get_label()) for line in figure.axes[2].lines)


def test_many_views_do_not_burst_the_figure():
    look = Look("b", IMAGE, np.array([[1.0, 1.0]]), np.ones(1))
    assert len(proposal_figures.pixel_figure(story([look] * 9)).axes) == 1 + 4 + 1


def test_overview_marks_the_pixels_on_the_photograph():
    depth = np.linspace(1, 2, 192).reshape(12, 16)
    figure = proposal_figures.overview("a", IMAGE, depth, depth, depth / 2, 5.0, [(3, 4), (10, 0)])
    marked = [text.get_text() for text in figure.axes[0].texts]
    assert marked == ["1", "2"]
    assert {tuple(np.asarray(line.get_xydata())[0]) for line in figure.axes[0].lines} == {
        (3, 4),
        (10, 0),
    }
