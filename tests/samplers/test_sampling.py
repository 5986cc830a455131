import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.samplers.base import Info, Position
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.sampling import Draws, sample
from tests import helpers_targets as targets

STATS = {"acceptance_rate", "step_size", "lp", "energy", "diverging"}


def constrain(position: Position) -> dict[str, Tensor]:
    return {"level": position["level"].exp(), "slope": position["slope"]}


def run(**settings: Any) -> Draws:
    known = targets.correlated()
    chains = settings.pop("chains", 3)
    arguments: dict[str, Any] = {"num_warmup": 10, "num_draws": 6, "constrain": constrain}
    return sample(
        settings.pop("kernel", MALA(known.target)),
        {site: value[:chains] for site, value in known.draw(3, 0).items()},
        make_generators(0, chains),
        **{**arguments, **settings},
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
        expected = torch.bool if name == "diverging" else torch.float64
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


def test_a_deadline_leaves_time_for_draws() -> None:
    draws = run(num_warmup=10**6, num_draws=10**6, deadline_seconds=0.4)
    assert draws.is_interrupted
    assert draws.sites["slope"].shape[1] > 10
    assert 0.15 < draws.seconds["warmup"] < 0.35
    assert sum(draws.seconds.values()) < 0.8


# ----- told on the way -----


def test_progress_is_told_of_every_step() -> None:
    progress = At("never", 0, interrupt)
    run(progress=progress, num_draws=2, thinning=2, num_warmup=3)
    assert progress.log == [
        *(("warmup", step, 3) for step in (1, 2, 3)),
        *(("sampling", step, 4) for step in (1, 2, 3, 4)),
    ]


def test_checkpoints_hold_the_draws_so_far() -> None:
    saved: list[Draws] = []
    whole = run(checkpoint=saved.append, checkpoint_seconds=0.0)
    assert [draws.sites["slope"].shape[1] for draws in saved] == [1, 2, 3, 4, 5, 6]
    assert torch.equal(saved[2].sites["slope"], whole.sites["slope"][:, :3])
    run(checkpoint=saved.append, checkpoint_seconds=1000.0)
    assert len(saved) == 6


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
