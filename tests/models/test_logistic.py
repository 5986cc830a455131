import pytest
import torch
from scipy import stats

from bayes_splat.models import logistic

FAR_AND_NEAR = torch.cat(
    [torch.linspace(-700.0, 700.0, 29), torch.linspace(-3.0, 3.0, 61)]
).double()


def test_log_density_is_that_of_the_logistic_distribution_in_both_tails():
    found = logistic.log_density(FAR_AND_NEAR)
    wanted = torch.from_numpy(stats.logistic.logpdf(FAR_AND_NEAR))
    assert found == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize(
    "function",
    [
        logistic.log_density,
        logistic.StretchedLogistic(0.7),
        lambda u: logistic.reciprocal_line(u, torch.tensor(2.0), torch.tensor(0.3)),
    ],
)
def test_gradients_are_those_of_finite_differences(function):
    u = torch.linspace(-8.0, 8.0, 33, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (u,))


def test_values_by_hand():
    u = torch.linspace(-30.0, 30.0, 41, dtype=torch.float64)
    assert logistic.sigmoid(u) == pytest.approx(torch.sigmoid(u), rel=1e-14)
    assert logistic.logit(logistic.sigmoid(u[:30])) == pytest.approx(u[:30], abs=1e-6)
    line = logistic.reciprocal_line(u, torch.tensor(2.0).double(), torch.tensor(0.5).double())
    wanted = 1.0 / ((1.0 - torch.sigmoid(u)) * 2.0 + torch.sigmoid(u) * 0.5)
    assert line == pytest.approx(wanted, rel=1e-14)


def test_ends_have_coordinates():
    ends = logistic.logit(torch.tensor([0.0, 1.0]).double())
    assert ends.isfinite().all()
    assert logistic.sigmoid(torch.tensor([-torch.inf, torch.inf]).double()).tolist() == [0.0, 1.0]


def test_the_coordinate_of_a_range():
    to_range = logistic.StretchedLogistic(0.9)
    u = torch.linspace(-6.0, 6.0, 25, dtype=torch.float64).requires_grad_()
    value = to_range(u)
    (slope,) = torch.autograd.grad(value.sum(), u)
    assert to_range.log_abs_det_jacobian(u, value).detach() == pytest.approx(slope.log())
    assert to_range.inv(value.detach()) == pytest.approx(u.detach())
    assert to_range.codomain.check(value).all()
    assert to_range == logistic.StretchedLogistic(0.9)
    assert to_range != logistic.StretchedLogistic(0.8)


@pytest.mark.parametrize("function", [logistic.log_density, logistic.sigmoid, torch.tanh])
def test_digits_do_not_depend_on_the_length_of_the_array(function):
    u = torch.randn(5003, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = function(u)
    for length in (1, 3, 7, 13, 501):
        pieces = torch.cat([function(piece) for piece in u.split(length)])
        assert torch.equal(pieces, whole)
