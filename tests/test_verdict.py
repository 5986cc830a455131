"""Labelled runs: draws of target pixels made to be good or spoiled in a known way."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bayes_splat import diagnostics
from bayes_splat.verdict import Verdict, times_as_many, verdict

SHAPE = (24, 32)
NAMES = ("front", "side")
GRID = diagnostics.fixed_grid(SHAPE, len(NAMES), max_pixels=100)
NUM_PIXELS = len(GRID.view)


def iid(num_chains=4, num_draws=200, seed=0, num_pixels=NUM_PIXELS):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_chains, num_draws, num_pixels, 4)).astype(np.float32)


def autoregressive(coefficient, num_chains=4, num_draws=200, seed=0, num_pixels=NUM_PIXELS):
    x = iid(num_chains, num_draws, seed, num_pixels)
    for t in range(1, num_draws):
        x[:, t] = coefficient * x[:, t - 1] + math.sqrt(1 - coefficient**2) * x[:, t]
    return x


def diagnose(x):
    return diagnostics.diagnose_pixels(0.5 + 0.1 * x[..., :3], 3 + 0.1 * x[..., 3])


def judge(x, **settings) -> Verdict:
    found = verdict(diagnose(x), GRID, SHAPE, NAMES, **settings)
    opening = {
        "trust": "Trust it: ",
        "longer": "Run longer",
        "distrust": "Do not trust it, because ",
    }
    assert found.sentence.startswith(opening[found.advice])
    assert found.is_converged == (found.advice == "trust")
    assert found.sentence.count("\n") == 0
    assert found.sentence.endswith(".")
    assert ".." not in found.sentence
    return found


def with_(x, change: Callable[[Any], None]):
    change(x)
    return x


def shifted(x, chain, by):
    x[chain] += by
    return x


def stuck_from(x, chain, draw):
    x[chain, draw:] = x[chain, draw]
    return x


def switching(rate, num_draws=400, seed=1):
    """Two modes six standard deviations apart; every chain changes between them at this rate."""
    rng = np.random.default_rng(seed)
    flips = rng.random((4, num_draws, NUM_PIXELS, 1)) < rate
    start = rng.integers(0, 2, (4, 1, NUM_PIXELS, 1))
    mode = (np.cumsum(flips, axis=1) + start) % 2
    return iid(4, num_draws) + 6 * mode


def background(x, share):
    pixels = int(share * NUM_PIXELS)
    x[:, :, :pixels] = 0
    return diagnostics.diagnose_pixels(
        np.where(x == 0, 0, 0.5 + 0.1 * x)[..., :3], np.where(x == 0, 0, 3 + 0.1 * x)[..., 3]
    )


RNG = np.random.default_rng(5)
SIZE = (4, 300, NUM_PIXELS, 4)

LABELLED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "independent draws": (iid, {}, "trust"),
    "two chains are enough": (lambda: iid(2, 400), {}, "trust"),
    "autocorrelated, long enough": (lambda: autoregressive(0.8, num_draws=1000), {}, "trust"),
    "antithetic": (lambda: autoregressive(-0.5), {}, "trust"),
    "heavy tails": (lambda: RNG.standard_t(2, SIZE), {}, "trust"),
    "two modes, visited often": (lambda: switching(0.3), {}, "trust"),
    "one in twelve pixels bad": (
        lambda: with_(iid(), lambda x: x[0, :, : NUM_PIXELS // 12].__iadd__(10)),
        {},
        "trust",
    ),
    "one chain stopped, three good": (lambda: iid(3), {"left_out": [2]}, "trust"),
    "too short": (lambda: iid(num_draws=15), {}, "longer"),
    "hardly begun": (lambda: iid(num_draws=3), {}, "longer"),
    "no draw yet": (lambda: iid(num_draws=0), {}, "longer"),
    "slow": (lambda: autoregressive(0.9), {}, "longer"),
    "very slow": (lambda: autoregressive(0.98), {}, "longer"),
    "two modes, visited rarely": (lambda: switching(0.02), {}, "longer"),
    "interrupted": (iid, {"is_interrupted": True}, "longer"),
    "hopelessly slow": (lambda: autoregressive(0.9995), {}, "distrust"),
    "one chain stuck": (lambda: stuck_from(iid(), 3, 0), {}, "distrust"),
    "one chain stuck on the way": (lambda: stuck_from(iid(), 1, 80), {}, "distrust"),
    "all stuck apart": (
        lambda: np.broadcast_to(np.arange(4.0)[:, None, None, None], (4, 50, NUM_PIXELS, 4)),
        {},
        "distrust",
    ),
    "all stuck at the mode": (lambda: np.zeros((4, 50, NUM_PIXELS, 4)), {}, "distrust"),
    "one chain in another mode": (lambda: shifted(iid(), 2, 5), {}, "distrust"),
    "slow chains in different modes": (
        lambda: (
            autoregressive(0.8, num_draws=400)
            + np.array([0.0, 6, 0, 6], np.float32)[:, None, None, None]
        ),
        {},
        "distrust",
    ),
    "one chain wider than the others": (
        lambda: with_(iid(), lambda x: x[0].__imul__(12)),
        {},
        "distrust",
    ),
    "drifting": (
        lambda: autoregressive(0.5) + np.linspace(0, 4, 200)[:, None, None],
        {},
        "distrust",
    ),
    "warmup too short": (
        lambda: autoregressive(0.5) + 8 * np.exp(-np.arange(200) / 50)[:, None, None],
        {},
        "distrust",
    ),
    "not finite": (
        lambda: with_(iid(), lambda x: x[0, 3, :100].__setitem__(..., np.nan)),
        {},
        "distrust",
    ),
    "diverging": (iid, {"num_diverging": 3}, "distrust"),
    "a biased sampler whose chains agree": (iid, {"sampler": "sgld"}, "distrust"),
    "without its test": (iid, {"sampler": "ula"}, "distrust"),
    "an optimiser that trembles": (iid, {"sampler": "sgd"}, "distrust"),
    "a biased sampler, too short": (
        lambda: autoregressive(0.98),
        {"sampler": "sgld"},
        "distrust",
    ),
    "an exact sampler": (iid, {"sampler": "nuts"}, "trust"),
    "a single chain": (lambda: iid(1, 2000), {}, "distrust"),
    "three of four chains stopped": (lambda: iid(1), {"left_out": [0, 1, 3]}, "distrust"),
    "all chains stopped": (lambda: iid(0), {"left_out": [0, 1, 2, 3]}, "distrust"),
}


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_runs(name):
    make, settings, expected = LABELLED[name]
    found = judge(make(), **settings)
    assert found.advice == expected, found.sentence


@pytest.mark.parametrize(("share", "advice"), [(0.0, "trust"), (0.7, "trust"), (1.0, "distrust")])
def test_background_does_not_count(share, advice):
    found = verdict(background(iid(), share), GRID, SHAPE, NAMES)
    assert found.advice == advice
    if share == 0.7:
        assert f"{int(0.7 * NUM_PIXELS)} pixels that never change left out" in found.sentence
    if share == 1.0:
        assert "no Gaussian is seen" in found.sentence


WORDS = {
    "hardly begun": r"3 draws a chain are too few to judge, take at least 100 \(draws=100\)",
    "interrupted": "interrupted after 200 draws",
    "one chain stuck": "because chain 3 stands still",
    "one chain stuck on the way": "because chain 1 stands still",
    "all stuck apart": "all chains stand still",
    "all stuck at the mode": "all chains stand still",
    "one chain in another mode": "different modes, use more warmup, another sampler",
    "slow chains in different modes": "different modes",
    "hopelessly slow": "hardly left their starts: it would take more than 50 times",
    "drifting": r"still move in one direction, use more warmup \(warmup=400 or more\)",
    "not finite": "some renders are not finite",
    "diverging": "3 steps after warmup tried a state of non-finite energy",
    "a biased sampler whose chains agree": "because sgld samples something else .* hold it against",
    "an optimiser that trembles": "because sgd is an optimiser",
    "a biased sampler, too short": "because sgld samples .*; only",
    "a single chain": "chains=4 is the usual choice",
    "one chain stopped, three good": "; chain 2 was stopped on the way and left out",
    "three of four chains stopped": "chains 0 and 1 and 3 were stopped on the way and left out",
    "all chains stopped": "no complete chain",
}


@pytest.mark.parametrize("name", WORDS)
def test_the_reason_is_named(name):
    make, settings, _ = LABELLED[name]
    assert re.search(WORDS[name], judge(make(), **settings).sentence)


def test_several_reasons_are_all_told():
    found = judge(iid(num_chains=1), is_interrupted=True, num_diverging=1)
    words = ("interrupted", "1 step after warmup", "single chain")
    assert all(word in found.sentence for word in words)


# ----- how much longer -----


@pytest.mark.parametrize(
    ("coefficient", "num_chains", "num_draws"),
    [(0.8, 4, 60), (0.9, 4, 100), (0.95, 4, 200), (0.95, 8, 100), (0.9, 2, 150)],
)
def test_how_much_longer_is_right_within_a_factor_of_two(coefficient, num_chains, num_draws):
    """Half of what is asked for is not enough, and twice as much is."""
    some = 40
    grid = diagnostics.PixelGrid(*(column[:some] for column in GRID))
    short = autoregressive(coefficient, num_chains, num_draws)[:, :, :some]
    found = verdict(diagnose(short), grid, SHAPE, NAMES)
    assert found.advice == "longer"
    draws = re.search(r"about [\d.]+ times as many draws \(draws=(\d+)\)", found.sentence)
    assert draws is not None
    assert int(draws[1]) == pytest.approx(found.times_as_many * num_draws, abs=10)
    asked = int(draws[1])
    long = autoregressive(coefficient, num_chains, 2 * asked, seed=1, num_pixels=some)
    assert not verdict(diagnose(long[:, : asked // 2]), grid, SHAPE, NAMES).is_converged
    assert verdict(diagnose(long), grid, SHAPE, NAMES).is_converged


def test_quantities_that_draws_do_not_help_are_told_apart():
    x = autoregressive(0.9, num_draws=400)
    x[0, :, :20] += 40
    x[1, 50:, 20:30] = 0
    times = times_as_many(diagnose(x))
    assert np.isinf(times[:30]).all()
    assert np.isfinite(times[30:]).all()
    assert (times_as_many(diagnose(iid())) == 1).mean() > 0.99


# ----- where -----


def test_shifted_chain_is_found_where_it_is():
    x = iid()
    place = (GRID.view == 1) & (GRID.row < 8) & (GRID.column >= 22)
    assert 0.05 < place.mean() < 0.1
    x[2][:, GRID.view == 1] += 6
    x[2][:, place] += 4
    found = judge(x)
    assert "of view side" in found.sentence
    worst = np.nanmax(diagnose(x).statistics.rhat)
    assert f"{worst:.3g}" in found.sentence


def test_region_is_named():
    x = iid()
    place = (GRID.view == 1) & (GRID.row < 8) & (GRID.column >= 22)
    x[2][:, place] += 6
    found = judge(x, min_share=0.99)
    assert "at the upper right of view side (rows 0-7, columns 22-31)" in found.sentence


def test_fixed_depth_of_a_moving_pixel_does_not_count():
    x = iid()
    x[..., 3] = 1
    assert diagnose(x).is_judged[:, 3].sum() == 0
    assert judge(x).is_converged


def test_thresholds_count():
    assert not judge(iid(), min_ess=2000).is_converged
    assert not judge(iid(), max_rhat=1.0).is_converged
    x = iid()
    x[0, :, : NUM_PIXELS // 6] += 10
    assert not judge(x).is_converged
    assert judge(x, min_share=0.8).is_converged
