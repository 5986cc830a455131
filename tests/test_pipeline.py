"""The main job end to end on tiny pictures: what is written, and what bad input leads to."""

import errno
import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from bayes_splat import arviz_bridge, config, export, inference, pipeline, results
from bayes_splat.discrepancy import TERMS
from bayes_splat.errors import BayesSplatError, ConfigError, ModelError, OutputError, SceneError
from bayes_splat.samplers.failures import StepError
from tests.helpers_disk import write_demo_scene

SMALL = (
    "resolution=16",
    "chains=2",
    "draws=8",
    "warmup=4",
    "sampler.mala_steps=1",
    "model.noise_prior=[2.0,0.005]",  # given, not learned beforehand, which takes longer
)


class Quiet:
    """A progress display that remembers, and can interrupt the run at a step."""

    def __init__(self, stop_at: int | None = None, stop_in: str = "sampling") -> None:
        self.messages: list[str] = []
        self.steps: list[tuple[str, int]] = []
        self.stop_at, self.stop_in = stop_at, stop_in

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, phase: str, step: int, total: int, info: object, seconds: float) -> None:
        self.steps.append((phase, step))
        if phase == self.stop_in and step == self.stop_at:
            raise KeyboardInterrupt


def run(out: Path, *overrides: str, progress: Quiet | None = None) -> pipeline.RunSummary:
    options, _ = config.compose_config([*SMALL, f"out={out}", *overrides])
    return pipeline.reconstruct(options, "seed: 0", progress or Quiet())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pipeline.RunSummary:
    return run(tmp_path_factory.mktemp("run") / "out")


# ----- what a run leaves behind -----


def test_every_promised_file_is_written(finished):
    names = {str(p.relative_to(finished.out)) for p in finished.out.rglob("*") if p.is_file()}
    single = {"posterior.nc", "scene.ply", "summary.csv", "config.yaml", "run.json"}
    pictures = {"mean.png", "std.png", "depth.png", "depth_std.png", "panel.png", "maps.npz"}
    assert names == single | {f"target_{i}/{p}" for i in range(3) for p in pictures}


def test_posterior_holds_the_promised_groups(finished):
    container = results.load(finished.out / "posterior.nc")
    for group in ("posterior", "sample_stats", "observed_data", "constant_data", "predictions"):
        assert arviz_bridge.has_group(container, group), group
    posterior = arviz_bridge.group(container, "posterior")
    assert posterior["depth"].dims == ("chain", "draw", "gaussian")
    assert posterior["depth"].shape == (2, 8, 2 * 12 * 16)
    assert set(posterior.data_vars) == {"depth", "opacity", "noise_scale"}
    assert {"acceptance_rate", "step_size", "lp", "energy", "diverging"} <= set(
        arviz_bridge.group(container, "sample_stats").data_vars
    )


def test_scene_opens_again_and_lies_in_range(finished):
    scene = export.read_ply(finished.out / "scene.ply")
    assert len(scene) == 2 * 12 * 16
    assert bool(torch.isfinite(scene.means).all())


def test_run_json_counts_renders_and_names_versions(finished):
    record = json.loads((finished.out / "run.json").read_text())
    sampling = record["renders"]["sampling"]
    # 12 sweeps of 2 chains x 2 views, each with at least two gradients.
    assert sampling["differentiable"] >= 12 * 2 * 2 * 2
    assert sampling["forward"] > sampling["differentiable"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["seed"] == 0
    assert len(record["scores"]["psnr"]) == 3
    assert record["is_converged"] is False


def test_two_photographs_alone_give_a_new_view(tmp_path):
    folder = write_demo_scene(tmp_path / "scene")
    table = json.loads((folder / "transforms.json").read_text())
    table["frames"] = table["frames"][:2]
    (folder / "transforms.json").write_text(json.dumps(table))
    summary = run(tmp_path / "out", f"scene={folder}", "draws=4")
    name = "between_context_0_and_context_1"
    assert (summary.out / name / "panel.png").is_file()
    assert "psnr" not in json.loads((summary.out / "run.json").read_text())["scores"]
    assert "unknown" in summary.text


def test_summary_has_five_lines_a_verdict_and_the_place(finished):
    lines = finished.text.splitlines()
    assert len(lines) == 7
    assert lines[5].startswith(("Run longer", "Do not trust it"))
    assert str(finished.out) in lines[6]


def test_maps_are_the_prediction(finished):
    maps = np.load(finished.out / "target_0" / "maps.npz")
    assert maps["mean"].shape == (12, 16, 3)
    assert (maps["std"] >= maps["epistemic_std"]).all()


def test_same_seed_same_draws_and_another_seed_others(finished, tmp_path):
    def depths(summary: pipeline.RunSummary) -> np.ndarray:
        container = results.load(summary.out / "posterior.nc")
        return np.asarray(arviz_bridge.group(container, "posterior")["depth"])

    again, other = run(tmp_path / "again"), run(tmp_path / "other", "seed=1")
    assert (depths(finished) == depths(again)).all()
    assert (depths(finished) != depths(other)).any()


@pytest.mark.parametrize("sampler", ["mala", "sgld"])
def test_other_samplers_run(sampler, tmp_path):
    options = [o for o in SMALL if "mala_steps" not in o]
    parsed, _ = config.compose_config([*options, f"out={tmp_path}", f"sampler={sampler}"])
    assert pipeline.reconstruct(parsed, "", Quiet()).scores["psnr"]


# ----- what context views teach beforehand -----

LEARNING = ("model.noise_prior=null", "draws=3", "warmup=2", "resolution=12")


def photographed(folder: Path) -> Path:
    """The demo scene with noise in the place of its target photographs."""
    scene = write_demo_scene(folder)
    rng = np.random.default_rng(0)
    for image in (scene / "images").glob("target_*.png"):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(image)
    return scene


def test_noise_and_error_bars_are_learned_without_a_look_at_targets(tmp_path):
    scenes = write_demo_scene(tmp_path / "one"), photographed(tmp_path / "other")
    progress = Quiet()
    runs = [
        run(tmp_path / f"out_{scene.name}", *LEARNING, f"scene={scene}", progress=progress)
        for scene in scenes
    ]
    one, other = (json.loads((found.out / "run.json").read_text()) for found in runs)
    learned = one["held_out"]
    assert learned == other["held_out"]
    assert one["scores"]["psnr"] != other["scores"]["psnr"], "the targets are others"
    assert set(TERMS) < set(learned)
    assert 0.0 < learned["noise_scale"] < 0.5
    assert "predicting context view 2 of 2 from the others" in progress.messages
    posteriors = [
        arviz_bridge.group(results.load(found.out / "posterior.nc"), "posterior") for found in runs
    ]
    noise = posteriors[0]["noise_scale"].values
    assert (noise == posteriors[1]["noise_scale"].values).all()
    assert noise == pytest.approx(learned["noise_scale"], rel=0.2), "a strong prior"
    maps = np.load(runs[0].out / "target_0" / "maps.npz")
    assert np.ptp(maps["std"] ** 2 - maps["epistemic_std"] ** 2) > 1e-4, "noise depends on where"


def test_a_given_noise_prior_is_kept(finished):
    assert json.loads((finished.out / "run.json").read_text())["held_out"] is None


# ----- interruption -----


def test_interrupted_run_keeps_what_it_had(tmp_path):
    summary = run(tmp_path / "out", progress=Quiet(stop_at=5))
    assert summary.is_interrupted
    container = results.load(summary.out / "posterior.nc")
    assert 4 <= arviz_bridge.group(container, "posterior").sizes["draw"] <= 5
    assert "interrupted" in summary.text


def test_terminate_signal_counts_as_interruption(tmp_path):
    class Terminated(Quiet):
        def update(self, phase: str, step: int, total: int, info: object, seconds: float) -> None:
            if (phase, step) == ("sampling", 3):
                os.kill(os.getpid(), signal.SIGTERM)

    assert threading.current_thread() is threading.main_thread()
    assert run(tmp_path / "out", progress=Terminated()).is_interrupted


def test_interruption_before_the_first_draw_is_passed_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", progress=Quiet(stop_at=2, stop_in="warmup"))


def test_time_limit_ends_the_run_with_what_it_has(tmp_path):
    summary = run(tmp_path / "out", "draws=5000", "warmup=1", "time_limit=3")
    assert summary.is_interrupted
    container = results.load(summary.out / "posterior.nc")
    assert 0 < arviz_bridge.group(container, "posterior").sizes["draw"] < 5000


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


def test_a_killed_run_can_be_finished(finished, tmp_path):
    class Kill(Quiet):
        def update(self, phase: str, step: int, total: int, info: object, seconds: float) -> None:
            if (phase, step) == ("sampling", 6):
                raise Killed

    options, tree = config.compose_config([*SMALL, f"out={tmp_path / 'out'}"])
    with pytest.raises(Killed):
        pipeline.reconstruct(options, OmegaConf.to_yaml(tree), Kill())
    summary = pipeline.finish(tmp_path / "out", Quiet())
    assert summary.is_interrupted
    assert {p.name for p in summary.out.iterdir()} == {p.name for p in finished.out.iterdir()}
    whole, part = (
        arviz_bridge.group(results.load(run.out / "posterior.nc"), "posterior")["depth"]
        for run in (finished, summary)
    )
    np.testing.assert_array_equal(part, whole[:, :5])
    with pytest.raises(OutputError, match="holds no unfinished draws"):
        pipeline.finish(tmp_path / "out", Quiet())


def test_an_interruption_while_results_are_written_loses_no_draw(tmp_path, monkeypatch):
    """It says what to do, and the same command again does not throw them away."""

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    options, tree = config.compose_config([*SMALL, f"out={tmp_path / 'out'}"])
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "score", stop)
        with pytest.raises(KeyboardInterrupt, match=f"bayes-splat finish {tmp_path / 'out'}"):
            pipeline.reconstruct(options, OmegaConf.to_yaml(tree), Quiet())
    with pytest.raises(OutputError, match="holds 8 draws of a run that was stopped"):
        run(tmp_path / "out")
    summary = pipeline.finish(tmp_path / "out", Quiet())
    container = results.load(summary.out / "posterior.nc")
    assert arviz_bridge.group(container, "posterior").sizes["draw"] == 8
    assert not run(tmp_path / "out").is_interrupted, "nothing is left to lose"


def test_a_step_that_raises_is_one_sentence_and_keeps_the_draws(tmp_path, monkeypatch):
    def raising(*arguments: object, **settings: object) -> None:
        raise StepError("sampling", 3, "step 3 of sampling failed: ValueError: opacities is nan")

    monkeypatch.setattr(pipeline, "sample_posterior", raising)
    with pytest.raises(ModelError, match=r"step 3 of sampling failed.*less extreme"):
        run(tmp_path / "out")
    monkeypatch.setattr(pipeline.held_out, "learn", raising)
    with pytest.raises(ModelError, match="context views cannot be predicted: step 3"):
        run(tmp_path / "out", "model.noise_prior=null")


def test_chosen_sites_and_precision_are_kept(tmp_path):
    for save, names in (("noise_scale", {"noise_scale"}), ("none", set())):
        summary = run(tmp_path / save, f"save={save}", "save_dtype=float64", "draws=4")
        container = results.load(summary.out / "posterior.nc")
        assert arviz_bridge.has_group(container, "posterior") == bool(names)
        if names:
            posterior = arviz_bridge.group(container, "posterior")
            assert set(posterior.data_vars) == names
            assert posterior["noise_scale"].dtype == np.float64
        assert arviz_bridge.group(container, "predictions").sizes["draw"] == 4
    with pytest.raises(ConfigError, match=r"save is \['dept'\] but must be all, none"):
        run(tmp_path / "bad", "save=[dept]")


def test_sampled_colors_are_kept_and_exported(tmp_path):
    summary = run(tmp_path / "out", "model.colors=sampled", "save=[harmonics]", "draws=4")
    container = results.load(summary.out / "posterior.nc")
    kept = arviz_bridge.group(container, "posterior")["harmonics"]
    assert kept.dims == ("chain", "draw", "gaussian", "channel", "harmonic")
    scene = export.read_ply(summary.out / "scene.ply")
    np.testing.assert_allclose(scene.harmonics, kept.mean(("chain", "draw")), atol=1e-5)
    assert "harmonics,median" in (summary.out / "summary.csv").read_text()
    stats = arviz_bridge.group(container, "sample_stats")
    assert (stats["acceptance_rate_harmonics"] == 1).all()


def test_sampled_colors_go_with_noise_and_errors_that_are_learned(tmp_path):
    summary = run(
        tmp_path / "out",
        "model.colors=sampled",
        "model.noise_prior=null",
        "resolution=12",
        "draws=2",
        "sampler.mala_steps=0",
    )
    assert (summary.out / "posterior.nc").is_file()


def test_photographs_of_one_colour_are_sampled(tmp_path):
    folder = photographed(tmp_path)
    for image in (folder / "images").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(image)))).save(image)
    summary = run(tmp_path / "out", f"scene={folder}", "model.noise_prior=null", "draws=2")
    assert not json.loads((summary.out / "run.json").read_text())["failures"]


def test_half_precision_is_close(finished, tmp_path):
    summary = run(tmp_path / "out", "save_dtype=float16")
    one, other = (
        arviz_bridge.group(results.load(run.out / "posterior.nc"), "posterior")["depth"]
        for run in (finished, summary)
    )
    np.testing.assert_allclose(other, one, rtol=2**-11)


def test_a_full_disk_while_sampling_is_one_sentence(tmp_path, monkeypatch):
    def full(self, group, values):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "draws/sites/depth.npy")

    monkeypatch.setattr(pipeline.DiskStore, "append", full)
    with pytest.raises(OutputError, match=r"depth\.npy: the disk is full"):
        run(tmp_path / "out")


def test_a_chain_that_fails_is_told_of_and_left_out(tmp_path, monkeypatch):
    real = inference.make_kernel

    @dataclass(frozen=True)
    class Breaking:
        inner: Any
        count: list[int] = field(default_factory=lambda: [0])

        def init(self, position: Any, adaptation: Any = None) -> Any:
            return self.inner.init(position, adaptation)

        def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
            state, info = self.inner.step(generators, state, is_warmup)
            self.count[0] += 1
            if self.count[0] == 7:
                position = {site: value.clone() for site, value in state.position.items()}
                position["depth"][1, 5] = torch.nan
                state = state._replace(position=position)
            return state, info

    monkeypatch.setattr(inference, "make_kernel", lambda *args: Breaking(real(*args)))
    progress = Quiet()
    summary = run(tmp_path / "out", "chains=3", progress=progress)
    told = "chain 1 failed at step 3 of sampling: depth is not finite; stopped"
    assert told in progress.messages
    assert json.loads((summary.out / "run.json").read_text())["failures"] == [told]
    assert "chain 1 was stopped on the way and left out" in summary.text
    assert "2 chains of 8 draws" in summary.text
    container = results.load(summary.out / "posterior.nc")
    depth = arviz_bridge.group(container, "posterior")["depth"].values
    assert np.isnan(depth[1, 2:]).all()
    assert np.isfinite(depth[[0, 2]]).all()
    stats = arviz_bridge.group(container, "sample_stats")
    assert stats["stopped"].values.sum(1).tolist() == [0, 6, 0]
    assert np.isfinite(np.load(summary.out / "target_0" / "maps.npz")["mean"]).all()


# ----- bad input -----


def test_views_that_do_not_overlap_are_refused(tmp_path):
    photographed = write_demo_scene(tmp_path / "scene")
    table = json.loads((photographed / "transforms.json").read_text())
    turned = np.array(table["frames"][1]["transform_matrix"])
    turned[:3, [0, 2]] *= -1  # looks the other way
    table["frames"][1]["transform_matrix"] = turned.tolist()
    (photographed / "transforms.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="overlap"):
        run(tmp_path / "out", f"scene={photographed}", "targets=[2]")


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file"):
        run(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_errors_of_users_are_of_one_family():
    assert all(issubclass(e, BayesSplatError) for e in (SceneError, ConfigError, ModelError))
