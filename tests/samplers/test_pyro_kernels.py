import warnings
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size

from bayes_splat.samplers.base import Batch, Generators, Position
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.pyro_kernels import VectorizedKernel
from bayes_splat.samplers.sampling import sample
from bayes_splat.samplers.schedules import Cyclical
from bayes_splat.samplers.sgld import SGLD
from tests import helpers_targets as targets

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(prior_scale: float = 5.0) -> None:
    """Rubin 1981, not centred."""
    mean = pyro.sample("mean", dist.Normal(0.0, prior_scale))
    spread = pyro.sample("spread", dist.LogNormal(1.0, 0.5))
    with pyro.plate("schools", 8):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        pyro.sample("effect", dist.Normal(mean + spread * offset, ERRORS), obs=EFFECTS)


def little_target() -> PyroTarget:
    _, data = targets.location_scale_joint(1, 0)
    return PyroTarget(targets.location_scale, (data[0],))


# ----- driven by Pyro -----


def test_draws_are_those_of_sample() -> None:
    target = little_target()
    start = target.initial_position(make_generators(5, 3))
    kernel = Gibbs(
        target,
        [
            KernelBlock("location", MALA(target), target.conditional(["location"])),
            KernelBlock("scale", MALA(target), target.conditional(["scale"])),
        ],
    )
    torch.manual_seed(0)
    before = torch.get_rng_state()
    mcmc = MCMC(
        VectorizedKernel(kernel, start, target.constrain, seed=7),
        num_samples=12,
        warmup_steps=8,
        disable_progbar=True,
    )
    mcmc.run()
    assert torch.equal(torch.get_rng_state(), before)
    draws = sample(
        kernel,
        start,
        make_generators(7, 3),
        num_warmup=8,
        num_draws=12,
        constrain=target.constrain,
        dtype=torch.float64,
    )
    samples = mcmc.get_samples()
    assert set(samples) == {"location", "scale"}
    for site, values in samples.items():
        assert values.shape == (12, 3)
        assert torch.equal(values.T, draws.sites[site])
    for ours, theirs in (
        (mcmc.kernel.stats, draws.stats),
        (mcmc.kernel.warmup_stats, draws.warmup_stats),
    ):
        assert ours.keys() == theirs.keys()
        assert all(
            torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num()) for name in theirs
        )
    assert {"lp", "energy", "diverging", "step_size", "acceptance_rate_scale"} <= set(draws.stats)
    rates = mcmc.diagnostics()["acceptance rate"]["chain 0"]
    assert rates == pytest.approx(draws.stats["acceptance_rate"].mean(1).tolist())


def test_states_that_a_cyclical_schedule_leaves_out_are_no_draws() -> None:
    """Inside of Gibbs neither: its draws are those of ``sample``, and no descent is among them."""
    normal = targets.FunctionTarget(lambda p: 0.5 * p["x"] ** 2)
    whole = Whole(normal)
    cyclical = Cyclical(0.5, 10, exploration=0.8, exploration_temperature=0.0)
    block = KernelBlock("x", SGLD(whole, cyclical), targets.Everything(whole))
    start = {"x": torch.full((3,), 5.0).double()}
    found = []
    for kernel in (SGLD(whole, cyclical), Gibbs(normal, [block])):
        driven = VectorizedKernel(kernel, start, lambda position: position, seed=3)
        mcmc = MCMC(driven, num_samples=6, warmup_steps=10, disable_progbar=True)
        mcmc.run()
        draws = sample(
            kernel,
            start,
            make_generators(3, 3),
            num_warmup=10,
            num_draws=6,
            constrain=lambda position: position,
            dtype=torch.float64,
        )
        assert torch.equal(mcmc.get_samples()["x"].T, draws.sites["x"])
        for name, values in draws.stats.items():
            torch.testing.assert_close(driven.stats[name], values, equal_nan=True)
        found.append(draws.sites["x"])
    assert torch.equal(*found)


@dataclass(frozen=True)
class Whole(targets.FunctionTarget):
    """A minibatch target whose batches are all data."""

    def __init__(self, target: targets.FunctionTarget) -> None:
        object.__setattr__(self, "energy", target.energy)

    def draw_batch(self, generators: Generators) -> Batch:
        return {}

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[torch.Tensor, Position]:
        return super().potential_and_gradient(position)


def test_a_second_run_gives_the_same_draws_and_initial_params_replace_the_start() -> None:
    target = little_target()
    start = target.initial_position(make_generators(5, 2))
    settings = {"num_samples": 5, "warmup_steps": 3, "disable_progbar": True}
    mcmc = MCMC(VectorizedKernel(MALA(target), start, target.constrain, seed=7), **settings)
    mcmc.run()
    once = mcmc.get_samples()["scale"]
    mcmc.run()
    assert torch.equal(mcmc.get_samples()["scale"], once)
    elsewhere = {site: torch.zeros_like(value) for site, value in start.items()}
    mcmc = MCMC(
        VectorizedKernel(MALA(target), elsewhere, target.constrain, seed=7),
        initial_params=start,
        **settings,
    )
    mcmc.run()
    assert torch.equal(mcmc.get_samples()["scale"], once)


@dataclass(frozen=True)
class BreaksOnce:
    """MALA that loses chain 0 at its fifth step."""

    inner: MALA
    count: list[int]

    def init(self, position, adaptation=None):
        return self.inner.init(position, adaptation)

    def step(self, generators, state, is_warmup=False):
        state, info = self.inner.step(generators, state, is_warmup)
        self.count[0] += 1
        if self.count[0] == 5:
            position = {site: value.clone() for site, value in state.position.items()}
            position["scale"][0] = torch.nan
            state = state._replace(position=position)
        return state, info


def test_a_chain_that_fails_is_stopped_alone():
    target = little_target()
    start = target.initial_position(make_generators(5, 2))
    settings = {"num_samples": 6, "warmup_steps": 3, "disable_progbar": True}
    runs = []
    for kernel in (MALA(target), BreaksOnce(MALA(target), [0])):
        mcmc = MCMC(VectorizedKernel(kernel, start, target.constrain, seed=7), **settings)
        mcmc.run()
        runs.append(mcmc)
    whole, broken = (mcmc.get_samples()["scale"] for mcmc in runs)
    assert torch.equal(broken[:, 1], whole[:, 1])
    assert torch.equal(broken[1:, 0], broken[:1, 0].expand(5))
    kernel = runs[1].kernel
    assert kernel.stats["stopped"].tolist() == [[False] + [True] * 5, [False] * 6]
    assert [(f.chain, f.phase, f.step) for f in kernel.failures] == [(0, "sampling", 2)]


def test_progress_bar_and_summary_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "PYTEST_XDIST_WORKER"):  # Pyro shows no bar there
        monkeypatch.delenv(name, raising=False)
    target = little_target()
    start = target.initial_position(make_generators(5, 2))
    kernel = VectorizedKernel(MALA(target), start, target.constrain, seed=7)
    assert kernel.logging() == {}
    mcmc = MCMC(kernel, num_samples=10, warmup_steps=3)
    mcmc.run()
    assert set(kernel.logging()) == {"step size", "acc. prob"}
    mcmc.summary()
    captured = capsys.readouterr()
    assert "acc. prob" in captured.err
    assert "scale" in captured.out
    assert "Number of divergences: 0" in captured.out


# ----- held against Pyro's own NUTS on the same model -----


@pytest.fixture(scope="module")
def nuts_draws() -> dict[str, torch.Tensor]:
    """Constrained draws [1, draw, ...]."""
    pyro.set_rng_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcmc = MCMC(NUTS(eight_schools), num_samples=700, warmup_steps=300, disable_progbar=True)
        mcmc.run()
    return dict(mcmc.get_samples(group_by_chain=True))


def check_agreement(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Means of values and of squares agree within the Monte Carlo errors of both."""
    for site, reference in theirs.items():
        for power in (1, 2):
            mean, error = [], []
            for draws in (ours[site].double() ** power, reference.double() ** power):
                size = effective_sample_size(draws, chain_dim=0, sample_dim=1)
                assert (size > 100).all(), f"{site}: too few effective draws to tell"
                mean.append(draws.mean((0, 1)))
                error.append(draws.flatten(0, 1).var(0) / size)
            deviation = (mean[0] - mean[1]) / (error[0] + error[1]).sqrt()
            worst = deviation.abs().max().item()
            assert worst < targets.LIMIT, f"{site}^{power} is {worst:.1f} standard errors off"


def our_draws(prior_scale: float = 5.0) -> dict[str, torch.Tensor]:
    target = PyroTarget(eight_schools, (prior_scale,))
    start = target.initial_position(make_generators(1, 16))
    draws = sample(
        MALA(target, adapt_preconditioner=True),
        start,
        make_generators(0, 16),
        num_warmup=300,
        num_draws=500,
        constrain=target.constrain,
    )
    return dict(draws.sites)


def test_mala_agrees_with_nuts(nuts_draws: dict[str, torch.Tensor]) -> None:
    check_agreement(our_draws(), nuts_draws)


def test_another_prior_is_seen_to_disagree(nuts_draws: dict[str, torch.Tensor]) -> None:
    with pytest.raises(AssertionError, match="standard errors off"):
        check_agreement(our_draws(prior_scale=2.5), nuts_draws)
