import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bayes_splat.samplers import sampling
from bayes_splat.samplers.base import Info
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.sampling import Draws, sample, stored_draws
from bayes_splat.samplers.store import DiskStore
from tests import helpers_targets as targets
from tests.helpers_sampling import constrain, run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

STATS = {
    "acceptance_rate",
    "step_size",
    "lp",
    "energy",
    "diverging",
    "restarted",
    "stopped",
}


def same(one: Draws, other: Draws) -> bool:
    pairs = ((one.sites, other.sites), (one.stats, other.stats))
    return all(a.keys() == b.keys() for a, b in pairs) and all(
        torch.equal(a[name], b[name]) for a, b in pairs for name in b
    )


class At:
    """A progress that does something at one step, and keeps a log."""

    def __init__(self, phase: str, step: int, action: Callable[[], None]) -> None:
        self.moment = (phase, step)
        self.action = action
        self.log: list[tuple[str, int, int]] = []

    def update(self, phase: str, step: int, total: int, info: Info, seconds: float) -> None:
        assert seconds >= 0
        assert info.acceptance_rate.shape == (3,)
        self.log.append((phase, step, total))
        if (phase, step) == self.moment:
            self.action()


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def clock(monkeypatch) -> None:
    """Seconds that pass by looking: a hundredth a look, however busy the machine is."""
    looks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(looks) / 100)
    monkeypatch.setattr(sampling, "time", clock)


# ----- what is kept -----


def test_shapes_types_and_names() -> None:
    draws = run()
    assert draws.sites["level"].shape == (3, 6)
    assert draws.sites["slope"].shape == (3, 6, 2)
    assert draws.sites["slope"].dtype == torch.float32
    assert (draws.sites["level"] > 0).all()
    assert set(draws.stats) == set(draws.warmup_stats) == STATS
    for name in STATS:
        assert draws.stats[name].shape == (3, 6)
        assert draws.warmup_stats[name].shape == (3, 10)
        is_flag = name in ("diverging", "restarted", "stopped")
        expected = torch.bool if is_flag else torch.float64
        assert draws.stats[name].dtype == expected
    assert not draws.is_interrupted
    assert draws.seconds["warmup"] > 0
    assert draws.seconds["sampling"] > 0


def test_energy_is_that_of_the_draw() -> None:
    draws = run(constrain=lambda position: position, dtype=torch.float64)
    target = targets.correlated().target
    for index in range(6):
        position = {site: value[:, index] for site, value in draws.sites.items()}
        assert torch.equal(draws.stats["energy"][:, index], target.potential_energy(position))
    assert torch.equal(draws.stats["lp"], -draws.stats["energy"])
    assert all(torch.equal(draws.final[site], draws.sites[site][:, -1]) for site in draws.final)


def test_thinning_keeps_every_third_draw_and_the_mean_acceptance_rate() -> None:
    every, third = run(num_draws=12), run(num_draws=4, thinning=3)
    assert torch.equal(third.sites["slope"], every.sites["slope"][:, 2::3])
    assert torch.equal(third.stats["energy"], every.stats["energy"][:, 2::3])
    rates = every.stats["acceptance_rate"].reshape(3, 4, 3).mean(-1)
    torch.testing.assert_close(third.stats["acceptance_rate"], rates)


def test_blocks_have_their_own_acceptance_rates() -> None:
    known = targets.correlated()
    block = KernelBlock("up", MALA(known.target), targets.BlockOf(known.target, ("slope",)))
    draws = run(kernel=Gibbs(known.target, [block]))
    assert set(draws.stats) == STATS | {"acceptance_rate_up"}


def test_no_warmup() -> None:
    draws = run(num_warmup=0)
    assert draws.warmup_stats == {}
    assert draws.stats["step_size"].unique().tolist() == pytest.approx([0.1])


# ----- reproducible -----


def test_same_seed_same_draws_whatever_the_number_of_chains() -> None:
    once, again, alone = run(), run(), run(chains=1)
    for site in once.sites:
        assert torch.equal(once.sites[site], again.sites[site])
        assert torch.equal(once.sites[site][:1], alone.sites[site])


def test_same_draws_whatever_the_number_of_threads() -> None:
    _, data = targets.location_scale_joint(1, 0)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            target = PyroTarget(targets.location_scale, (data[0],))
            generators = make_generators(0, 4)
            start = target.initial_position(generators)
            results.append(
                sample(
                    MALA(target),
                    start,
                    generators,
                    num_warmup=20,
                    num_draws=10,
                    constrain=target.constrain,
                )
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(other.sites["scale"], results[0].sites["scale"])
        assert torch.equal(other.stats["energy"], results[0].stats["energy"])


# ----- stopped half-way -----


@pytest.mark.parametrize(
    "action", [interrupt, lambda: os.kill(os.getpid(), signal.SIGTERM)], ids=["ctrl-c", "sigterm"]
)
def test_an_interruption_keeps_the_draws(action: Callable[[], None]) -> None:
    whole = run()
    draws = run(progress=At("sampling", 4, action))
    assert draws.is_interrupted
    kept = draws.sites["slope"].shape[1]
    assert kept == 3
    assert torch.equal(draws.sites["slope"], whole.sites["slope"][:, :kept])
    assert torch.equal(draws.stats["energy"], whole.stats["energy"][:, :kept])
    assert draws.warmup_stats["energy"].shape == (3, 10)


def test_an_interruption_of_warmup_keeps_what_there_is() -> None:
    draws = run(progress=At("warmup", 4, interrupt))
    assert draws.is_interrupted
    assert draws.sites["slope"].shape == (3, 0, 2)
    assert draws.sites["slope"].dtype == torch.float32
    assert draws.stats == {}
    assert draws.warmup_stats["energy"].shape == (3, 3)
    assert draws.seconds["sampling"] == 0.0


def test_other_errors_pass_through() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        run(progress=At("sampling", 2, fail))


def test_the_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run()
    run(progress=At("sampling", 2, interrupt))
    assert signal.getsignal(signal.SIGTERM) is before


def test_sampling_works_outside_the_main_thread() -> None:
    results: list[Draws] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert torch.equal(results[0].sites["slope"], run().sites["slope"])


def test_a_deadline_leaves_time_for_draws(clock) -> None:
    draws = run(num_warmup=10**6, num_draws=10**6, deadline_seconds=0.4)
    assert draws.is_interrupted
    assert draws.sites["slope"].shape[1] > 10
    assert draws.seconds["warmup"] == pytest.approx(0.2, abs=0.03)
    assert sum(draws.seconds.values()) == pytest.approx(0.4, abs=0.05)


# ----- told on the way -----


def test_progress_is_told_of_every_step() -> None:
    progress = At("never", 0, interrupt)
    run(progress=progress, num_draws=2, thinning=2, num_warmup=3)
    assert progress.log == [
        *(("warmup", step, 3) for step in (1, 2, 3)),
        *(("sampling", step, 4) for step in (1, 2, 3, 4)),
    ]


def test_draws_can_be_read_from_disk_while_the_run_goes_on(tmp_path: Path) -> None:
    seen: list[Draws] = []
    whole = run()
    with DiskStore(tmp_path / "draws") as store:
        look = At("sampling", 5, lambda: seen.append(stored_draws(tmp_path / "draws")))
        draws = run(store=store, progress=look)
    assert same(draws, whole)
    assert seen[0].num_draws >= 4, "files grow under the reader's eyes"
    assert torch.equal(seen[0].sites["slope"][:, :4], whole.sites["slope"][:, :4])
    assert same(stored_draws(tmp_path / "draws"), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_chosen_sites_in_the_chosen_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    exact = run(dtype=torch.float64)
    with DiskStore(tmp_path / "draws") as store:
        draws = run(store=store, dtype=dtype, keep=["slope"])
    assert set(draws.sites) == {"slope"}
    assert torch.equal(draws.sites["slope"], exact.sites["slope"].to(dtype))
    assert draws.stats["lp"].dtype == torch.float64
    none = run(keep=[])
    assert not none.sites
    assert none.num_draws == 6


def test_keeping_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'slop', but there are level, slope"):
        run(keep=["slop"])


def test_with_a_budget_progress_is_told_how_many_steps_there_is_time_for(clock) -> None:
    progress = At("", 0, interrupt)
    draws = run(num_draws=10**9, thinning=2, sampling_seconds=0.15, progress=progress)
    totals = [total for phase, _, total in progress.log if phase == "sampling"]
    assert all(total > step for phase, step, total in progress.log if phase == "sampling")
    assert 0.8 < totals[-1] / (2 * draws.num_draws) < 1.2
    assert [total for phase, _, total in progress.log if phase == "warmup"] == [10] * 10


def test_a_budget_of_sampling_seconds_is_no_interruption(clock) -> None:
    draws = run(num_draws=10**6, sampling_seconds=0.15)
    assert not draws.is_interrupted
    assert draws.warmup_stats["lp"].shape == (3, 10)
    assert draws.num_draws > 3
    assert draws.seconds["sampling"] == pytest.approx(0.15, abs=0.03)


KILLED = """
import os, signal, sys
import torch
from bayes_splat.samplers.sampling import sample
from bayes_splat.samplers.store import DiskStore
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from tests import helpers_targets as targets
from tests.helpers_sampling import constrain, run

class Kill:
    def update(self, phase, step, total, info, seconds):
        if (phase, step) == ("sampling", 5):
            os.kill(os.getpid(), signal.SIGKILL)

known = targets.correlated()
sample(MALA(known.target), known.draw(3, 0), make_generators(0, 3), num_warmup=10, num_draws=6,
       constrain=lambda p: {"level": p["level"].exp(), "slope": p["slope"]},
       store=DiskStore(sys.argv[1]), progress=Kill())
"""


def test_a_killed_process_leaves_its_draws(tmp_path: Path) -> None:
    code = [sys.executable, "-c", KILLED, str(tmp_path / "draws")]
    done = subprocess.run(code, check=False, capture_output=True, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left, whole = stored_draws(tmp_path / "draws"), run()
    assert left.num_draws == 4
    assert left.is_interrupted
    for name, value in left.sites.items():
        assert torch.equal(value, whole.sites[name][:, :4])
    assert left.warmup_stats["lp"].shape == (3, 10)
    assert np.load(tmp_path / "draws" / "sites" / "slope.npy").shape == (4, 3, 2)


def test_nothing_on_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete draw"):
        stored_draws(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"num_draws": 0}, {"thinning": 0}, {"num_warmup": -1}], ids=str
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        run(**settings)


def test_every_chain_needs_a_generator() -> None:
    known = targets.correlated()
    with pytest.raises(ValueError, match="3 chains"):
        sample(
            MALA(known.target),
            known.draw(3, 0),
            make_generators(0, 2),
            num_warmup=1,
            num_draws=1,
            constrain=constrain,
        )


@pytest.mark.parametrize("limits", [{}, {"deadline_seconds": 600.0}, {"sampling_seconds": 600.0}])
def test_chains_that_have_all_stopped_are_no_interruption(limits: dict[str, float]) -> None:
    """Nothing is left to run: more time would change nothing."""
    broken = targets.FunctionTarget(lambda p: p["level"].exp() + p["slope"].sum(1) + torch.inf)
    draws = run(kernel=Still(broken), num_warmup=0, **limits)
    assert len(draws.failures) == 3
    assert draws.num_draws < 6
    assert not draws.is_interrupted


@dataclass(frozen=True)
class Still(MALA):
    """Stays where the energy is infinite."""

    def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
        ones = torch.ones_like(state.potential_energy)
        return state, Info(ones, state.potential_energy, ones, ones < 0, {})


def test_states_outside_the_window_are_no_draws() -> None:
    """Of every cycle of four steps the first two explore; draws come from the other two."""

    @dataclass(frozen=True)
    class Windowed(MALA):
        def is_sampling(self, state: Any) -> bool:
            return len(states) % 4 >= 2

        def step(self, generators: Any, state: Any, is_warmup: bool = False) -> Any:
            state, info = super().step(generators, state, is_warmup)
            states.append(state.position)
            return state, info

    states: list[Any] = []
    kernel = Windowed(targets.correlated().target)
    draws = run(kernel=kernel, num_warmup=0, num_draws=4, dtype=torch.float64)
    kept = [i for i in range(1, len(states) + 1) if i % 4 >= 2][:4]
    for draw, step in enumerate(kept):
        assert torch.equal(draws.sites["slope"][:, draw], states[step - 1]["slope"])
    states.clear()
    never = run(kernel=Never(kernel.target), num_draws=2, deadline_seconds=0.2)
    assert never.num_draws == 0
    assert never.is_interrupted


class Never(MALA):
    def is_sampling(self, state: Any) -> bool:
        return False
