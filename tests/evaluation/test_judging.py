import math

import numpy as np
import pytest
import torch

from bayes_splat.evaluation import judging, methods
from tests.helpers_evaluation import targets, task


def test_rows_of_a_method_without_chains():
    small = task()
    target = judging.prepare(small, targets(small))
    found = judging.judge(small, methods.ensemble, target, "own")
    assert [(row["scaling"], row["view"]) for row in found.views] == [
        ("raw", "left"),
        ("raw", "right"),
        ("scaled", "left"),
        ("scaled", "right"),
    ]
    first, second = found.views[:2]
    assert [first["unseen_by"], second["unseen_by"]] == ["depth", "proposal"]
    assert not math.isnan(first["depth_nll"])
    assert math.isnan(second["depth_nll"])
    assert first["components"] == 5.0
    assert first["renders"] > first["renders_with_gradient"] > 100
    assert first["is_optimised"] == 1.0
    assert math.isnan(first["chains"])
    assert "median_rhat" not in first
    assert first["gap_degrees"] == pytest.approx(0.0, abs=1e-3)
    assert [row["scaling"] for row in found.scene] == ["raw", "scaled"]
    assert found.scene[1]["scale"] == found.views[2]["scale"] != 1.0
    assert found.mean.shape == found.std.shape == (2, 4, 6, 3)
    assert set(found.curves) == {"raw", "scaled"}


def test_rows_of_a_sampler_say_how_its_chains_did():
    small = task("draws=8")
    target = judging.prepare(small, targets(small))
    [row, *_] = judging.judge(small, methods.sampler, target, "cross").scene
    assert (row["chains"], row["draws"]) == (2.0, 8.0)
    assert row["worst_rhat"] >= row["median_rhat"] > 0
    assert 0 < row["least_ess"] <= row["median_ess"]
    assert row["median_ess_per_second"] >= row["least_ess_per_second"] > 0
    assert math.isnan(row["is_optimised"])


def test_scaling_changes_widths_and_not_pictures():
    small = task()
    target = judging.prepare(small, targets(small))
    raw, scaled = judging.judge(small, methods.laplace, target, "own").scene
    assert raw["psnr"] == pytest.approx(scaled["psnr"], abs=1e-4)
    assert scaled["width_90"] == pytest.approx(scaled["scale"] * raw["width_90"], rel=1e-2)
    assert scaled["spearman"] == pytest.approx(raw["spearman"], abs=1e-3)
    # Judged on the very pixels that the scale was fitted on, it cannot be worse.
    assert scaled["nll"] <= raw["nll"] + 1e-6


def test_a_sampler_that_was_stopped_ends_the_evaluation():
    small = task()
    target = judging.prepare(small, targets(small))

    def stopped(task):
        fitted = methods.deterministic(task)
        return fitted._replace(draws=fitted.draws._replace(is_interrupted=True))

    with pytest.raises(KeyboardInterrupt):
        judging.judge(small, stopped, target, "own")


def test_views_without_true_depth_have_none():
    small = task()
    target = judging.prepare(small, small.context)
    assert np.isnan(target.truth.depths).all()
    assert target.seen.source == ("proposal", "proposal")


def test_threads_are_set_where_they_are_named():
    before = torch.get_num_threads()
    judging.set_threads(None)
    assert torch.get_num_threads() == before
    judging.set_threads(1)
    assert torch.get_num_threads() == 1
    judging.set_threads(before)
