import pytest
import torch
from scipy import stats

from bayes_splat.models.truncated_normal import sample_truncated_normal
from tests import helpers_scenes as scenes

UPPER = 0.999


def draw(mean, scale, uniform, current=0.5):
    """Candidates and corrections for a mean and standard deviation, broadcast to ``uniform``."""
    uniform = torch.as_tensor(uniform, dtype=torch.float64)
    precision = torch.full_like(uniform, scale**-2.0)
    here = torch.as_tensor(current, dtype=torch.float64).expand_as(uniform)
    return sample_truncated_normal(mean * precision, precision, here, UPPER, uniform)


def exact(mean, scale):
    return stats.truncnorm(-mean / scale, (UPPER - mean) / scale, loc=mean, scale=scale)


@pytest.mark.parametrize(
    ("mean", "scale"),
    [
        (0.5, 0.1),  # the bulk, both ends far away
        (0.2, 0.5),
        (0.9, 0.5),
        (0.5, 5.0),  # nearly flat
        (-0.5, 0.1),  # five standard deviations to the left of the support
        (1.6, 0.1),  # and six to the right
        (-1.0, 0.1),  # ten: where a plain distribution function has no digits left
        (2.2, 0.1),
        (-2.4, 0.1),
        (3.4, 0.1),  # twenty-four, just before tails are drawn as exponentials
        (-0.2, 0.01),
    ],
)
def test_quantiles_are_those_of_scipy(mean, scale):
    uniform = torch.linspace(1e-6, 1 - 1e-6, 2001, dtype=torch.float64)
    candidate, correction = draw(mean, scale, uniform)
    nearest = 0.0 if mean < UPPER / 2 else UPPER
    # ppf runs from the left; ours from the end that the mean is beyond or nearer to.
    wanted = torch.from_numpy(exact(mean, scale).ppf(uniform if nearest == 0 else 1 - uniform))
    depth, wanted_depth = (candidate - nearest).abs(), (wanted - nearest).abs()
    assert depth == pytest.approx(wanted_depth, rel=1e-5, abs=1e-9)
    assert (correction == 0).all()


@pytest.mark.parametrize("mean", [-4.0, 5.0, -400.0])
def test_far_tails_are_corrected(mean):
    """Candidates are exponential there: some Metropolis steps make them exact."""
    scale, generator = 0.1, torch.Generator().manual_seed(0)
    current = torch.full((4000,), 0.01 if mean < 0 else UPPER - 0.01, dtype=torch.float64)
    for _ in range(10):
        uniform = torch.rand(2, 4000, generator=generator, dtype=torch.float64)
        candidate, correction = draw(mean, scale, uniform[0], current)
        current = torch.where(uniform[1].log() < correction, candidate, current)
    depth = current if mean < 0 else UPPER - current
    # The depth below the surface in the mirrored frame keeps its digits.
    distance = -mean if mean < 0 else mean - UPPER
    low = distance / scale
    log_tail = stats.norm.logsf((distance + depth.numpy()) / scale) - stats.norm.logsf(low)
    assert scenes.kolmogorov_smirnov(torch.from_numpy(log_tail).exp()) < scenes.LIMIT


def test_the_correction_is_the_ratio_of_target_and_candidate_densities():
    mean, scale = -4.0, 0.1
    uniform = torch.tensor([0.05, 0.5, 0.99], dtype=torch.float64)
    current = torch.tensor([0.001, 0.003, 0.005], dtype=torch.float64)
    candidate, correction = draw(mean, scale, uniform, current)

    def log_weight(x):  # log of target over exponential, up to a constant
        return -0.5 * ((x - mean) / scale) ** 2 + (-mean / scale) * x / scale

    assert correction == pytest.approx(log_weight(candidate) - log_weight(current), abs=1e-9)
    # Nothing to correct is nothing to lose: about one part in sixteen hundred.
    assert (correction.abs() < 0.02).all()


def test_flat_densities_give_uniform_draws():
    uniform = torch.linspace(0, 1, 11, dtype=torch.float64)
    zero = torch.zeros_like(uniform)
    candidate, correction = sample_truncated_normal(zero, zero, zero, UPPER, uniform)
    assert candidate == pytest.approx(UPPER * uniform)
    assert (correction == 0).all()


def test_a_slope_without_curvature_is_exponential():
    """Tiny precision with a finite pull: the density is exp(weighted * o)."""
    uniform = torch.linspace(0.001, 0.999, 501, dtype=torch.float64)
    weighted, precision = torch.full_like(uniform, 5.0), torch.full_like(uniform, 1e-6)
    candidate, _ = sample_truncated_normal(weighted, precision, uniform, UPPER, uniform)
    wanted = stats.truncexpon(5.0 * UPPER, scale=1 / 5.0).ppf(uniform)
    assert UPPER - candidate == pytest.approx(torch.from_numpy(wanted), rel=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e3])
def test_candidates_stay_in_the_support_whatever_the_mean(scale):
    uniform = torch.linspace(0, 1 - 2**-53, 101, dtype=torch.float64)
    for mean in (-1e6, -1.0, 0.0, 0.5, UPPER, 2.0, 1e6):
        candidate, correction = draw(mean, scale, uniform)
        assert ((candidate >= 0) & (candidate <= UPPER)).all()
        assert not correction.isnan().any()
