"""Distances of cameras, on places made up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat import remoteness
from bayes_splat.types import Cameras
from tests.helpers_scenes import LIMIT


def cameras_at(*places: tuple[float, ...]) -> Cameras:
    extrinsics = torch.eye(4).repeat(len(places), 1, 1)
    extrinsics[:, :3, 3] = torch.tensor(places, dtype=torch.float32)
    ends = torch.ones(len(places))
    return Cameras(extrinsics, torch.eye(3).repeat(len(places), 1, 1), ends, 9.0 * ends, (4, 5))


PAIR = cameras_at((0.0, 0.0, 0.0), (2.0, 0.0, 0.0))

numbers = st.floats(-4.0, 4.0, width=32)
spots = st.tuples(numbers, numbers, numbers)


def test_by_hand_for_two_context_views():
    """In distances of the two: the mean distance to both, less a quarter."""
    places = [(1.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (1.0, 3.0, 0.0)]
    found = remoteness.of_views(PAIR, cameras_at(*places))
    apart = np.hypot(1.0, 3.0)
    wanted = [0.25, 0.25, 0.25, (4.0 + 2.0) / 4 - 0.25, apart / 2 - 0.25]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_by_hand_for_three_context_views():
    """On a line, one apart: a held-out one is 5/4, 1/2 and 5/4 from the others, 1 in the mean."""
    context = cameras_at((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (2.0, 0.0, 0.0))
    found = remoteness.of_views(context, cameras_at((1.0, 0.0, 0.0), (3.0, 0.0, 0.0)))
    among = (4 * 1.0 + 2 * 2.0) / 9
    np.testing.assert_allclose(found, [2 / 3 - among / 2, 2.0 - among / 2], rtol=1e-6)


def test_held_out_context_views_are_one_away_in_the_mean():
    context = cameras_at((0.0, 0.0, 0.0), (1.0, 0.3, 0.0), (2.0, 0.0, 1.0), (0.5, 0.5, 2.0))
    each = [remoteness.of_views(context, context[[view]], view)[0] for view in range(4)]
    assert np.mean(each) == pytest.approx(1.0)
    assert np.ptp(each) > 0.1
    pair = [remoteness.of_views(PAIR, PAIR[[view]], view)[0] for view in range(2)]
    assert pair == pytest.approx([1.0, 1.0])


def test_it_is_the_variance_of_brownian_motion():
    """Along a line: the motion at a new place less the mean of the motion at context views."""
    context, new = np.array([0.0, 1.0, 2.5]), np.array([0.4, 1.7, 3.5])
    rng = np.random.default_rng(0)
    places = np.sort(np.concatenate([context, new]))
    steps = rng.standard_normal((40_000, len(places))) * np.sqrt(np.diff(places, prepend=0.0))
    motion = dict(zip(places, np.cumsum(steps, axis=1).T, strict=True))
    mixed = np.mean([motion[place] for place in context], axis=0)
    truth = np.array([np.var(motion[place] - mixed) for place in new])
    others = [np.mean([motion[o] for o in context if o != place], axis=0) for place in context]
    typical = np.mean(
        [np.var(motion[place] - other) for place, other in zip(context, others, strict=True)]
    )
    one, other = (cameras_at(*((place, 0.0, 0.0) for place in line)) for line in (context, new))
    found = remoteness.of_views(one, other)
    # Standard error of a variance of n Normal numbers: sqrt(2 / n), here of two of them.
    np.testing.assert_allclose(found, truth / typical, rtol=LIMIT * np.sqrt(4 / 40_000))


@given(st.lists(spots, min_size=2, max_size=5), spots, st.floats(0.1, 50.0), spots)
def test_units_and_axes_do_not_matter_and_no_place_is_less_than_nowhere(places, place, unit, shift):
    context = cameras_at(*places)
    found = remoteness.of_views(context, cameras_at(place))
    assert np.isfinite(found).all()
    assert found[0] >= -1e-6, "half an energy distance"
    spread = np.linalg.norm(np.ptp(np.array(places), axis=0))
    if spread > 0.1:
        there = [tuple(unit * (p + s) for p, s in zip(one, shift, strict=True)) for one in places]
        new = tuple(unit * (p + s) for p, s in zip(place, shift, strict=True))
        moved = remoteness.of_views(cameras_at(*there), cameras_at(new))
        assert moved[0] == pytest.approx(found[0], rel=1e-3, abs=1e-3)


def test_cameras_that_only_turn_leave_it_open():
    context = cameras_at((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    found = remoteness.of_views(context, cameras_at((1.0, 2.0, 3.0), (5.0, 0.0, 0.0)))
    assert found.tolist() == [1.0, 1.0]
