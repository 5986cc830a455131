"""Splits are found by name; what is missing or malformed says so."""

import json

import pytest

from bayes_splat.errors import SceneError
from bayes_splat.scenes import splits

ENTRIES = [
    {"name": "a", "context": [3, 1], "targets": [0], "near": 0.5, "far": 2.0, "overlap": 0.9},
    {"name": "b", "context": [0, 1]},
]


def write(folder, content):
    (folder / "splits.json").write_text(json.dumps(content))


def test_split_by_name(tmp_path):
    write(tmp_path, ENTRIES)
    assert splits.names(tmp_path) == ("a", "b")
    assert splits.load_split(tmp_path, "a") == splits.Split((3, 1), (0,), 0.5, 2.0)
    assert splits.load_split(tmp_path, "b") == splits.Split((0, 1), (), None, None)
    write(tmp_path, [{"name": "c", "context": [0, 1], "depth_eval": [1]}])
    assert splits.load_split(tmp_path, "c").depth_eval == (1,)


def test_unknown_name_lists_the_known(tmp_path):
    write(tmp_path, ENTRIES)
    with pytest.raises(SceneError, match=r"splits\.json has no split 'c'; choose from a, b\."):
        splits.load_split(tmp_path, "c")


def test_missing_file(tmp_path):
    with pytest.raises(SceneError, match=r"splits\.json does not exist; name context"):
        splits.load_split(tmp_path, "a")


def test_invalid_json(tmp_path):
    (tmp_path / "splits.json").write_text("[")
    with pytest.raises(SceneError, match=r"splits\.json is not readable JSON"):
        splits.names(tmp_path)


@pytest.mark.parametrize("content", [{}, [3], [{"context": [0]}], [{"name": 3}]])
def test_malformed_list(tmp_path, content):
    write(tmp_path, content)
    with pytest.raises(SceneError, match="not a list of objects with a name"):
        splits.names(tmp_path)


@pytest.mark.parametrize("value", [3, ["1"], [1.5], [True]])
def test_frames_that_are_no_numbers(tmp_path, value):
    write(tmp_path, [{"name": "a", "context": value}])
    with pytest.raises(SceneError, match=r"split a: context is .*; write a list of frame numbers"):
        splits.load_split(tmp_path, "a")


def test_depth_range_that_is_no_number(tmp_path):
    write(tmp_path, [{"name": "a", "context": [0, 1], "near": "1", "far": 2}])
    with pytest.raises(SceneError, match="split a: near is '1', which is not a number"):
        splits.load_split(tmp_path, "a")
