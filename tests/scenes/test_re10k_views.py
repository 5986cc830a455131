import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes.re10k_views import (
    ArbitraryViews,
    BoundedViews,
    Choice,
    EvaluationViews,
    Unsuitable,
    read_evaluation_index,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("step", "gap"), [(0, 25), (75_000, 35), (150_000, 45), (400_000, 45)])
def test_gap_grows_as_in_pixelsplat(step, gap):
    assert BoundedViews().gap(step) == (gap, gap)


def test_gap_without_warm_up_is_the_final_one():
    assert BoundedViews(warm_up_steps=0).gap(0) == (45, 45)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(10, 60),
    st.integers(2, 4),
    st.integers(0, 2),
    st.integers(0, 20),
)
def test_bounded_views_lie_where_they_should(seed, num_frames, num_context, distance, step):
    sampler = BoundedViews(num_context, 5, (4, 5), (6, 9), 10, distance)
    found = sampler.choose("a", num_frames, generator(seed), step)
    left, *between, right = found.context
    least, most = sampler.gap(step)
    assert least <= right - left <= most
    assert left >= 0
    assert right < num_frames
    assert len(set(between)) == num_context - 2
    assert all(left < frame < right for frame in between)
    assert len(found.targets) == 5
    assert all(left + distance <= frame <= right - distance for frame in found.targets)
    assert found == sampler.choose("a", num_frames, generator(seed), step)


def test_bounded_views_reach_all_frames_that_they_may():
    found = [BoundedViews(2, 1, (2, 3), (2, 3)).choose("a", 6, generator(i), 0) for i in range(200)]
    assert {choice.context for choice in found} == {
        *((left, left + 2) for left in range(4)),
        *((left, left + 3) for left in range(3)),
    }
    assert {choice.targets[0] for choice in found} == set(range(6))


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        (BoundedViews(), "a has 20 frames, too few for a gap of 25"),
        (BoundedViews(5, 1, (3, 3), (3, 3)), "a gap of 3 has no room for 3 more"),
        (ArbitraryViews(20, 1), "a has 20 frames, too few to choose from"),
    ],
)
def test_short_scenes_are_passed_over(sampler, sentence):
    with pytest.raises(Unsuitable, match=sentence):
        sampler.choose("a", 20, generator(), 0)


def test_arbitrary_views_are_different_ones():
    found = ArbitraryViews(3, 4).choose("a", 7, generator(), 0)
    assert sorted([*found.context, *found.targets]) == list(range(7))
    named = ArbitraryViews(context=(2, 5), num_targets=6).choose("a", 8, generator(), 0)
    assert named.context == (2, 5)
    assert sorted(named.targets) == [0, 1, 3, 4, 6, 7]
    assert ArbitraryViews(context=(2, 5), targets=(1,)).choose("a", 8, generator(), 0) == Choice(
        (2, 5), (1,)
    )
    with pytest.raises(SceneError, match="frame 8 is asked for"):
        ArbitraryViews(context=(2, 8)).choose("a", 8, generator(), 0)


def test_evaluation_views_are_those_of_the_index(tmp_path):
    path = tmp_path / "index.json"
    table = {"aa": {"context": [3, 8], "target": [4, 8, 5], "overlap": 0.7}, "bb": None}
    path.write_text(json.dumps(table))
    index = read_evaluation_index(path)
    assert index == {"aa": Choice((3, 8), (4, 8, 5)), "bb": None}
    sampler = EvaluationViews(index)
    assert sampler.choose("aa", 9, generator(), 0) == index["aa"]
    assert EvaluationViews(index, 3).choose("aa", 9, generator(), 0).context == (3, 5, 8)
    with pytest.raises(Unsuitable, match="leaves this scene out"):
        sampler.choose("bb", 9, generator(), 0)
    with pytest.raises(SceneError, match="the evaluation index has no scene cc"):
        sampler.choose("cc", 9, generator(), 0)
    with pytest.raises(SceneError, match="aa has frames 0 to 7 but frame 8 is asked for"):
        sampler.choose("aa", 8, generator(), 0)
    with pytest.raises(ConfigError, match="must be 2 or 3"):
        EvaluationViews(index, 4)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (3, "scene aa is 3; write null"),
        ({"context": [1, 2]}, "scene aa: target is None"),
        ({"context": [1], "target": [2]}, r"scene aa: context is \[1\]; name at least 2"),
        ({"context": [1, -2], "target": [2]}, "scene aa: context is"),
        ({"context": [1, 2], "target": []}, "target is .*; name at least 1"),
        ({"context": [1, 2], "target": [1.5]}, "target is .*; write a list of frame numbers"),
    ],
)
def test_spoilt_index_is_named(tmp_path, value, sentence):
    path = tmp_path / "evaluation_index.json"
    path.write_text(json.dumps({"aa": value}))
    with pytest.raises(SceneError, match=f"evaluation_index.json, .*{sentence}"):
        read_evaluation_index(path)


def test_missing_index_is_named(tmp_path):
    with pytest.raises(SceneError, match=r"does not exist; take evaluation_index_re10k.json"):
        read_evaluation_index(tmp_path / "index.json")
