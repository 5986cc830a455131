import numpy as np
import pytest

from bayes_splat import metrics
from bayes_splat.evaluation import curves, scores
from tests.helpers_evaluation import record


def test_curves_agree_with_the_scores():
    found, truth = record()
    maps = scores.maps(found, truth)
    drawn = curves.curves(maps, truth)
    assert drawn["sparsification"][0] == drawn["oracle"][0] == 1.0
    gap = np.array(drawn["sparsification"]) - np.array(drawn["oracle"])
    ause = [scores.score(maps.view(i), truth.view(i))["ause_mae"] for i in range(2)]
    assert np.trapezoid(gap, metrics.FRACTIONS) == pytest.approx(np.mean(ause), abs=1e-4)
    assert drawn["reliability"][0] == 0.0
    assert drawn["reliability"][-1] == 1.0
    assert drawn["reliability"][18] == metrics.coverage_from_pit(maps.pit, 0.9)
    assert len(drawn["points"]) == 384


def test_points_are_few():
    found, truth = record(shape=(60, 80))
    drawn = curves.curves(scores.maps(found, truth), truth)
    assert curves.MOST_POINTS <= len(drawn["points"]) <= 2 * curves.MOST_POINTS
