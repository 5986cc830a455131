import json
import math

import numpy as np
import pytest
import torch

from bayes_splat import arviz_bridge, results
from bayes_splat.errors import OutputError
from bayes_splat.samplers.sampling import SITES, STATS
from bayes_splat.samplers.store import DiskStore
from bayes_splat.saved_runs import load_run
from tests import helpers_runs as runs


def test_everything_is_read_back(tmp_path):
    run = load_run(runs.write_run(tmp_path / "monday", "mala"))
    assert (run.name, run.sampler) == ("monday", "mala")
    assert run.color.shape == (4, 200, runs.NUM_PIXELS, 3)
    for mine, theirs in zip(run.grid, runs.GRID, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (run.image_shape, run.view_names) == (runs.SHAPE, runs.NAMES)
    assert run.seconds == {"warmup": 2.0, "sampling": 10.0, "rest": 1.0}
    assert (run.renders, run.peak_memory) == (4000.0, 512.0)
    found, verdict = run.judge()
    assert found.num_chains == 4
    assert verdict.advice == "trust"


def test_a_stopped_chain_is_left_out(tmp_path):
    found, verdict = load_run(runs.write_run(tmp_path / "run", stopped=2)).judge()
    assert found.num_chains == 3
    assert verdict.advice == "trust"
    assert "chain 2 was stopped" in verdict.sentence


def test_slow_runs_are_judged_so(tmp_path):
    _, verdict = load_run(runs.write_run(tmp_path / "run", coefficient=0.95)).judge()
    assert verdict.advice == "longer"


def test_runs_of_earlier_versions_tell_less(tmp_path):
    folder = runs.write_run(tmp_path / "run")
    (folder / "run.json").write_text("broken")
    (folder / "config.yaml").write_text("scene: demo\nsampler:\n  name: sgld\n  step_size: 1\n")
    run = load_run(folder, "old")
    assert (run.name, run.sampler) == ("old", "sgld")
    assert math.isnan(run.peak_memory)
    assert math.isnan(run.seconds["sampling"])
    (folder / "config.yaml").unlink()
    assert load_run(folder).sampler == "unknown"
    (folder / "run.json").write_text(json.dumps({"is_interrupted": True}))
    assert load_run(folder).judge()[1].advice == "trust", "the file of the draws says not"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        load_run(tmp_path)
    (tmp_path / "killed" / "draws").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"killed is a run that was stopped before its first"):
        load_run(tmp_path / "killed")
    with DiskStore(tmp_path / "killed" / "draws") as store:
        store.append(SITES, {"depth": torch.zeros(2)})
        store.append(STATS, {"lp": torch.zeros(2)})
    with pytest.raises(OutputError, match=r"bayes-splat finish .*killed"):
        load_run(tmp_path / "killed")
    other = arviz_bridge.from_groups({"posterior": {"x": (("chain", "draw"), np.ones((2, 3)))}})
    results.save(other, tmp_path / "posterior.nc")
    with pytest.raises(OutputError, match="has no group predictions"):
        load_run(tmp_path)
