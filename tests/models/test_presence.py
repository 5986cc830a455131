"""The prior on the number of Gaussians."""

import math

import pytest
import torch
from torch.distributions import Beta, biject_to

from bayes_splat.models import presence
from bayes_splat.models.presence import Presence


@pytest.mark.parametrize("prior", [(1.0, 1.0), (2.5, 0.7), (40.0, 20.0)])
def test_the_count_has_the_probabilities_of_slots_with_inclusion_summed_out(prior):
    size = 9
    log_prob = presence.count_log_prob(size, *prior)
    share = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    weight = Beta(*torch.tensor(prior).double()).log_prob(share).exp() / len(share)
    for count in range(size + 1):
        slots = (torch.arange(size) < count).double()
        one = Presence(share[:, None]).log_prob(slots).sum(-1).exp()
        wanted = math.comb(size, count) * float((weight * one).sum())
        assert log_prob[count].exp() == pytest.approx(wanted, rel=2e-3)
    assert log_prob.exp().sum() == pytest.approx(1.0)


def test_equal_weights_make_all_counts_equally_likely():
    assert presence.count_log_prob(50, 1.0, 1.0).exp() == pytest.approx(1 / 51)


def test_slots_are_filled_with_their_probability():
    torch.manual_seed(0)
    inclusion = torch.tensor([0.2, 0.9], dtype=torch.float64)[:, None]
    slots = Presence(inclusion).expand(torch.Size([2, 5000])).sample()
    assert set(slots.unique().tolist()) == {0.0, 1.0}
    error = (inclusion[:, 0] * (1 - inclusion[:, 0]) / 5000).sqrt()
    assert ((slots.mean(1) - inclusion[:, 0]).abs() / error).max() < 4.5


def test_log_probabilities_of_a_slot_sum_to_one():
    inclusion = torch.tensor([0.2, 0.9], dtype=torch.float64)
    both = torch.stack([Presence(inclusion).log_prob(torch.tensor(v)) for v in (0.0, 1.0)])
    assert both.exp().sum(0) == pytest.approx(1.0)
    assert both[1].exp() == pytest.approx(inclusion)


def test_zero_or_one_is_its_own_coordinate_and_discrete():
    support = Presence(torch.tensor(0.3)).support
    values = torch.tensor([0.0, 1.0])
    assert support.is_discrete
    assert support.check(values).all()
    assert not support.check(torch.tensor(0.5))
    assert torch.equal(biject_to(support)(values), values)
