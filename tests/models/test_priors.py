import math

import pyro
import pytest
import torch
from pyro.infer import Predictive
from scipy import stats
from torch.distributions import biject_to

from bayes_splat import geometry
from bayes_splat.models import priors
from bayes_splat.models.priors import MAX_OPACITY, ProposalDepth, UniformDisparity
from tests import helpers_scenes as scenes

NEAR = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
FAR = torch.tensor([2.0, 100.0, 3.5], dtype=torch.float64)


@pytest.fixture(scope="module")
def proposal():
    return scenes.random_proposal(scenes.pair_of_cameras(dtype=torch.float64), num_buckets=5)


def integral(log_density, low, high, points=20_001):
    """Midpoint rule between two bounds, elementwise."""
    share = (torch.arange(points, dtype=torch.float64)[:, None] + 0.5) / points
    return (log_density(low + share * (high - low)).exp() * (high - low) / points).sum(0)


# ----- depth, uniform in disparity -----


def test_uniform_disparity_integrates_to_one():
    prior = UniformDisparity(NEAR, FAR)
    assert integral(prior.log_prob, NEAR, FAR) == pytest.approx(torch.ones(3).double(), rel=1e-4)
    outside = torch.stack([0.999 * NEAR, 1.001 * FAR])
    assert (prior.log_prob(outside) == -torch.inf).all()


def test_uniform_disparity_has_the_density_of_a_transformed_uniform():
    """p(depth) = p(1/depth) / depth^2."""
    depth = torch.tensor([1.1, 2.0, 3.2], dtype=torch.float64)
    for near, far, value, found in zip(
        NEAR, FAR, depth, UniformDisparity(NEAR, FAR).log_prob(depth), strict=True
    ):
        uniform = stats.uniform(1 / far, 1 / near - 1 / far)
        assert found == pytest.approx(uniform.logpdf(1 / value) - 2 * math.log(value))


def test_draws_of_disparity_are_uniform():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        depth = UniformDisparity(NEAR, FAR).sample((4000,))
    assert depth.dtype == torch.float64
    for i in range(3):
        uniform = (1 / depth[:, i] - 1 / FAR[i]) / (1 / NEAR[i] - 1 / FAR[i])
        assert scenes.kolmogorov_smirnov(uniform) < scenes.LIMIT
        assert scenes.kolmogorov_smirnov(uniform**1.2) > scenes.LIMIT


def test_expanded_priors_draw_for_the_whole_batch(proposal):
    for prior in (UniformDisparity(proposal.near, proposal.far), ProposalDepth(proposal)):
        wide = prior.expand((7, 24))
        draws = wide.sample((2,))
        assert draws.shape == (2, 7, 24)
        assert not torch.equal(draws[0, 0], draws[0, 1])
        assert torch.equal(wide.log_prob(draws), prior.log_prob(draws))
        assert wide.log_prob(draws).isfinite().all()


# ----- depth, the proposal itself -----


def test_the_proposal_as_prior_is_the_proposal(proposal):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        draws = ProposalDepth(proposal).sample((3000,))
        torch.manual_seed(0)
        again = ProposalDepth(proposal).sample((3000,))
    assert torch.equal(draws, again)
    assert torch.equal(ProposalDepth(proposal).log_prob(draws), proposal.log_prob(draws))
    shares = torch.nn.functional.one_hot(proposal.bucket(draws), 5).double().mean(0)
    error = (proposal.probabilities * (1 - proposal.probabilities) / 3000).sqrt()
    assert ((shares - proposal.probabilities) / error).abs().max() < scenes.LIMIT


@pytest.mark.parametrize("kind", ["uniform", "proposal"])
def test_depth_priors_work_in_plates(proposal, kind):
    prior = {
        "uniform": UniformDisparity(proposal.near, proposal.far),
        "proposal": ProposalDepth(proposal),
    }[kind]

    def model():
        with pyro.plate("gaussian", 24, dim=-1):
            pyro.sample("depth", prior)

    draws = Predictive(model, num_samples=5, parallel=True)()["depth"]
    assert draws.shape == (5, 24)
    assert prior.support.check(draws).all()


# ----- coordinates -----


def test_coordinates_of_depth_are_undone_to_the_last_digits():
    to_depth = biject_to(UniformDisparity(NEAR, FAR).support)
    x = torch.linspace(-6, 6, 121, dtype=torch.float64)[:, None].expand(-1, 3)
    depth = to_depth(x)
    assert (depth.diff(dim=0) > 0).all(), "0 is near"
    relative = geometry.depth_to_relative_disparity(depth, NEAR, FAR)
    assert relative == pytest.approx(torch.sigmoid(x), abs=1e-12)
    # x = logit(r): the last digits of r count for more at the ends.
    slope = torch.sigmoid(x) * torch.sigmoid(-x)
    assert ((to_depth.inv(depth) - x) * slope).abs().max() < 1e-12
    assert to_depth(to_depth.inv(depth)) == pytest.approx(depth, rel=1e-12)


def test_log_determinant_of_depth_against_autograd():
    to_depth = biject_to(UniformDisparity(NEAR, FAR).support)
    x = torch.linspace(-6, 6, 41, dtype=torch.float64)[:, None].repeat(1, 3).requires_grad_()
    depth = to_depth(x)
    (slope,) = torch.autograd.grad(depth.sum(), x)
    assert to_depth.log_abs_det_jacobian(x, depth).detach() == pytest.approx(slope.log())


@pytest.mark.parametrize(
    "prior",
    [
        UniformDisparity(NEAR, FAR),
        priors.opacity_prior(1.0, 1.0),
        priors.opacity_prior(2.0, 0.7),
        priors.opacity_prior(0.5, 3.0).expand((3,)),
    ],
)
def test_density_over_the_coordinate_is_density_and_jacobian(prior):
    transform = biject_to(prior.support)
    x = torch.linspace(-12, 12, 41, dtype=torch.float64)[:, None].repeat(1, 3).requires_grad_()
    value = transform(x)
    wanted = prior.log_prob(value) + transform.log_abs_det_jacobian(x, value)
    found = prior.log_prob_unconstrained(x)
    assert found.detach() == pytest.approx(wanted.detach(), rel=1e-9, abs=1e-9)
    slopes = [torch.autograd.grad(density.sum(), x)[0] for density in (wanted, found)]
    assert slopes[1] == pytest.approx(slopes[0], rel=1e-7, abs=1e-7)
    far = torch.tensor([-600.0, 600.0]).double()[:, None].expand(2, 3)
    assert prior.log_prob_unconstrained(far).isfinite().all()


def test_equal_ranges_have_equal_coordinates():
    one, same, other = (
        priors.LogisticDepth(near, FAR) for near in (NEAR, NEAR.clone(), 0.9 * NEAR)
    )
    assert one == same
    assert one != other
    assert one.codomain.check(FAR).all()


# ----- opacity and noise -----


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.0, 0.7), (0.5, 3.0)])
def test_opacity_prior_is_a_stretched_beta(a, b):
    prior = priors.opacity_prior(a, b)
    inside = torch.tensor([1e-4, 0.3, 0.7, 0.9985], dtype=torch.float64)
    wanted = stats.beta(a, b, scale=MAX_OPACITY).logpdf(inside)
    assert prior.log_prob(inside) == pytest.approx(torch.from_numpy(wanted))
    ends = torch.tensor([-0.01, 0.0, 0.5, MAX_OPACITY, 1.0], dtype=torch.float64)
    assert prior.support.check(ends)[[0, 4]].tolist() == [False, False]
    assert (prior.log_prob(ends)[[0, 4]] == -torch.inf).all()
    assert prior.expand((2, 1)).sample((3,)).shape == (3, 2, 1)
    to_opacity = biject_to(prior.support)
    x = torch.linspace(-30, 30, 13, dtype=torch.float64)
    assert (to_opacity(x) <= MAX_OPACITY).all()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        draws = prior.sample((4000,))
    uniform = torch.from_numpy(stats.beta(a, b, scale=MAX_OPACITY).cdf(draws))
    assert scenes.kolmogorov_smirnov(uniform) < scenes.LIMIT


def test_noise_prior_is_inverse_gamma_on_the_square():
    """p(s) = 2 s IG(s^2; a, b)."""
    a, b = 2.5, 0.01
    scale = torch.tensor([0.02, 0.05, 0.1, 0.5], dtype=torch.float64)
    wanted = [
        math.log(2 * s) + a * math.log(b) - math.lgamma(a) - (a + 1) * math.log(s * s) - b / (s * s)
        for s in scale.tolist()
    ]
    prior = priors.noise_prior(a, b)
    assert prior.log_prob(scale) == pytest.approx(torch.tensor(wanted, dtype=torch.float64))
    assert integral(prior.log_prob, torch.tensor([1e-3]), torch.tensor([20.0]), 400_000) == (
        pytest.approx(torch.ones(1).double(), rel=1e-3)
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        draws = prior.sample((4000,))
    assert draws.dtype == torch.float64
    uniform = torch.from_numpy(stats.invgamma(a, scale=b).cdf(draws**2))
    assert scenes.kolmogorov_smirnov(uniform) < scenes.LIMIT


def test_noise_prior_over_its_coordinate_is_the_density_with_the_jacobian():
    prior = priors.noise_prior(2.5, 0.01).expand((2,))
    transform = biject_to(prior.support)
    v = torch.linspace(-6.0, 3.0, 19, dtype=torch.float64)[:, None].repeat(1, 2)
    scale = transform(v)
    wanted = prior.log_prob(scale) + transform.log_abs_det_jacobian(v, scale)
    assert prior.log_prob_unconstrained(v) == pytest.approx(wanted, rel=1e-12, abs=1e-12)
