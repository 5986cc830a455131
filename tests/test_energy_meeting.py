"""Energies that meet, that only cross, and that never meet: series whose answer is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from bayes_splat import energy_meeting
from bayes_splat.energy_meeting import gaps, meeting_step


def stationary(seed: int, steps: int = 1024, chains: int = 4, memory: float = 0.9) -> np.ndarray:
    """An autoregressive process of variance 1, begun in equilibrium: [chain, step]."""
    noise = np.random.default_rng(seed).normal(size=(chains, steps))
    noise[:, 1:] *= (1 - memory**2) ** 0.5
    return np.asarray(lfilter([1.0], [1.0, -memory], noise))


def decay(length: float, height: float = 200.0, steps: int = 1024) -> np.ndarray:
    return height * np.exp(-np.arange(1, steps + 1) / length)


def test_equal_chains_meet_soon():
    met = [meeting_step(stationary(2 * s), stationary(2 * s + 1)) for s in range(20)]
    assert sum(step is not None for step in met) == 20
    assert np.median([step or 1024 for step in met]) < 200


@pytest.mark.parametrize("length", [10.0, 40.0])
def test_they_meet_when_the_start_is_forgotten(length):
    # Means over (t/2, t] lie within their error of about 0.3 once 200 exp(-t / (2 length)) does.
    forgotten = 2 * length * np.log(200 / 0.3)
    met = [
        meeting_step(stationary(2 * s) + decay(length), stationary(2 * s + 1)) for s in range(10)
    ]
    assert sum(step is not None for step in met) >= 9
    assert 0.4 * forgotten < np.median([step or 1024 for step in met]) < 2.0 * forgotten


def test_a_slow_decay_does_not_meet():
    for seed in range(8):
        slow = stationary(seed) + decay(600.0)
        assert meeting_step(slow, stationary(seed + 100)) is None


def test_a_small_lasting_difference_does_not_meet():
    for seed in range(8):
        other = stationary(seed, memory=0.5) + 0.5
        assert meeting_step(other, stationary(seed + 100, memory=0.5)) is None


def test_crossing_is_not_meeting():
    """A series that falls through the other's level agrees with it for a moment only."""
    steps = np.arange(1, 1025)
    for seed in range(8):
        falling = stationary(seed) + 2.0 * np.log2(200.0 / steps)
        found = gaps(falling, stationary(seed + 100))
        assert (found.score < energy_meeting.AGREE).any(), "it does cross"
        assert meeting_step(falling, stationary(seed + 100)) is None


def test_chains_that_part_again_have_not_met():
    late = np.where(np.arange(1024) >= 700, 3.0, 0.0)
    for seed in range(8):
        assert meeting_step(stationary(seed) + late, stationary(seed + 100)) is None


def test_meetings_in_the_later_half_are_not_confirmed():
    early = np.where(np.arange(1024) < 350, 50.0, 0.0)
    late = np.where(np.arange(1024) < 650, 50.0, 0.0)
    met = [meeting_step(stationary(s) + early, stationary(s + 100)) for s in range(10)]
    assert meeting_step(stationary(1) + late, stationary(101)) is None
    # The first window without the fifty begins at 350, which is half of its end; none ends so.
    assert all(step is None for step in met)


def test_chains_that_disagree_with_each_other_do_not_widen_the_error():
    apart = stationary(0, memory=0.0) + np.array([[-30.0], [-10.0], [10.0], [50.0]])
    found = gaps(apart, stationary(1, memory=0.0))
    assert found.error[-1] < 0.1
    assert found.score[-1] > 30


def test_the_error_is_that_of_the_mean():
    """Scores of equal chains are about as large as standard Normal numbers."""
    scores = [
        gaps(stationary(2 * s, memory=0.5), stationary(2 * s + 1, memory=0.5)).score[-1]
        for s in range(100)
    ]
    assert np.mean(np.square(scores)) == pytest.approx(1.0, abs=0.4)


def test_energies_that_are_not_finite_do_not_meet():
    broken = stationary(0)
    broken[2, 600] = np.inf
    assert meeting_step(broken, stationary(1)) is None
    early = stationary(0)
    early[:, :3] = np.inf
    assert meeting_step(early, stationary(1)) is not None


def test_few_steps_have_no_answer():
    short = stationary(0, steps=5)
    assert gaps(short, short).step.size == 0
    assert meeting_step(short, short) is None
    # Chains that stand still at one value agree with nobody else, and their score is no number.
    still = np.zeros((2, 64))
    assert meeting_step(still, still + 1.0) is None
