import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bayes_splat.errors import SceneError
from bayes_splat.scenes import examples
from bayes_splat.scenes.procedural import procedural_scene
from bayes_splat.scenes.write_transforms import write_transforms


def test_procedural_examples_are_the_scenes_of_their_seeds():
    planned = examples.procedural(3, 16, seed=5, split="val", num_targets=2)
    assert [p.key for p in planned] == ["val_5", "val_6", "val_7"]
    assert {p.source for p in planned} == {"procedural"}
    found, views = planned[1].load(), procedural_scene(6, "val", 16, num_views=4)
    assert found.key == "val_6"
    assert torch.equal(found.context.images, views.images[:2])
    assert found.targets.names == ("target_0", "target_1")
    assert found.context.depths is not None
    assert views.depths is not None
    assert torch.equal(found.context.depths, views.depths[:2])


@pytest.fixture
def data(tmp_path):
    """Two scenes of four frames, a spoilt one, and a folder of other things."""
    for number, name in enumerate(("beach", "attic")):
        write_transforms(procedural_scene(number, "val", 16, num_views=4), tmp_path / name)
    chosen = [
        {"name": "pair", "context": [0, 1], "targets": [2, 3], "near": 0.2, "far": 30.0},
        {"name": "three", "context": [0, 1, 2], "targets": [3]},
        {"name": "stereo", "context": [2, 1], "targets": []},
    ]
    (tmp_path / "beach" / "splits.json").write_text(json.dumps(chosen))
    (tmp_path / "attic" / "splits.json").write_text(json.dumps(chosen[:1]))
    (tmp_path / "cellar").mkdir()
    (tmp_path / "cellar" / "splits.json").write_text("[")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_folders_give_every_split_of_two_views(data):
    planned = examples.folders(data, 12)
    assert [p.key for p in planned] == ["attic/pair", "beach/pair", "beach/stereo", "cellar"]
    pair, stereo = planned[1].load(), planned[2].load()
    assert pair.key == "beach/pair"
    assert pair.context.images.shape == (2, 3, 12, 12)
    assert (len(pair.targets), len(stereo.targets)) == (2, 0)
    assert float(pair.context.cameras.near[0]) == pytest.approx(0.2)
    assert pair.context.cameras.far[0] == 30
    assert stereo.context.names[1] == pair.context.names[1]
    with pytest.raises(SceneError, match=r"splits.json is not readable JSON"):
        planned[3].load()


def test_spoilt_split_is_an_example_that_says_so(data):
    chosen = [{"name": "odd", "context": "0, 1"}, {"name": "even", "context": [0, 1]}]
    (data / "beach" / "splits.json").write_text(json.dumps(chosen))
    planned = examples.folders(data, 12)
    assert [p.key for p in planned] == ["attic/pair", "beach/odd", "beach/even", "cellar"]
    with pytest.raises(SceneError, match="split odd: context is '0, 1'"):
        planned[1].load()
    assert len(planned[2].load().targets) == 0


def test_depths_are_those_of_nearest_pixels(data):
    depth = np.where(np.eye(16, dtype=bool), 1.0, 5.0).astype(np.float32)
    depth[:, 0] = np.nan
    [stem] = {p.stem for p in (data / "attic" / "images").iterdir() if "context_0" in p.stem}
    (data / "attic" / "depth").mkdir(exist_ok=True)
    np.save(data / "attic" / "depth" / f"{stem}.npy", depth)
    context = examples.folders(data, 12)[0].load().context
    assert context.depths is not None
    known = context.depths[0][~context.depths[0].isnan()]
    assert set(known.unique().tolist()) == {1.0, 5.0}  # never something between
    assert bool(context.depths[0, :, 0].isnan().all())


def test_folder_without_scenes_is_refused(tmp_path):
    with pytest.raises(SceneError, match=r"holds no scene folders with splits.json; give the"):
        examples.folders(tmp_path, 12)


DATA = Path(os.environ.get("BAYES_SPLAT_DATA", Path(__file__).parents[3] / "shared/data")).resolve()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no scenes in {DATA}; set BAYES_SPLAT_DATA")
def test_real_scenes_have_their_pairs():
    planned = {one.key: one.load for one in examples.folders(DATA, 64)}
    assert len(planned) == 82
    assert not [key for key in planned if "multi" in key or "mono" in key]
    stereo = planned["mb_piano/stereo"]()
    assert len(stereo.targets) == 0
    assert stereo.context.depths is not None
    known = (~stereo.context.depths.isnan()).double().mean((1, 2))
    assert 0.9 < float(known[0]) <= 1.0
    assert known[1] == 0
