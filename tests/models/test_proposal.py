import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes

CHAINS = 4000


@pytest.fixture(scope="module")
def proposal() -> DepthProposal:
    return scenes.random_proposal(scenes.pair_of_cameras(dtype=torch.float64), num_buckets=5)


@pytest.fixture(scope="module")
def draws(proposal) -> Tensor:
    return proposal.sample(make_generators(0, CHAINS))


def relative(proposal: DepthProposal, depth: Tensor) -> Tensor:
    return geometry.depth_to_relative_disparity(depth, proposal.near, proposal.far)


# ----- draws and density -----


def test_buckets_of_draws_follow_the_probabilities(proposal, draws):
    counts = torch.nn.functional.one_hot(proposal.bucket(draws), 5).sum(0).double()
    expected = CHAINS * proposal.probabilities
    chi_square = ((counts - expected) ** 2 / expected).sum(-1)
    freedom = 4 * len(proposal)
    assert abs(float(chi_square.sum()) - freedom) < scenes.LIMIT * math.sqrt(2 * freedom)
    # ... and no others: the next Gaussian's probabilities fit far worse.
    wrong = CHAINS * proposal.probabilities.roll(1, 0)
    assert float(((counts - wrong) ** 2 / wrong).sum()) > 10 * freedom


def test_draws_are_uniform_inside_their_buckets(proposal, draws):
    inside = torch.frac(relative(proposal, draws) * 5).flatten()
    assert scenes.kolmogorov_smirnov(inside) < scenes.LIMIT


def test_chains_have_streams_of_their_own(proposal):
    together, alone = make_generators(3, 2), make_generators(3, 2)
    draws = proposal.sample(together)
    assert torch.equal(draws[1:], proposal.sample(alone[1:]))
    assert not torch.equal(draws[0], draws[1])


def test_density_integrates_to_one_over_depth(proposal):
    assert integral(proposal, proposal.log_prob) == pytest.approx(torch.ones(24), abs=1e-5)


def integral(proposal: DepthProposal, log_density) -> Tensor:
    """Over (near, far), by the midpoint rule inside every bucket."""
    steps = torch.arange(5000) / 5000
    edges = geometry.relative_disparity_to_depth(
        steps[:, None].double(), proposal.near, proposal.far
    )
    edges = torch.cat([edges, proposal.far[None]])
    middle = 0.5 * (edges[1:] + edges[:-1])
    return (log_density(middle).exp() * (edges[1:] - edges[:-1])).sum(0).float()


def test_density_is_that_of_the_draws(proposal, draws):
    """Importance weights of a known integral: E[1/q] over a piece of depth is its length."""
    low, high = 1.3, 2.1
    inside = (draws > low) & (draws < high)
    weights = torch.where(inside, (-proposal.log_prob(draws)).exp(), torch.zeros_like(draws))
    error = weights.std(0) / math.sqrt(CHAINS)
    assert ((weights.mean(0) - (high - low)).abs() / error).max() < scenes.LIMIT


def test_no_density_outside_the_range_or_in_impossible_buckets(proposal):
    outside = torch.stack([0.99 * proposal.near, 1.01 * proposal.far])
    assert (proposal.log_prob(outside) == -torch.inf).all()
    certain = scenes.with_probabilities(proposal, torch.eye(5)[2].double().expand(24, 5))
    assert (certain.bucket(certain.sample(make_generators(0, 50))) == 2).all()
    assert (certain.log_prob(certain.bucket_centre(torch.full((24,), 1))) == -torch.inf).all()


# ----- buckets, mode and mean -----


def test_buckets_and_their_centres_are_inverse(proposal):
    buckets = torch.arange(5)[:, None].expand(5, 24)
    centres = proposal.bucket_centre(buckets)
    assert torch.equal(proposal.bucket(centres), buckets)
    assert (centres.diff(dim=0) > 0).all(), "near first"
    assert relative(proposal, centres) == pytest.approx((buckets + 0.5) / 5)


def test_ends_of_the_range_belong_to_the_end_buckets(proposal):
    assert (proposal.bucket(proposal.near) == 0).all()
    assert (proposal.bucket(proposal.far) == 4).all()
    assert (proposal.bucket(proposal.far * 2) == 4).all()


def test_mode_and_mean_by_hand():
    proposal = scenes.random_proposal(scenes.pair_of_cameras(dtype=torch.float64), num_buckets=2)
    proposal = scenes.with_probabilities(proposal, torch.tensor([0.3, 0.7]).double().expand(24, 2))
    first, second = proposal.offsets.unbind(-1)
    mode, mean = (relative(proposal, depth) for depth in (proposal.mode(), proposal.mean()))
    assert mode == pytest.approx((1 + second) / 2)
    assert mean == pytest.approx(0.3 * first / 2 + 0.7 * (1 + second) / 2)


# ----- Gaussians -----


def test_gaussians_lie_on_the_rays_of_their_pixels(proposal, draws):
    gaussians = proposal.gaussians(draws[:3], torch.full((3, 24), 0.5))
    assert gaussians.means.shape == (3, 24, 3)
    pixels, z = geometry.project_points(gaussians.means, proposal.cameras)
    centres = geometry.pixel_centres((3, 4))
    for view in range(2):
        own = slice(12 * view, 12 * (view + 1))
        assert pixels[:, view, own] == pytest.approx(centres.expand(3, 12, 2))
        assert z[:, view, own] == pytest.approx(draws[:3, own])


def test_footprints_stay_the_same_in_pixels(proposal):
    near, far = (proposal.gaussians(d, proposal.opacities) for d in (proposal.near, proposal.far))
    focal = proposal.cameras.intrinsics[0, 0, 0]
    for gaussians, depth in ((near, proposal.near), (far, proposal.far)):
        assert gaussians.scales[:, 0] * focal / depth == pytest.approx(torch.full((24,), 0.4))
    assert torch.equal(near.harmonics, far.harmonics)
    assert torch.equal(near.opacities, proposal.opacities)


def test_order_depends_on_buckets_only(proposal):
    generator = torch.Generator().manual_seed(0)
    buckets = torch.randint(5, (3, 24), generator=generator)
    one, other = (
        geometry.relative_disparity_to_depth(
            (buckets + torch.rand(3, 24, generator=generator, dtype=torch.float64)) / 5,
            proposal.near,
            proposal.far,
        ).requires_grad_()
        for _ in range(2)
    )
    keys = proposal.sort_depths(one, proposal.cameras)
    assert keys.shape == (3, 2, 24)
    assert torch.equal(keys, proposal.sort_depths(other, proposal.cameras))
    assert not keys.requires_grad
    moved = proposal.sort_depths(proposal.bucket_centre((buckets + 1) % 5), proposal.cameras)
    assert (moved != keys).all()
    # In a Gaussian's own camera its key is the depth of its bucket's centre.
    assert keys[:, 1, 12:] == pytest.approx(proposal.bucket_centre(buckets)[:, 12:])


def test_compiled_places_and_keys_are_those_of_plain_torch(monkeypatch):
    single = scenes.random_proposal(scenes.pair_of_cameras(), num_buckets=5)
    depth = single.sample([torch.Generator().manual_seed(i) for i in range(3)]).double()
    along = torch.rand(3, 24, 3, generator=torch.Generator().manual_seed(0))

    def everything():
        leaf = depth.clone().requires_grad_()
        gaussians = single.gaussians(leaf, torch.ones(3, 24))
        total = (along * gaussians.means + gaussians.scales).sum()
        return (
            gaussians.means,
            gaussians.scales,
            single.sort_depths(leaf, single.cameras),
            torch.autograd.grad(total, leaf)[0],
        )

    compiled = everything()
    monkeypatch.setattr(DepthProposal, "_is_compiled", lambda self, depth: False)
    for found, wanted in zip(compiled, everything(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
        assert found.dtype == wanted.dtype


def test_keys_in_other_cameras(proposal, draws):
    """The same function for the proposal's own cameras and for equal ones."""
    own = proposal.sort_depths(draws[:3], proposal.cameras)
    assert torch.equal(own, proposal.sort_depths(draws[:3], replace(proposal.cameras)))
    points = proposal.gaussians(proposal.bucket_centre(proposal.bucket(draws[:3])), draws[:3]).means
    assert own == pytest.approx(geometry.world_to_camera(points, proposal.cameras)[..., 2])


def test_depths_that_are_no_numbers_have_a_bucket(proposal):
    """They are refused by their energy, not by an index."""
    strange = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0]).double().repeat(6)
    assert ((proposal.bucket(strange) >= 0) & (proposal.bucket(strange) < 5)).all()
