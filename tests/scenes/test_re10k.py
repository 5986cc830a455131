import itertools
import json
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from bayes_splat import geometry
from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import re10k, re10k_cameras, re10k_chunks
from bayes_splat.scenes.re10k import Re10kOptions, Re10kTraining
from bayes_splat.scenes.re10k_chunks import Entry
from bayes_splat.scenes.re10k_views import ArbitraryViews, BoundedViews, Choice, Unsuitable
from tests import helpers_golden as golden
from tests import helpers_re10k

TINY = Re10kOptions(image_shape=(16, 16), stored_shape=(36, 64))
GAPS = BoundedViews(2, 2, (3, 4), (3, 4))


def entry(**change) -> Entry:
    made = helpers_re10k.entry("aa", **change)
    return Entry("0.torch, entry 0 (aa)", "aa", made["cameras"], made["images"])


def test_example_is_what_the_frames_say():
    stored = entry()
    found = re10k.make_example(stored, Choice((2, 6), (3, 6)), TINY)
    assert found.key == "aa"
    assert found.context.names == ("context_2", "context_6")
    assert found.targets.names == ("target_3", "target_6")
    assert found.context.images.shape == (2, 3, 16, 16)
    assert found.context.images.dtype == torch.float32
    assert torch.equal(found.targets.images[1], found.context.images[1])
    assert found.context.images.min() >= 0
    assert 0.5 < found.context.images.max() <= 1
    centres = found.context.cameras.extrinsics[:, :3, 3]
    assert float((centres[0] - centres[1]).norm()) == pytest.approx(1.0)
    fraction = (found.targets.cameras.extrinsics[0, :3, 3] - centres[0]).norm()
    assert float(fraction) == pytest.approx(0.25, abs=1e-5)  # one frame out of four
    near, far = re10k_cameras.depth_range(found.context.cameras)
    for views in (found.context, found.targets):
        assert views.cameras.near.tolist() == pytest.approx([near] * 2)
        assert views.cameras.far.tolist() == pytest.approx([far] * 2)
        assert views.depths is None


def test_official_options_are_the_default():
    stored = entry(image_shape=(360, 640))
    found = re10k.make_example(stored, Choice((0, 1), (2,)))
    assert found.context.cameras.image_shape == (256, 256)
    assert found.context.cameras.intrinsics[0, 0, 0] == pytest.approx(0.6 * 455)


def test_scale_of_the_file_is_kept_where_asked_or_with_three_views():
    kept = Re10kOptions((16, 16), (36, 64), is_baseline_one=False)
    for options, context in ((kept, (0, 4)), (TINY, (0, 2, 4))):
        made = re10k.make_example(entry(), Choice(context, (1,)), options)
        centres = made.context.cameras.extrinsics[:, :3, 3]
        assert float((centres[0] - centres[-1]).norm()) == pytest.approx(0.4, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({"focal": 0.4}, TINY, "has a field of view of 103 degrees, more than 100"),
        ({"image_shape": (36, 60)}, TINY, "pictures of 60x36 pixels, not 64x36"),
        ({"step": 1e-5}, TINY, "4e-05 apart and hardly move"),
    ],
)
def test_unsuitable_scenes_are_told_apart_from_broken_ones(change, options, sentence):
    with pytest.raises(Unsuitable, match=rf"0.torch, entry 0 \(aa\).*{sentence}"):
        re10k.make_example(entry(**change), Choice((2, 6), (3,)), options)


def test_wide_angle_in_any_frame_counts():
    wide = entry()
    wide.cameras[11, 0] = 0.3
    with pytest.raises(Unsuitable, match="field of view"):
        re10k.make_example(wide, Choice((2, 6), (3,)), TINY)


def test_reflection_shows_the_mirror_world():
    """A point in the mirror world is seen at the mirrored pixel."""
    example = re10k.make_example(entry(), Choice((2, 6), (3,)), TINY)
    mirrored = re10k.reflected(example)
    point = torch.tensor([[0.7, 0.3, 4.0]])
    there = torch.tensor([[-0.7, 0.3, 4.0]])
    before, depth = geometry.project_points(point, example.context.cameras)
    after, same = geometry.project_points(there, mirrored.context.cameras)
    assert torch.allclose(after[..., 0], 16 - before[..., 0], atol=1e-4)
    assert torch.allclose(after[..., 1], before[..., 1], atol=1e-4)
    assert torch.allclose(depth, same)
    assert torch.equal(mirrored.targets.images, example.targets.images.flip(-1))


@golden.needed
def test_reflection_is_the_official_one():
    known = golden.read("pixelsplat_shims.pt")["reflect"]
    example = re10k.make_example(entry(), Choice((2, 6), (3,)), TINY)
    official = golden.read("pixelsplat_shims.pt")["convert_poses"]["extrinsics"]
    cameras = replace(example.context.cameras, extrinsics=official)
    example = example._replace(context=replace(example.context, cameras=cameras))
    mirrored = re10k.reflected(example).context.cameras.extrinsics
    assert torch.allclose(mirrored, known["extrinsics"])


@pytest.fixture
def data(tmp_path):
    """Three chunks of two scenes to train on, two scenes and a spoilt one to test on."""
    names = iter("abcdef")
    helpers_re10k.write(
        tmp_path / "train",
        {
            f"{i:06}.torch": [helpers_re10k.entry(next(names), 8) for _ in range(2)]
            for i in range(3)
        },
    )
    spoilt = helpers_re10k.entry("z", 8)
    spoilt["images"][1] = spoilt["images"][1][:99]
    tested = {"000000.torch": [helpers_re10k.entry("x", 8)], "000001.torch": [spoilt]}
    tested["000001.torch"].append(helpers_re10k.entry("y", 8))
    helpers_re10k.write(tmp_path / "test", tested)
    chosen = {"context": [1, 5], "target": [2, 3]}
    index = {"y": chosen, "x": chosen, "z": chosen, "none": None, "lost": chosen}
    (tmp_path / "evaluation.json").write_text(json.dumps(index))
    return tmp_path


def test_evaluation_examples_are_read_one_by_one(data, monkeypatch):
    planned = re10k.evaluation_examples(data, data / "evaluation.json", TINY)
    assert [p.key for p in planned] == ["lost", "x", "y", "z"]
    assert {p.source for p in planned} == {"re10k"}
    reads = []
    read_chunk = re10k_chunks.read_chunk

    def count(path):
        reads.append(path.name)
        return read_chunk(path)

    monkeypatch.setattr(re10k_chunks, "read_chunk", count)
    lost, x, y, z = (p.load for p in planned)
    with pytest.raises(SceneError, match=r"has no scene lost, which .*evaluation.json names"):
        lost()
    assert x().context.names == ("context_1", "context_5")
    assert y().targets.names == ("target_2", "target_3")
    with pytest.raises(SceneError, match=r"000001.torch, entry 0 \(z\): frame 1 is no readable"):
        z()
    assert reads == ["000000.torch", "000001.torch"]


def test_evaluation_without_scenes_is_refused(data):
    (data / "evaluation.json").write_text('{"x": null}')
    with pytest.raises(SceneError, match="leaves every scene out"):
        re10k.evaluation_examples(data, data / "evaluation.json")


def test_index_that_names_the_wrong_chunk(data):
    (data / "test" / "index.json").write_text('{"x": "000001.torch"}')
    (data / "evaluation.json").write_text('{"x": {"context": [1, 5], "target": [2]}}')
    [planned] = re10k.evaluation_examples(data, data / "evaluation.json", TINY)
    with pytest.raises(SceneError, match=r"000001.torch holds no scene x though index.json says"):
        planned.load()


def _take(dataset, count):
    return list(itertools.islice(iter(dataset), count))


def _mark(example):
    return (example.key, example.context.names, float(example.context.images.double().sum()))


def test_training_examples_depend_on_the_seed_alone(data):
    one, same, other = (_take(Re10kTraining(data, GAPS, seed, TINY), 12) for seed in (1, 1, 2))
    assert [_mark(e) for e in one] == [_mark(e) for e in same]
    assert [_mark(e) for e in one] != [_mark(e) for e in other]
    keys = [e.key for e in one]
    assert sorted(keys[:6]) == sorted(keys[6:]) == list("abcdef")  # an epoch has every scene once
    assert keys[:6] != keys[6:]
    again = Re10kTraining(data, GAPS, 1, TINY, first_epoch=1)
    assert [_mark(e) for e in _take(again, 6)] == [_mark(e) for e in one[6:]]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_share_an_epoch(data):
    """The same examples as one process makes; none twice; in the same order every time."""
    alone = {_mark(e) for e in _take(Re10kTraining(data, GAPS, 1, TINY), 6)}
    shared = []
    for _ in range(2):
        dataset = Re10kTraining(data, GAPS, 1, TINY)
        loader = DataLoader(dataset, batch_size=None, num_workers=3)
        shared.append([_mark(e) for e in itertools.islice(loader, 6)])
    assert set(shared[0]) == alone
    assert shared[0] == shared[1]


def test_ranks_share_an_epoch(data):
    alone = {_mark(e) for e in _take(Re10kTraining(data, GAPS, 1, TINY), 6)}
    parts = [Re10kTraining(data, GAPS, 1, TINY, rank=rank, ranks=3) for rank in range(3)]
    assert {_mark(e) for part in parts for e in _take(part, 2)} == alone
    with pytest.raises(ConfigError, match="holds 3 chunks, too few for 4 workers"):
        _take(Re10kTraining(data, GAPS, 1, TINY, ranks=4), 1)


def test_half_of_the_examples_are_mirrored(data):
    plain = _take(Re10kTraining(data, GAPS, 3, TINY, is_augmented=False), 60)
    augmented = _take(Re10kTraining(data, GAPS, 3, TINY), 60)
    mirrored = [
        torch.equal(b.context.images, a.context.images.flip(-1))
        for a, b in zip(plain, augmented, strict=True)
    ]
    assert 15 < sum(mirrored) < 45
    same = [
        torch.equal(a.context.images, b.context.images)
        for a, b in zip(plain, augmented, strict=True)
    ]
    assert [not m for m in mirrored] == same


def test_gap_grows_with_the_examples(data):
    growing = BoundedViews(2, 1, (1, 1), (6, 6), warm_up_steps=5)
    found = _take(Re10kTraining(data, growing, 0, TINY, batch_size=2), 12)
    gaps = [[int(n.split("_")[1]) for n in e.context.names] for e in found]
    assert [right - left for left, right in gaps] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    later = _take(Re10kTraining(data, growing, 0, TINY, first_step=5), 1)[0]
    left, right = (int(name.split("_")[1]) for name in later.context.names)
    assert right - left == 6


def test_unsuitable_scenes_are_passed_over_and_broken_ones_are_not(data):
    wide = helpers_re10k.entry("wide", 8, focal=0.3)
    helpers_re10k.write(data / "mixed", {"0.torch": [wide, helpers_re10k.entry("fine", 8)]})
    mixed = Re10kTraining(data, GAPS, 0, TINY, stage="mixed")
    assert {e.key for e in _take(mixed, 4)} == {"fine"}
    helpers_re10k.write(data / "wide", {"0.torch": [wide]})
    with pytest.raises(SceneError, match=r"no suitable scene for worker 0: .*field of view"):
        _take(Re10kTraining(data, GAPS, 0, TINY, stage="wide"), 1)
    every = ArbitraryViews(2, 6)  # also the frame that is broken
    with pytest.raises(SceneError, match=r"entry 0 \(z\): frame 1 is no readable picture"):
        _take(Re10kTraining(data, every, 0, TINY, stage="test"), 3)


def test_training_without_chunks_says_where_they_should_be(tmp_path):
    with pytest.raises(SceneError, match=r"holds no .torch chunks; give the folder that holds"):
        _take(Re10kTraining(tmp_path, GAPS, 0), 1)
