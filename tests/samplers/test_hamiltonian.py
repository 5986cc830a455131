from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, NUTS

from bayes_splat.samplers import base, positions
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.hamiltonian import Hamiltonian
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.samplers.tempered_target import TemperedTarget
from bayes_splat.samplers.tempering import ParallelTempering
from tests import helpers_targets as targets
from tests.helpers_transitions import check_transition, starting

NORMAL = targets.correlated()
FIXED: dict[str, Any] = {"adapt_step_size": False, "adapt_mass_matrix": False}
KINDS: dict[str, Any] = {
    "hmc": partial(HMC, step_size=0.4, num_steps=2),
    "nuts": partial(NUTS, step_size=0.3, max_tree_depth=3),
}


def run(kernel: Hamiltonian, chains: int, warmup: int, steps: int, seed: int = 0) -> list[Any]:
    """The states and infos, of warmup and after."""
    generators = make_generators(seed, chains)
    state = kernel.init({s: v[:chains] for s, v in NORMAL.draw(4, 0).items()})
    made = []
    for step in range(warmup + steps):
        state, info = kernel.step(generators, state, is_warmup=step < warmup)
        made.append((state, info))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_exact_draws_stay_exact(kind):
    kernel = Hamiltonian(NORMAL.target, partial(KINDS[kind], **FIXED))
    check_transition(lambda n, seed: starting(kernel, NORMAL.draw(n, seed)), chains=500)


def test_another_target_is_seen():
    """The check has the power, with as many draws."""
    flat = targets.FunctionTarget(lambda position: 0.5 * NORMAL.target.energy(position))
    kernel = Hamiltonian(flat, partial(KINDS["nuts"], **FIXED))
    with pytest.raises(AssertionError, match="a step changes the target"):
        check_transition(lambda n, seed: starting(kernel, NORMAL.draw(n, seed)), chains=500)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_those_of_pyro_alone(kind):
    warmup, steps = 30, 10
    ours = run(Hamiltonian(NORMAL.target, KINDS[kind], warmup), 2, warmup, steps)
    start = NORMAL.draw(4, 0)
    for chain in range(2):

        def energy(z):
            return NORMAL.target.energy({site: value[None] for site, value in z.items()})[0]

        kernel = KINDS[kind](potential_fn=energy)
        kernel.initial_params = {site: value[chain].clone() for site, value in start.items()}
        place, rates = kernel.initial_params, []
        with torch.random.fork_rng(devices=()):
            torch.set_rng_state(make_generators(0, 2)[chain].get_state())
            kernel.setup(warmup)
            for state, info in ours:
                place = kernel.sample(place)
                for site, value in place.items():
                    assert torch.allclose(value, state.position[site][chain], atol=1e-9)
                assert float(info.step_size[chain]) > 0
                rates.append(float(info.acceptance_rate[chain]))
        assert all(0 <= rate <= 1 for rate in rates)
        assert sum(rates[warmup:]) / steps == pytest.approx(kernel._mean_accept_prob)
        assert ours[-1][1].step_size[chain] == pytest.approx(kernel.step_size)
    assert ours[warmup][1].step_size[0] == ours[-1][1].step_size[0], "frozen after warmup"


def test_states_stay_what_they_were():
    kernel = Hamiltonian(NORMAL.target, KINDS["nuts"], 8)
    *_, (state, _) = run(kernel, 2, 4, 0)
    before = torch.random.get_rng_state()
    ends = [kernel.step(make_generators(1, 2), state, is_warmup=True)[0] for _ in range(2)]
    assert torch.equal(before, torch.random.get_rng_state())
    for site, value in ends[0].position.items():
        assert torch.equal(value, ends[1].position[site])
        assert not torch.equal(value, state.position[site])
    assert isinstance(kernel, base.Kernel)


def test_chains_do_not_know_each_other():
    kernel = Hamiltonian(NORMAL.target, KINDS["nuts"], 10)
    two, one = (run(kernel, chains, 10, 3)[-1][0].position for chains in (2, 1))
    for site, value in one.items():
        assert torch.equal(value[0], two[site][0])


def test_chains_that_were_put_elsewhere_go_on_from_there():
    kernel = Hamiltonian(NORMAL.target, partial(KINDS["hmc"], **FIXED), 0)
    *_, (state, _) = run(kernel, 2, 0, 2)
    moved = state._replace(position={s: v + 100.0 for s, v in state.position.items()})
    after, _ = kernel.step(make_generators(1, 2), moved)
    assert torch.allclose(after.potential_energy, NORMAL.target.potential_energy(after.position))
    assert (after.position["level"] > 50).all()
    again = kernel.init(moved.position, state.adaptation)
    assert again.adaptation is state.adaptation


def test_a_warmup_that_ends_early_ends_the_adaptation():
    made = run(Hamiltonian(NORMAL.target, KINDS["nuts"], 1000), 1, 20, 10)
    sizes = [float(info.step_size[0]) for _, info in made]
    assert len(set(sizes[:20])) > 10
    assert len(set(sizes[20:])) == 1
    never = run(Hamiltonian(NORMAL.target, KINDS["nuts"], 1000), 1, 0, 3)
    assert len({float(info.step_size[0]) for _, info in never}) == 1


def test_energies_that_explode_are_divergences():
    wall = targets.FunctionTarget(lambda p: 0.5 * p["x"].square() + 1e5 * (p["x"] > 1.0))
    kernel = Hamiltonian(wall, partial(HMC, step_size=1.5, num_steps=1, **FIXED), 0)
    state = kernel.init({"x": torch.full((20,), 0.5).double()})
    moved, info = kernel.step(make_generators(0, 20), state)
    assert 2 < info.diverging.sum() < 18
    assert (moved.position["x"] <= 1.0).all()
    assert (info.acceptance_rate[info.diverging] < 1e-9).all()
    assert positions.is_finite(moved.position).all()


# ----- inside of other kernels -----


def block(site: str, kind: str) -> KernelBlock:
    kernel = Hamiltonian(NORMAL.target, partial(KINDS[kind], **FIXED))
    return KernelBlock(site, kernel, targets.BlockOf(NORMAL.target, (site,)))


@pytest.mark.parametrize("kind", KINDS)
def test_inside_of_gibbs_exact_draws_stay_exact(kind):
    kernel = Gibbs(NORMAL.target, [block("level", kind), block("slope", kind)])
    targets.check_invariance(kernel, NORMAL.draw(60, 0), 3)


def test_inside_of_gibbs_draws_and_energies_are_those_of_single_chains():
    """And of the joint: a conditional that has gone stale would be told by its energy."""
    target = PyroTarget(targets.location_scale, (torch.tensor([0.3, -0.4, 1.0]).double(),))
    kernels = partial(Hamiltonian, target, partial(KINDS["hmc"], **FIXED))
    kernel = Gibbs(
        target,
        [KernelBlock(s, kernels(), target.conditional([s])) for s in ("location", "scale")],
    )
    start = target.initial_position(make_generators(0, 3))

    def ends(chains: list[int]) -> Any:
        state = kernel.init({site: value[chains] for site, value in start.items()})
        generators = [make_generators(1, 3)[chain] for chain in chains]
        for _ in range(4):
            state, _ = kernel.step(generators, state)
        return state

    together = ends([0, 1, 2])
    torch.testing.assert_close(
        together.potential_energy, target.potential_energy(together.position)
    )
    for chain in range(3):
        alone = ends([chain])
        for site, value in alone.position.items():
            assert torch.equal(value[0], together.position[site][chain])


def test_it_goes_inside_of_tempering():
    """Every row has its own power, and energies are those of the posterior."""

    def model() -> None:
        place = pyro.sample("x", dist.Normal(torch.zeros(()).double(), 3.0))
        pyro.factor("likelihood", -4.0 * place**2)

    target = PyroTarget(model)
    kernel = ParallelTempering(
        TemperedTarget(target),
        lambda tempered: Hamiltonian(tempered, partial(KINDS["hmc"], **FIXED)),
        (1.0, 0.1),
        num_steps=1,
        adapt_ladder=False,
    )
    generators, state = make_generators(0, 2), kernel.init({"x": torch.zeros(2).double()})
    for _ in range(6):
        state, _ = kernel.step(generators, state)
        torch.testing.assert_close(state.potential_energy, target.potential_energy(state.position))
    assert state.rows["x"].shape == (2, 2)
    assert len(state.rows["x"].unique()) == 4
