import json

import pytest

from bayes_splat import cli
from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.evaluation.config import (
    BASELINES,
    EXAMPLES,
    USUAL,
    EvaluateConfig,
    compose_evaluate,
    has_learned_error,
    is_baseline,
    kind_of,
)
from bayes_splat.sampler_config import MALAConfig


@pytest.fixture
def data(tmp_path):
    """Two scenes with splits and a folder without."""
    for scene, names in (("fern", ["near"]), ("fox", ["near", "far", "alone", "triple"])):
        contexts = {"triple": [0, 1, 2], "alone": [0]}
        entries = [
            {"name": name, "context": contexts.get(name, [0, 1]), "targets": [3]} for name in names
        ]
        entries.append({"name": "blind", "context": [0, 1], "targets": []})
        if scene == "fern":
            entries.append({"name": "stereo", "context": [0, 1], "depth_eval": [0]})
        (tmp_path / scene).mkdir()
        (tmp_path / scene / "transforms.json").touch()
        (tmp_path / scene / "splits.json").write_text(json.dumps(entries))
    (tmp_path / "other").mkdir()
    return tmp_path


def test_everything_is_evaluated_by_default():
    options, scenes = compose_evaluate([])
    assert options == EvaluateConfig()
    assert [scene.name for scene in scenes] == ["demo"]
    assert list(scenes[0].configs) == list(USUAL)
    assert {*BASELINES, "gibbs", "mala", "sgld", "nuts"} == {*USUAL}
    assert scenes[0].configs["mala"].sampler.name == "mala"


def test_options_go_where_they_belong():
    options, [scene] = compose_evaluate(
        [
            "methods=[ensemble,mala,gibbs,gibbs:rough]",
            "mala.step_size=0.1",
            "rough/model.prior=uniform",
            "gibbs/chains=2",
            "resolution=16",
            "out=x y",
        ]
    )
    assert options.out == "x y"
    assert all(config.resolution == 16 for config in scene.configs.values())
    assert scene.configs["mala"].sampler == MALAConfig(step_size=0.1)
    assert scene.configs["rough"].model.prior == "uniform"
    assert scene.configs["gibbs"].model.prior == "smooth"
    assert [scene.configs[name].chains for name in ("gibbs", "rough")] == [2, 4]
    assert "model.prior=uniform" in scene.settings["rough"]
    assert "components=128" in scene.settings["gibbs"]


def test_a_baseline_may_have_the_learned_error():
    _, [scene] = compose_evaluate(["methods=[ensemble,ensemble+error,laplace+error:two]"])
    assert list(scene.configs) == ["ensemble", "ensemble+error", "two"]
    assert scene.settings["ensemble"] != scene.settings["ensemble+error"]
    assert has_learned_error("laplace+error:two")
    assert kind_of("laplace+error:two") == "laplace"
    assert is_baseline("ensemble+error")
    assert not is_baseline("gibbs")


def test_every_pair_of_a_folder(data):
    _, scenes = compose_evaluate([f"data={data}", "methods=[gibbs]"])
    assert [scene.name for scene in scenes] == ["fern-near", "fern-stereo", "fox-near", "fox-far"]
    assert scenes[3].configs["gibbs"].scene == str(data / "fox")
    assert scenes[3].configs["gibbs"].split == "far"
    assert (scenes[3].scene, scenes[3].split) == ("fox", "far")


def test_chosen_scenes(data):
    _, scenes = compose_evaluate([f"data={data}", "scenes=[fox:far,fern:near]"])
    assert [scene.name for scene in scenes] == ["fox-far", "fern-near"]
    _, scenes = compose_evaluate([f"scenes={data / 'fox'}:far"])
    assert [scene.name for scene in scenes] == ["fox-far"]
    _, scenes = compose_evaluate([f"data={data}", "scene=fox", "split=triple"])
    assert [scene.name for scene in scenes] == ["fox-triple"]


def test_many_runs_of_scenes_and_splits(data):
    folder = f"{data / 'fern'},{data / 'fox'}"
    _, scenes = compose_evaluate([f"scene={folder}", "split=near,blind", "multirun=true"])
    names = ["fern-near", "fern-blind", "fox-near", "fox-blind"]
    assert [scene.name for scene in scenes] == names


def test_scenes_of_one_name_are_told_apart(data):
    other = data / "more" / "fox"
    other.mkdir(parents=True)
    (other / "transforms.json").touch()
    _, scenes = compose_evaluate([f"scenes=[{data / 'fox'},{other},{data / 'fern'}]"])
    names = [f"{data.name}-fox", "more-fox", "fern"]
    assert [scene.name for scene in scenes] == names
    assert [scene.scene for scene in scenes] == names


def test_nothing_counts_twice(data):
    with pytest.raises(ConfigError, match="fox:far is given 2 times"):
        compose_evaluate([f"data={data}", "scenes=[fox:far,fern:near,fox:far]"])
    with pytest.raises(ConfigError, match="monday is given 2 times"):
        compose_evaluate(["runs=[monday,./monday]"])


def test_a_scene_that_does_not_exist_is_named_before_anything_runs(data):
    with pytest.raises(SceneError, match="nope is not a folder"):
        compose_evaluate([f"data={data}", "scenes=[fox:far,nope]"])


def test_earlier_evaluations_are_put_together_without_running():
    options, scenes = compose_evaluate(["runs=[monday,'a b']"])
    assert (options.runs, scenes) == (["monday", "a b"], [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["methods=[gibbs,magic]"], "'magic', which does not exist; choose out of deterministic"),
        (["methods=[gibbs+error]"], "gibbs learns that error anyway"),
        (["methods=[gibbs,gibbs]"], "write kind:name"),
        (["sampler=mala"], r"write methods=\[mala,gibbs\]"),
        (["mala/draws=3", "methods=[gibbs]"], "draws=3 is for mala, but methods is"),
        (["mala.step_size=3", "methods=[gibbs]"], "is for mala, but methods is"),
        (["methods=[gibbs,mala]", "mala/resolution=8"], "resolution differs between gibbs and"),
        (["runs=[a]", "scene=x"], "scene=x does not go with runs="),
        (["components=0"], "components is 0 but must be between"),
        (["scale_from=all"], "own or cross"),
        (["seconds"], "not an option"),
        (["methods=[gibbs"], "cannot read"),
        (["data=nowhere"], "data is nowhere but no folder in it"),
        (["scenes=[a:b]", "scene=x"], "give one of them"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose_evaluate(overrides)


def test_a_split_that_does_not_exist_is_named_before_anything_runs(data):
    with pytest.raises(SceneError, match="no split 'wide'; choose from near, far"):
        compose_evaluate([f"data={data}", "scene=fox", "split=wide"])


def test_help_explains_every_option(capsys):
    assert cli.main(["evaluate", "--help"]) == cli.DONE
    shown = capsys.readouterr().out
    for name in ("methods", "scenes", "data", "runs", "components", "scale_from", "out"):
        assert f"    {name}=" in shown
    assert "--multirun" in shown
    assert EXAMPLES.count("bayes-splat evaluate") == shown.count("  bayes-splat evaluate") == 5


def test_multirun_is_a_flag_too(data, capsys):
    arguments = [f"data={data}", "scene=fern,fox", "split=near,wide"]
    assert cli.main(["evaluate", "--multirun", *arguments]) == cli.MISTAKE
    assert "no split 'wide'" in capsys.readouterr().err
