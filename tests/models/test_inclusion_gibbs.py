"""Exact draws of the probability that a slot holds a Gaussian."""

import pytest
import torch
from scipy import stats

from bayes_splat.models import inclusion_gibbs
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

CHAINS = 600


def test_draws_are_beta_with_the_count_added():
    model = scenes.tiny_model(count="variable", count_prior=[2.0, 0.5])
    target = PyroTarget(model, vectorized=True)
    one = target.unconstrain(scenes.prior_draws(model, 1, seed=3))
    position = {name: value.expand(CHAINS, *value.shape[1:]) for name, value in one.items()}
    after, _, info = InclusionGibbs(model).step(make_generators(0, CHAINS), position, None, False)
    drawn = target.constrain(after)["inclusion"]
    count, size = float(one["present"].sum()), len(model.proposal)
    assert 0 < count < size
    shares = torch.from_numpy(stats.beta(2.0 + count, 0.5 + size - count).cdf(drawn))
    assert scenes.kolmogorov_smirnov(shares) < scenes.LIMIT
    assert (info.acceptance_rate == 1).all()
    assert all(after[name] is position[name] for name in position if name != "inclusion")


def test_a_fixed_number_of_gaussians_is_refused():
    with pytest.raises(ValueError, match=r"InclusionGibbs .* ModelConfig\(count='variable'\)"):
        InclusionGibbs(scenes.tiny_model())


def test_chains_start_with_all_and_with_a_random_half():
    found = inclusion_gibbs.starting_values(make_generators(0, 4), 400, (1.0, 3.0))
    counts = found["present"].sum(-1)
    assert counts[::2].tolist() == [400, 400]
    assert ((counts[1::2] - 200).abs() < 45).all()
    assert not torch.equal(found["present"][1], found["present"][3])
    assert found["inclusion"] == pytest.approx((1 + counts) / 404)


def test_readers_see_no_opacity_in_empty_slots():
    present = torch.tensor([[1.0, 0.0, 1.0]])
    values = {"opacity": torch.tensor([[0.3, 0.4, 0.5]]), "present": present}
    found = inclusion_gibbs.readable(values)
    assert found["opacity"][0] == pytest.approx([0.3, 0.0, 0.5])
    assert found["present"].dtype == torch.int8
    assert found["num_gaussians"].tolist() == [2]
