"""Exact on targets that fall into blocks; every fault that blocks invite is caught."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bayes_splat.samplers import base, block_mala, langevin
from bayes_splat.samplers.base import Kernel, Position
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.gibbs import Gibbs, KernelBlock
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from tests import helpers_blocks as helpers
from tests import helpers_targets as targets

FAR_OFF = 1.4 * targets.LIMIT
STEPS = 4
CHAINS = 400


def kernel(target: Any) -> BlockMALA:
    return BlockMALA(target, step_size=0.05, num_moves=12)


def score(steps: int = STEPS) -> float:
    return helpers.light_score(kernel, CHAINS, steps)


def test_it_speaks_the_protocols():
    target = helpers.normal_chain()
    assert isinstance(target, base.PartitionedTarget)
    assert isinstance(target, base.FisherTarget)
    assert isinstance(target.draw_partition(make_generators(0, 2)), base.Partition)
    assert isinstance(kernel(target), Kernel)


def test_a_chain_of_normals_keeps_its_distribution():
    target = helpers.normal_chain()
    targets.check_invariance(kernel(target), target.draw(2000, 0), 10)


def test_a_chain_of_normals_is_found_from_elsewhere():
    """Moments of an elongated Normal, from a start far off, after warmup."""
    target, chains = helpers.normal_chain(size=6), 60
    sampler = BlockMALA(target, num_moves=2, adapt_preconditioner=True)
    generators = make_generators(3, chains)
    state = sampler.init({"x": torch.full((chains, 6), 4.0, dtype=torch.float64)})
    for _ in range(60):
        state, _ = sampler.step(generators, state, is_warmup=True)
    seen = []
    for _ in range(400):
        state, _ = sampler.step(generators, state)
        seen.append(state.position["x"])
    x = torch.stack(seen, 1)
    covariance = torch.linalg.inv(target.precision())
    targets.check_mean(x[..., 0], 0.0)
    targets.check_mean(x[..., 2].square(), float(covariance[2, 2]))
    targets.check_mean(x[..., 2] * x[..., 3], float(covariance[2, 3]))


def test_lights_keep_the_joint_distribution():
    assert score() < targets.LIMIT


def test_one_block_of_everything_is_mala():
    """With one block for all, candidates and acceptance rates are MALA's."""
    target = helpers.normal_chain()
    start = target.draw(50, 1)
    partition = target.draw_partition(make_generators(0, 50))
    whole = replace(partition, labels=torch.zeros_like(partition.labels))
    step_size = torch.full((50,), 0.1).double()
    walk, rate, _ = block_mala._Walk.start(whole, start, None).move(
        make_generators(2, 50), step_size
    )
    theirs = MALA(target, step_size=0.1)
    state, info = theirs.step(make_generators(2, 50), theirs.init(start))
    torch.testing.assert_close(rate, info.acceptance_rate)
    # The first coin is the same one.
    torch.testing.assert_close(walk.position["x"], state.position["x"])


def test_what_is_put_together_is_what_a_fresh_evaluation_gives():
    """Energies by block, and gradients of active coordinates, after partial acceptance."""
    target, position, _ = helpers.lights(200, 4)
    generators = make_generators(5, 200)
    walk = block_mala._Walk.start(target.draw_partition(generators), position, None)
    step_size = torch.full((200,), 0.05, dtype=torch.float64)
    for _ in range(4):
        walk, rate, _ = walk.move(generators, step_size)
    assert 0.1 < float(rate.mean()) < 0.9
    fresh = walk.partition.evaluate(walk.position)
    torch.testing.assert_close(walk.energies.blocks, fresh.blocks)
    torch.testing.assert_close(walk.energies.rest, fresh.rest)
    for site, owner in walk.partition.owners(walk.position).items():
        assert torch.equal(owner, walk.owners[site])
        is_active = owner >= 0
        old, new = walk.energies.gradient[site], fresh.gradient[site]
        torch.testing.assert_close(old[is_active], new[is_active])
        assert not torch.allclose(old[~is_active], new[~is_active])


def test_candidates_that_leave_their_block_are_never_evaluated():
    """They might reach into another block and spoil its energy."""
    target, position, _ = helpers.lights(100, 8)
    generators = make_generators(9, 100)
    partition = target.draw_partition(generators)
    asked, evaluated = [], []

    class Watched:
        num_blocks = partition.num_blocks

        def owners(self, where: Position) -> Position:
            asked.append(partition.owners(where)["place"])
            return partition.owners(where)

        def evaluate(self, where: Position) -> base.BlockEnergies:
            evaluated.append(partition.owners(where)["place"])
            return partition.evaluate(where)

    walk = block_mala._Walk.start(Watched(), position, None)
    for _ in range(3):
        walk, _, _ = walk.move(generators, torch.full((100,), 0.05).double())
    assert any(not torch.equal(owner, asked[0]) for owner in asked)
    assert all(torch.equal(owner, asked[0]) for owner in evaluated)


def test_every_block_has_a_coin_of_its_own():
    # Steps so short that rates hardly vary: with one coin both blocks move, or neither.
    target = helpers.normal_chain(size=12, length=6)
    start = target.draw(8000, 0)
    partition = target.draw_partition(make_generators(0, 8000))
    first, last = partition.labels[:, :1], partition.labels[:, -1:]
    walk = block_mala._Walk.start(partition, start, None)
    moved, _, _ = walk.move(make_generators(1, 8000), torch.full((8000,), 0.05).double())
    owner, changed = walk.owners["x"], moved.position["x"] != start["x"]
    apart = ((owner == first).any(1) & (owner == last).any(1) & (first != last)[:, 0]).nonzero()[
        :, 0
    ]
    a, b = (((owner == end) & changed).any(1)[apart].double() for end in (first, last))
    assert 0.7 < float(a.mean()) < 0.95
    correlation = ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())
    assert abs(float(correlation)) < targets.LIMIT / math.sqrt(len(apart))


def test_the_reported_energy_is_that_of_the_state():
    target, position, _ = helpers.lights(20, 6)
    sampler = kernel(target)
    state, info = sampler.step(make_generators(7, 20), sampler.init(position))
    torch.testing.assert_close(info.potential_energy, target.potential_energy(state.position))
    assert torch.equal(info.potential_energy, state.potential_energy)


def test_a_chain_does_not_depend_on_its_neighbours():
    target = helpers.normal_chain()
    start = target.draw(5, 2)
    sampler = BlockMALA(target, adapt_preconditioner=True)

    def run(chosen: slice) -> Position:
        generators = make_generators(0, 5)[chosen]
        state = sampler.init({"x": start["x"][chosen]})
        for i in range(6):
            state, _ = sampler.step(generators, state, is_warmup=i < 4)
        return state.position

    assert torch.equal(run(slice(0, 5))["x"][1:3], run(slice(1, 3))["x"])


def test_evaluations_are_one_a_move_and_one_a_partition(monkeypatch):
    calls = []
    evaluate = helpers.ChainPartition.evaluate

    def counted(self, position):
        calls.append(position)
        return evaluate(self, position)

    monkeypatch.setattr(helpers.ChainPartition, "evaluate", counted)
    target = helpers.normal_chain()
    sampler = BlockMALA(target, num_moves=4)
    sampler.step(make_generators(0, 2), sampler.init(target.draw(2, 0)))
    assert len(calls) == 5


def test_acceptance_stays_as_the_target_grows_and_that_of_mala_falls():
    rates = {}
    for size in (40, 640):
        target = helpers.normal_chain(size=size, length=8)
        start = target.draw(40, 0)
        for name, sampler in (
            ("block", BlockMALA(target, step_size=0.03)),
            ("whole", MALA(target, step_size=0.03)),
        ):
            state, rate = sampler.init(start), []
            generators = make_generators(1, 40)
            for _ in range(20):
                state, info = sampler.step(generators, state)
                rate.append(info.acceptance_rate)
            rates[name, size] = float(torch.stack(rate).mean())
    assert abs(rates["block", 40] - rates["block", 640]) < 0.03, rates
    assert rates["whole", 640] < rates["whole", 40] - 0.2, rates


def test_warmup_finds_step_size_and_preconditioner_and_then_they_stay():
    target = helpers.normal_chain(size=40, length=8)
    sampler = BlockMALA(target, step_size=1e-3, adapt_preconditioner=True)
    generators, state = make_generators(0, 8), sampler.init(target.draw(8, 0))
    for _ in range(80):
        state, _ = sampler.step(generators, state, is_warmup=True)
    tuned, rates = state.adaptation, []
    for _ in range(60):
        state, info = sampler.step(generators, state)
        rates.append(info.acceptance_rate)
        assert torch.equal(info.step_size, tuned.step_size.step_size(is_warmup=False))
    assert state.adaptation is not None
    assert torch.equal(state.adaptation.fisher.diagonal["x"], tuned.fisher.diagonal["x"])
    assert abs(float(torch.stack(rates).mean()) - 0.574) < 0.06
    torch.testing.assert_close(
        tuned.fisher.preconditioner()["x"][0], 1.0 / target.precision().diagonal()
    )


def test_as_a_block_of_gibbs():
    """On a conditional: carries its tuning on, and reports an acceptance."""
    target = helpers.normal_chain()
    gibbs = Gibbs(target, [KernelBlock("x", kernel(target), targets.Everything(target))])
    targets.check_invariance(gibbs, target.draw(2000, 0), 5)
    generators, state = make_generators(0, 2), gibbs.init(target.draw(2, 0))
    for _ in range(3):
        state, info = gibbs.step(generators, state, is_warmup=True)
    assert state.adaptation["x"].step_size.num_updates.tolist() == [36.0, 36.0]
    assert info.blocks["x"].shape == (2,)


def test_where_nothing_is_active_nothing_moves():
    target = helpers.normal_chain(length=1)
    # A length of one leaves the two ends, whose only edge is of one block; hold them too.
    partition = target.draw_partition(make_generators(0, 2))
    assert (partition.owners({"x": torch.zeros(2, 12)})["x"][:, 1:-1] == -1).all()
    walk = block_mala._Walk.start(partition, target.draw(2, 0), None)
    walk = walk._replace(owners={"x": torch.full((2, 12), -1)})
    moved, rate, diverging = walk.move(make_generators(1, 2), torch.ones(2).double())
    assert torch.equal(moved.position["x"], walk.position["x"])
    assert rate.tolist() == [0.0, 0.0]
    assert not diverging.any()


def test_a_block_without_density_is_rejected_alone():
    target = helpers.normal_chain(size=12, length=6)
    inner = target.draw_partition(make_generators(0, 3))

    class Wall:
        """No density where the first coordinate has moved; NaN everywhere in its gradient."""

        num_blocks, owners = inner.num_blocks, staticmethod(inner.owners)

        def evaluate(self, position: Position) -> base.BlockEnergies:
            energies = inner.evaluate(position)
            if torch.equal(position["x"], start["x"]):
                return energies
            first = inner.labels[:, :1]
            bad = energies.blocks.scatter(1, first, math.nan)
            is_first = inner.owners(position)["x"] == first
            slope = torch.where(is_first, math.nan, energies.gradient["x"])
            return base.BlockEnergies(bad, energies.rest, {"x": slope})

    start = target.draw(3, 0)
    walk = block_mala._Walk.start(Wall(), start, None)
    moved, _, diverging = walk.move(make_generators(1, 3), torch.full((3,), 1e-4).double())
    is_first = inner.owners(start)["x"] == inner.labels[:, :1]
    changed = moved.position["x"] != start["x"]
    assert diverging.all()
    assert not changed[is_first].any()
    others = (inner.owners(start)["x"] >= 0) & ~is_first
    assert changed[others].float().mean() > 0.9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BlockMALA(helpers.normal_chain(), num_moves=0), "num_moves must be at least 1"),
        (
            lambda: (s := BlockMALA(helpers.lights(2, 0)[0], adapt_preconditioner=True)).step(
                make_generators(0, 2), s.init(helpers.lights(2, 0)[1]), True
            ),
            "needs a target with fisher_diagonal, and Lights has none",
        ),
    ],
)
def test_bad_settings_are_told(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ----- broken in one place each -----

Walk = block_mala._Walk
right_move, right_density = Walk.move, Walk._density
Partition = helpers.LightPartition
right_owners, right_evaluate = Partition.owners, Partition.evaluate


def activity_of_the_old_state(self, offered):
    return torch.ones(len(offered["place"]), self.partition.num_blocks, dtype=torch.bool)


def no_reverse_density(self, to, start, gradient, step_size):
    """The way back is taken for as likely as the way there."""
    there = right_density(self, to, start, gradient, step_size)
    return torch.zeros_like(there)


def gradient_of_the_past(self, generators, step_size):
    """Accepted blocks keep the gradient they had."""
    walk, *rest = right_move(self, generators, step_size)
    energies = walk.energies._replace(gradient=self.energies.gradient)
    return walk._replace(energies=energies), *rest


def energy_of_the_past(self, generators, step_size):
    walk, *rest = right_move(self, generators, step_size)
    return walk._replace(energies=walk.energies._replace(blocks=self.energies.blocks)), *rest


def gradient_of_the_candidate(self, generators, step_size):
    """Rejected blocks too get the gradient of the candidate: one evaluation for all."""
    seen: list[base.BlockEnergies] = []

    class Watched:
        num_blocks, owners = self.partition.num_blocks, staticmethod(self.partition.owners)

        def evaluate(_, position):
            seen.append(self.partition.evaluate(position))
            return seen[-1]

    walk, *rest = right_move(self._replace(partition=Watched()), generators, step_size)
    energies = walk.energies._replace(gradient=seen[-1].gradient)
    return walk._replace(partition=self.partition, energies=energies), *rest


def narrow_footprint(self, position):
    """Lights are taken for narrower than they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "RADIUS", 0.3 * helpers.RADIUS)
        return right_owners(self, position)


def pixels_of_the_neighbour(self, position):
    """A block counts its pixels one place off."""
    moved = replace(self, labels=self.labels.roll(1, dims=1))
    pixels, own = helpers.light_terms(position, self.target.data)
    owner = torch.cat([moved.labels, right_owners(self, position)["place"]], 1)
    right = right_evaluate(self, position)
    terms = torch.cat([pixels, own], 1)
    return base.BlockEnergies(*helpers.sums(terms, owner, self.num_blocks), right.gradient)


def loud_step(generators, position, gradient, step_size, preconditioner=None):
    """Noise sqrt 2 times too large."""
    quiet = langevin_step(generators, position, gradient, step_size, preconditioner)
    drifted = {s: v - step_size[:, None] * gradient[s] for s, v in position.items()}
    return {s: d + 2.0**0.5 * (quiet[s] - d) for s, d in drifted.items()}


langevin_step = langevin.step

BROKEN: dict[str, tuple[Any, str, Any]] = {
    "activity at the old state only": (Walk, "_keeps_owners", activity_of_the_old_state),
    "no reverse density": (Walk, "_density", no_reverse_density),
    "gradient of the past": (Walk, "move", gradient_of_the_past),
    "gradient of the candidate": (Walk, "move", gradient_of_the_candidate),
    "energy of the past": (Walk, "move", energy_of_the_past),
    "narrow footprint": (Partition, "owners", narrow_footprint),
    "pixels of the neighbour": (Partition, "evaluate", pixels_of_the_neighbour),
    "loud": (langevin, "step", loud_step),
}

SLOW = {"gradient of the candidate"}  # most blocks accept, and those are right


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    monkeypatch.setattr(*BROKEN[name])
    found = score(3 * STEPS if name in SLOW else STEPS)
    assert found > FAR_OFF, found
