"""Which frames become context and targets, and what bad choices lead to."""

import json
from pathlib import Path

import pytest
import torch

from bayes_splat import config, view_choice
from bayes_splat.errors import ConfigError, SceneError
from tests.helpers_disk import write_demo_scene


@pytest.fixture
def photographed(tmp_path: Path) -> Path:
    return write_demo_scene(tmp_path / "scene")


def test_folder_scene_gives_asked_frames_in_order(photographed):
    options, _ = config.compose_config(
        [f"scene={photographed}", "context=[1,0]", "targets=[4,2]", "resolution=16"]
    )
    context, targets = view_choice.load_views(options)
    assert context.names == ("context_1", "context_0")
    assert targets.names == ("target_2", "target_0")
    assert context.images.shape == (2, 3, 12, 16)


def test_targets_default_to_the_nearest_frames(photographed):
    options, _ = config.compose_config([f"scene={photographed}", "resolution=16"])
    context, targets = view_choice.load_views(options)
    assert context.names == ("context_0", "context_1")
    assert set(targets.names) == {"target_0", "target_1", "target_2"}


def test_split_sets_frames_and_depth_range(photographed):
    split = {"name": "easy", "context": [0, 1], "targets": [3], "near": 1.5, "far": 9.0}
    (photographed / "splits.json").write_text(json.dumps([split]))
    options, _ = config.compose_config([f"scene={photographed}", "split=easy", "far=8"])
    context, targets = view_choice.load_views(options)
    assert targets.names == ("target_1",)
    assert float(context.cameras.near[0]) == 1.5
    assert float(context.cameras.far[0]) == 8.0


BAD = [
    (["context=[0,99]"], SceneError, "99"),
    (["near=5", "far=2"], ConfigError, "near"),
    (["far=0.5"], SceneError, "near"),
    (["split=none"], SceneError, "splits.json"),
    (["context=[0,1]", "targets=[1]"], ConfigError, "target"),
]


@pytest.mark.parametrize(("overrides", "error", "words"), BAD)
def test_bad_choices_are_one_clear_sentence(photographed, overrides, error, words):
    def choose() -> None:
        options, _ = config.compose_config([f"scene={photographed}", *overrides])
        view_choice.load_views(options)

    with pytest.raises(error, match=words):
        choose()


def test_missing_scene_names_the_folder(tmp_path):
    options, _ = config.compose_config([f"scene={tmp_path / 'nowhere'}"])
    with pytest.raises(SceneError, match="nowhere"):
        view_choice.load_views(options)


@pytest.mark.parametrize("override", ["split=a", "near=1", "context=[0,7]"])
def test_options_that_do_not_go_with_demo(override):
    options, _ = config.compose_config([override])
    with pytest.raises(ConfigError, match="demo"):
        view_choice.load_views(options)


def test_two_photographs_alone_get_a_new_view_in_between(photographed):
    table = json.loads((photographed / "transforms.json").read_text())
    table["frames"] = table["frames"][:2]
    (photographed / "transforms.json").write_text(json.dumps(table))
    options, _ = config.compose_config([f"scene={photographed}", "resolution=16"])
    context, targets = view_choice.load_views(options)
    poses = context.cameras.extrinsics
    middle = targets.cameras.extrinsics[0]
    assert bool(targets.images.isnan().all())
    torch.testing.assert_close(middle[:3, 3], poses[:, :3, 3].mean(0))
    torch.testing.assert_close(middle[:3, :3] @ middle[:3, :3].T, torch.eye(3))
    half = middle[:3, :3].T @ poses[0, :3, :3], poses[1, :3, :3].T @ middle[:3, :3]
    torch.testing.assert_close(half[0].trace(), half[1].trace())


@pytest.mark.parametrize("chosen", [["targets=[0,2]"], ["context=[1,2]", "targets=[2]"]])
def test_frames_of_the_demo_that_the_model_sees_are_no_targets(chosen):
    with pytest.raises(ConfigError, match="is in context too"):
        view_choice.load_views(config.compose_config(["resolution=12", *chosen])[0])
