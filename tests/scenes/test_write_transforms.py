"""What is written is read back: cameras and depths exactly, pictures to 8 bits."""

from dataclasses import replace

import pytest
import torch

from bayes_splat.errors import OutputError
from bayes_splat.scenes import transforms_json
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.scenes.write_transforms import write_transforms


def test_round_trip(tmp_path):
    views = procedural_scene(0, "test", 32, 3)
    write_transforms(views, tmp_path / "scene")
    again = transforms_json.load(tmp_path / "scene", None, resolution=None)
    assert again.names == views.names
    assert torch.equal(again.depths, views.depths)
    assert (again.images - views.images).abs().max() <= 0.5 / 255 + 1e-6
    for field in ("extrinsics", "intrinsics", "near", "far"):
        mine, read = getattr(views.cameras, field), getattr(again.cameras, field)
        torch.testing.assert_close(read, mine, rtol=1e-6, atol=1e-6)


def test_views_without_depth(tmp_path):
    write_transforms(replace(procedural_scene(0, resolution=16), depths=None), tmp_path)
    assert transforms_json.load(tmp_path, None, resolution=None).depths is None


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        write_transforms(procedural_scene(0, resolution=16), tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_transforms(procedural_scene(0, resolution=16), tmp_path / "mine.txt" / "scene")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
