import itertools
from collections import Counter

import pytest
import torch

from bayes_splat.scenes import training_scenes as training
from bayes_splat.types import Views


def same(one: Views, other: Views) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.cameras.extrinsics, other.cameras.extrinsics)
        and one.depths is not None
        and other.depths is not None
        and torch.equal(one.depths, other.depths)
    )


def test_a_folder_keeps_scenes_to_the_last_bit(tmp_path):
    drawn = training.training_scene(3, "train")
    assert same(drawn, training.training_scene(3, "train", tmp_path))
    assert same(drawn, training.training_scene(3, "train", tmp_path))
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["000003.npz"]
    assert not same(drawn, training.training_scene(3, "val", tmp_path))


def test_shapes_come_as_often_as_asked():
    counts = Counter(training.shape_of(number) for number in range(4000))
    assert set(counts) == set(training.SHAPES)
    total = sum(training.SHAPES.values())
    for shape, share in training.SHAPES.items():
        assert counts[shape] / 4000 == pytest.approx(share / total, abs=0.03)


def test_examples_resume_anywhere_and_are_dealt_out(tmp_path):
    def take(start: int, step: int, count: int) -> list[Views]:
        found = training.training_examples(start, step, num_scenes=3, folder=tmp_path)
        return [example.context for example in itertools.islice(found, count)]

    whole = take(0, 1, 5)
    assert same(take(3, 1, 1)[0], whole[3])
    assert [same(a, b) for a, b in zip(take(1, 2, 2), whole[1::2], strict=False)] == [True] * 2
    assert not same(whole[0], whole[3]), "the same scene, changed in another way"


def test_context_and_targets_are_different_views(tmp_path):
    for number in range(12):
        example = training.training_example(number, num_scenes=4, folder=tmp_path)
        names = [*example.context.names, *example.targets.names]
        assert len(names) == len(set(names)) == training.NUM_VIEWS
        assert len(example.context) in (2, 3)


def test_validation_is_the_pair_whose_overlap_was_asked_for(tmp_path):
    (example,) = training.validation_examples(1, tmp_path)
    assert example.context.names == ("context_0", "context_1")
    assert same(example.context, training.training_scene(0, "val", tmp_path)[:2])
