import itertools
import math

import pytest
import torch

from bayes_splat.models import scanlines
from bayes_splat.models.forward_backward import NOTHING
from bayes_splat.models.scanlines import Lines
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes


def markov(**settings):
    return scenes.tiny_model(**{"prior": "scanline_hmm", "dtype": torch.float64, **settings})


# ----- lines -----


def test_rows_and_columns_of_every_view():
    rows, columns = (Lines.of(2, (2, 3), direction) for direction in scanlines.DIRECTIONS)
    assert rows.order.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert columns.order.tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert rows.before.tolist() == [-1, 0, 1, -1, 3, 4, -1, 6, 7, -1, 9, 10]
    assert columns.after.tolist() == [3, 4, 5, -1, -1, -1, 9, 10, 11, -1, -1, -1]
    with pytest.raises(ValueError, match="'diagonals'; choose one of rows, columns"):
        Lines.of(2, (2, 3), "diagonals")


def test_counts_are_those_of_a_loop():
    lines = Lines.of(2, (3, 4), "columns")
    generator = torch.Generator().manual_seed(0)
    bucket = torch.randint(5, (3, 24), generator=generator)
    wanted = torch.zeros(3, 5, 5, dtype=torch.float64)
    for chain in range(3):
        for line in lines.order.tolist():
            for one, other in itertools.pairwise(line):
                wanted[chain, bucket[chain, one], bucket[chain, other]] += 1
    assert torch.equal(lines.transition_counts(bucket, 5), wanted)
    assert wanted.sum() == 3 * 2 * 4 * 2


def test_nearness_falls_by_e_a_bucket():
    near = scanlines.nearness(5)
    assert torch.allclose(near.sum(-1), torch.ones(5).double())
    assert torch.allclose(
        near[:, :-1].diagonal() / near[:, 1:].diagonal(), torch.tensor(math.e).double()
    )


def test_places_inside_a_bucket_stay_inside():
    proposal = markov().proposal
    bucket = torch.arange(4).repeat_interleave(6)
    for inside in (0.0, 1.0):
        depth = scanlines.depth_inside(
            bucket, torch.full((24,), inside).double(), proposal.near, proposal.far, 4
        )
        assert torch.equal(proposal.bucket(depth), bucket)


def test_small_gaussians_are_refused():
    scanlines.check_neighbours_meet(RenderSettings(cutoff="falloff"))
    with pytest.raises(ValueError, match=r"low_pass=0\.05 lets Gaussians"):
        scanlines.check_neighbours_meet(RenderSettings(cutoff="falloff", low_pass=0.05))


# ----- the prior -----


@pytest.mark.parametrize("direction", scanlines.DIRECTIONS)
def test_density_is_that_of_the_chain(direction):
    model = markov(scanlines=direction)
    sites = scenes.prior_draws(model, 3)
    depth, log_p = sites["depth"], sites["log_transition"]
    found = model.depth_prior(log_p).log_prob(depth).sum(-1)
    bucket, near, far = model.proposal.bucket(depth), model.proposal.near, model.proposal.far
    wanted = -(depth**2 * (1 / near - 1 / far)).log().sum(-1) + 24 * math.log(4)
    for chain in range(3):
        for line in model.lines.order.tolist():
            states = bucket[chain, line].tolist()
            wanted[chain] -= math.log(4)
            for one, other in itertools.pairwise(states):
                wanted[chain] += log_p[chain, one, other]
    assert found == pytest.approx(wanted)
    alone = model.depth_prior(log_p[1]).log_prob(depth[1])
    assert float(alone.sum()) == pytest.approx(float(wanted[1]))
    assert model.depth_prior(log_p).log_prob(depth * 0.0 + 9.0).max() == -torch.inf


def test_draws_follow_the_transitions():
    model = markov(num_buckets=3, image_shape=(4, 6))
    log_p = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]]).double().log()
    prior = model.depth_prior(log_p)
    torch.manual_seed(0)
    bucket = model.proposal.bucket(prior.sample((2000,)).double())
    counts = model.lines.transition_counts(bucket, 3).sum(0)
    total = counts.sum(-1, keepdim=True)
    error = (log_p.exp() * (1 - log_p.exp()) / total).sqrt()
    assert ((counts / total - log_p.exp()) / error).abs().max() < scenes.LIMIT
    first = torch.bincount(bucket[:, model.lines.order[:, 0]].flatten(), minlength=3).double()
    spread = (first.sum() * 2 / 9).sqrt()
    assert ((first - first.sum() / 3) / spread).abs().max() < scenes.LIMIT


@pytest.mark.parametrize("direction", scanlines.DIRECTIONS)
def test_ratio_of_a_single_move_is_that_of_the_joint(direction):
    model = markov(scanlines=direction)
    sites, other = (scenes.prior_draws(model, 4, seed) for seed in (0, 1))
    prior = model.depth_prior(sites["log_transition"])
    chosen = torch.stack([torch.randperm(24) for _ in range(4)])
    found = prior.log_ratio_of_single(sites["depth"], other["depth"], chosen)
    before = prior.log_prob(sites["depth"]).sum(-1)
    for place in range(24):
        one = chosen[:, place : place + 1]
        moved = sites["depth"].scatter(1, one, other["depth"].gather(1, one))
        assert found[:, place] == pytest.approx(prior.log_prob(moved).sum(-1) - before, abs=1e-9)


@pytest.mark.parametrize("prior", ["scanline_hmm", "ihmm"])
def test_gradients_are_the_slopes_of_the_energy(prior):
    model = markov(prior=prior)
    target = PyroTarget(model, vectorized=True)
    position = target.unconstrain(scenes.prior_draws(model, 2))
    energy, gradient = target.potential_and_gradient(position)
    alone = PyroTarget(model, vectorized=False).potential_energy(position)
    assert energy == pytest.approx(alone, rel=1e-12)
    generator = torch.Generator().manual_seed(0)
    for site, slope in gradient.items():
        way = torch.randn(slope.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            target.potential_energy({**position, site: position[site] + step * way})
            for step in (1e-6, -1e-6)
        )
        along = (slope * way).reshape(2, -1).sum(-1)
        assert (ahead - behind) / 2e-6 == pytest.approx(along, rel=1e-4)


def test_ends_of_lines_have_no_neighbour():
    lines = Lines.of(1, (2, 3))
    assert lines.before[lines.order[:, 0]].tolist() == [NOTHING] * 2
    assert lines.after[lines.order[:, -1]].tolist() == [NOTHING] * 2
