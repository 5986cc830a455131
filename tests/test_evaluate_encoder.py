import csv
import json

import numpy as np
import pytest

from bayes_splat import evaluate_encoder
from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.evaluate_encoder import BASELINE, EVERYTHING, evaluate, plan_examples
from bayes_splat.evaluate_encoder_config import compose_evaluate_encoder
from bayes_splat.models import proposals
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.scenes import examples
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.scenes.write_transforms import write_transforms
from tests import helpers_encoder, helpers_re10k

SMALL = ("resolution=16", "renderer=reference", "data=none", "proposals=plane_sweep")


@pytest.fixture(autouse=True)
def warmed(monkeypatch):
    """Who was warmed up; tests of the command line do it in earnest."""
    renderers: list[Renderer] = []
    monkeypatch.setattr(evaluate_encoder, "_warm_up", renderers.append)
    return renderers


def plan(*overrides, out):
    return compose_evaluate_encoder([*SMALL, *overrides, f"out={out}"])


def stored(out):
    return list(csv.DictReader((out / "evaluate_encoder.csv").open(encoding="utf-8")))


@pytest.fixture
def data(tmp_path):
    """A scene with depth and one whose pictures are missing."""
    folder = tmp_path / "data"
    for name in ("attic", "cellar"):
        write_transforms(procedural_scene(3, "val", 16, num_views=3), folder / name)
        chosen = [
            {"name": "pair", "context": [0, 1], "targets": [2]},
            {"name": "stereo", "context": [0, 1], "targets": []},
        ]
        (folder / name / "splits.json").write_text(json.dumps(chosen))
    for picture in (folder / "cellar" / "images").iterdir():
        picture.unlink()
    return folder


def test_everything_is_measured_and_written(tmp_path, data):
    heard: list[str] = []
    wanted = plan("number=2", "targets=2", f"data={data}", "panels=1", out=tmp_path / "out")
    found = evaluate(wanted, tell=heard.append)
    assert not found.is_interrupted
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "config.yaml",
        "evaluate_encoder.csv",
        "panel_data_plane_sweep.png",
        "panel_procedural_plane_sweep.png",
        "reliability.png",
        "summary.md",
    }
    rows = {(row.source, row.example, row.proposal): row for row in found.rows}
    assert len(rows) == len(found.rows) == len(stored(tmp_path / "out")) == 12
    sweep = rows["procedural", "test_1", "plane_sweep"]
    assert sweep.error == ""
    assert sweep.targets == 2
    assert 8 < sweep.psnr < 40
    assert 0 < sweep.abs_rel < 1
    assert 0 < sweep.delta <= 1
    assert (sweep.known, sweep.impossible) == (1.0, 0.0)
    assert np.isfinite([sweep.ssim, sweep.nll, *sweep.inside, *sweep.mass]).all()
    assert min(sweep.encode_seconds, sweep.render_seconds) > 0
    assert sweep.peak_memory > 50
    copied = rows["procedural", "test_1", BASELINE]
    assert np.isfinite([copied.psnr, copied.ssim]).all()
    assert np.isnan([copied.abs_rel, copied.nll, copied.encode_seconds]).all()
    stereo = rows["data", "attic/stereo", "plane_sweep"]
    assert stereo.error == ""
    assert np.isnan(stereo.psnr)
    assert stereo.abs_rel == rows["data", "attic/pair", "plane_sweep"].abs_rel > 0
    broken = rows["data", "cellar/pair", "plane_sweep"]
    assert "context_0.png does not exist" in broken.error
    assert "| data | plane_sweep | 2 of 4 |" in found.text
    assert "plane_sweep against nearest_view" in found.text
    assert heard[0] == "1 of 6: procedural test_0"


def test_same_seeds_give_the_same_scores(tmp_path):
    one, two = (
        evaluate(plan("number=1", "seed=4", "panels=0", out=tmp_path / name)).rows for name in "ab"
    )
    for a, b in zip(one, two, strict=True):
        assert (a.example, a.psnr, a.ssim, a.inside) == (b.example, b.psnr, b.ssim, b.inside)
        assert a.nll == b.nll or np.isnan([a.nll, b.nll]).all()


def test_proposal_without_its_options_is_told_once_and_the_rest_goes_on(tmp_path, monkeypatch):
    propose = proposals.propose

    def without_weights(views, config):
        if not isinstance(config, PlaneSweepConfig):
            raise ConfigError("proposal=encoder needs weights")
        return propose(views, config)

    monkeypatch.setattr(proposals, "propose", without_weights)
    both = "proposals=[encoder,plane_sweep]"
    found = evaluate(plan(both, "number=2", "panels=0", out=tmp_path))
    told = [row for row in found.rows if row.proposal == "encoder"]
    assert [(r.source, r.example, r.error) for r in told] == [
        (EVERYTHING, EVERYTHING, "proposal=encoder needs weights")
    ]
    assert len([r for r in found.rows if r.proposal == "plane_sweep" and not r.error]) == 2
    assert "- all all, encoder: proposal=encoder needs weights" in found.text


def test_encoder_with_weights_is_measured(tmp_path):
    path = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    wanted = plan(
        "proposals=[encoder]", f"encoder.checkpoint={path}", "number=1", out=tmp_path / "out"
    )
    [encoded, _] = evaluate(wanted).rows
    assert encoded.error == ""
    assert np.isfinite([encoded.psnr, encoded.abs_rel, encoded.nll]).all()
    assert (tmp_path / "out" / "panel_procedural_encoder.png").is_file()


def test_bug_in_one_example_is_a_row(tmp_path, monkeypatch):
    propose, calls = proposals.propose, []

    def second_fails(views, config):
        calls.append(views)
        if len(calls) == 2:
            raise ZeroDivisionError("by zero\nin the middle")
        return propose(views, config)

    monkeypatch.setattr(proposals, "propose", second_fails)
    found = evaluate(plan("number=3", "panels=0", out=tmp_path))
    errors = [row.error for row in found.rows if row.proposal == "plane_sweep"]
    assert errors == ["", "ZeroDivisionError: by zero", ""]


def test_interrupted_run_keeps_its_rows(tmp_path, monkeypatch):
    scene = examples.procedural_scene

    def third_is_interrupted(seed, *arguments, **options):
        if seed == 2:
            raise KeyboardInterrupt
        return scene(seed, *arguments, **options)

    monkeypatch.setattr(examples, "procedural_scene", third_is_interrupted)
    found = evaluate(plan("number=5", "panels=0", out=tmp_path))
    assert found.is_interrupted
    assert len(found.rows) == len(stored(tmp_path)) == 4
    assert "| procedural | plane_sweep | 2 of 2 |" in (tmp_path / "summary.md").read_text()
    with pytest.raises(KeyboardInterrupt):
        evaluate(plan("number=5", "seed=2", out=tmp_path / "nothing"))


def test_re10k_is_cut_to_squares(tmp_path):
    stored_pictures = [helpers_re10k.entry(key, 8, image_shape=(360, 640)) for key in "xy"]
    helpers_re10k.write(tmp_path / "test", {"0.torch": stored_pictures})
    chosen = {"context": [1, 5], "target": [2, 3]}
    (tmp_path / "index.json").write_text(json.dumps({"x": chosen, "lost": chosen}))
    wanted = plan(
        "scenes=none", f"re10k={tmp_path}", f"index={tmp_path / 'index.json'}", out=tmp_path / "o"
    )
    found = evaluate(wanted)
    rows = {(row.example, row.proposal): row for row in found.rows}
    assert rows["x", "plane_sweep"].error == ""
    assert rows["x", "plane_sweep"].targets == 2
    assert "has no scene lost" in rows["lost", BASELINE].error
    assert not (tmp_path / "o" / "reliability.png").exists()  # no depth is known


def test_most_examples_are_spread_over_each_source(tmp_path, data):
    wanted = plan("number=9", "most=3", f"data={data}", out=tmp_path)
    keys = [planned.key for planned in plan_examples(wanted)]
    assert keys == ["test_0", "test_4", "test_8", "attic/pair", "cellar/pair", "cellar/stereo"]


def test_folder_that_does_not_exist_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SceneError, match="holds no scene folders"):
        evaluate(plan(f"data={tmp_path / 'nowhere'}", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_first_example_pays_for_no_compilation(tmp_path, warmed):
    evaluate(plan("number=1", "panels=0", out=tmp_path))
    assert len(warmed) == 1
