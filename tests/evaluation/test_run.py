import json
import math
from dataclasses import replace

import pytest
import torch

from bayes_splat.errors import BayesSplatError, OutputError
from bayes_splat.evaluation import methods, run, tables
from bayes_splat.evaluation.config import compose_evaluate

SMALL = ("resolution=12", "chains=2", "warmup=1", "draws=3", "components=4", "renderer=cpu")


FAILING = ("model.count=variable", "model.prior=uniform")
"""Options under which there is no ensemble."""

SAVE_FIGURE = run.report.save_figure


def _plan(out, *more, methods="[deterministic,gibbs]"):
    return compose_evaluate([*SMALL, f"methods={methods}", f"out={out}", *more])


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch):
    """Figures are drawn once, by ``done``; other tests leave empty files."""

    def touch(path, figure):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr(run.report, "save_figure", touch)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """An evaluation of two methods, one of which fails, and what it said."""
    out = tmp_path_factory.mktemp("evaluation")
    patch = pytest.MonkeyPatch()  # set up before or after ``quick_figures``: draw in any case
    patch.setattr(run.report, "save_figure", SAVE_FIGURE)
    said: list[str] = []
    plan = _plan(
        out, "model.count=variable", "model.prior=uniform", methods="[deterministic,ensemble,gibbs]"
    )
    found = run.evaluate(plan, said.append)
    patch.undo()
    return out, found, said


def test_everything_is_written(done):
    out, found, said = done
    written = {str(path.relative_to(out)) for path in out.rglob("*.*") if path.stat().st_size}
    pages = {"metrics.csv", "scenes.csv", "aggregate.csv", "summary.md", "summary.html"}
    figures = {"sparsification.png", "reliability.png", "scatter.png"}
    views = {f"demo/panels/target_{i}.png" for i in range(3)}
    assert pages | figures | views | {f"demo/{name}" for name in figures} <= written
    assert {"demo/gibbs/result.json", "demo/gibbs/maps.npz", "demo/metrics.csv"} <= written
    assert said[0] == "demo: scene 1 of 1"
    assert str(out) in found.text


def test_a_row_a_method_and_view_raw_and_scaled(done):
    out, found, _ = done
    rows = tables.read_csv(out / "metrics.csv")
    assert len(rows) == len(found.views) == 2 * 3 * 2 + 1
    assert len(tables.read_csv(out / "scenes.csv")) == 2 * 2 + 1
    assert {row["view"] for row in rows if not row["error"]} == {f"target_{i}" for i in range(3)}


def test_a_failure_is_a_row_and_the_others_go_on(done):
    out, found, said = done
    [failed] = [row for row in found.views if row.get("error")]
    assert failed["method"] == "ensemble"
    assert "take model.count=fixed" in failed["error"]
    assert any("ensemble failed" in text for text in said)
    assert "take model.count=fixed" in (out / "summary.md").read_text()
    assert tables.methods(found.views)[-1] == ("gibbs", "scaled")


def test_done_work_stays_done_and_failures_are_tried_again(done, monkeypatch):
    out, _, _ = done
    ran = []

    def count(name):
        def method(task):
            ran.append(name)
            return methods.deterministic(task)

        return method

    for name in ("deterministic", "ensemble", "gibbs"):
        monkeypatch.setitem(run.METHODS, name, count(name))
    before = (out / "demo" / "gibbs" / "result.json").read_bytes()
    plan = _plan(
        out, "model.count=variable", "model.prior=uniform", methods="[deterministic,ensemble,gibbs]"
    )
    found = run.evaluate(plan, lambda text: None)
    assert ran == ["ensemble"]
    assert (out / "demo" / "gibbs" / "result.json").read_bytes() == before
    assert not any(row.get("error") for row in found.views)
    said: list[str] = []
    run.evaluate(plan, said.append)
    assert said[-1] == "demo: done already"
    # Other options are another evaluation.
    run.evaluate(_plan(out, "seed=5", methods="[gibbs]"), lambda text: None)
    assert ran == ["ensemble", "gibbs"]


def test_tables_are_of_the_methods_that_are_asked_for(tmp_path):
    """Whatever was evaluated in between, and nothing that is done is done again."""
    both, one = _plan(tmp_path), _plan(tmp_path, methods="[deterministic]")
    gibbs, said = [("gibbs", "raw"), ("gibbs", "scaled")], list[str]()
    assert tables.methods(run.evaluate(both, said.append).views)[2:] == gibbs
    assert tables.methods(run.evaluate(one, said.append).views)[2:] == []
    names = {record["views"][0]["method"] for record in run._records([tmp_path / "demo"])}
    assert names == {"deterministic"}, "figures too"
    assert tables.methods(run.evaluate(both, said.append).views)[2:] == gibbs
    assert said.count("demo: gibbs") == 1


def test_interruption_keeps_what_was_done(tmp_path, monkeypatch):
    def stop(task):
        raise KeyboardInterrupt

    monkeypatch.setitem(run.METHODS, "gibbs", stop)
    found = run.evaluate(_plan(tmp_path), lambda text: None)
    assert found.is_interrupted
    assert tables.methods(found.views) == [("deterministic", "raw"), ("deterministic", "scaled")]
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(_plan(tmp_path / "new", methods="[gibbs]"), lambda text: None)


def test_evaluations_are_put_together(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        plan = _plan(tmp_path / name, f"seed={seed}", methods="[deterministic]")
        run.evaluate(plan, lambda text: None)
    both = compose_evaluate([f"runs=[{tmp_path}/a,{tmp_path}/b]", f"out={tmp_path}/both"])
    found = run.evaluate(both, lambda text: None)
    assert len(found.views) == 2 * 3 * 2
    assert (tmp_path / "both" / "reliability.png").is_file()
    missing = compose_evaluate([f"runs=[{tmp_path}/nowhere]", f"out={tmp_path}/both"])
    with pytest.raises(OutputError, match="cannot be read as a table"):
        run.evaluate(missing, lambda text: None)


def test_a_stereo_pair_is_judged_by_its_depth(tmp_path, monkeypatch):
    """Two photographs are all there is, and one of them has true depth."""
    load = run.view_choice.load_views

    def pair(config):
        context, _ = load(config)
        unknown = torch.full_like(context.depths[1], torch.nan)
        context = replace(context, depths=torch.stack([context.depths[0], unknown]))
        return context, run.view_choice.view_between(context)

    monkeypatch.setattr(run.view_choice, "load_views", pair)
    found = run.evaluate(_plan(tmp_path), lambda text: None)
    assert {row["view"] for row in found.views} == {"context_0"}
    assert all(not math.isnan(row["depth_nll"]) for row in found.views)
    assert not any("psnr" in row for row in found.views)
    assert "## Depth" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "scatter.png").exists()
    monkeypatch.setattr(
        run.view_choice, "load_views", lambda c: [replace(v, depths=None) for v in pair(c)]
    )
    with pytest.raises(BayesSplatError, match="neither a photograph of a target view nor true"):
        run.evaluate(_plan(tmp_path / "none"), lambda text: None)


def test_broken_results_are_named(tmp_path):
    run.evaluate(_plan(tmp_path, methods="[deterministic]"), lambda text: None)
    path = tmp_path / "demo" / "deterministic" / "result.json"
    assert json.loads(path.read_text())["error"] is None
    path.write_text("{")
    with pytest.raises(OutputError, match="delete it and run again"):
        run.evaluate(_plan(tmp_path, methods="[deterministic]"), lambda text: None)
