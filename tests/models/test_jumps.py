"""Depths drawn from the proposal, now and then from anywhere."""

import torch

from bayes_splat.models import jumps
from bayes_splat.samplers.positions import make_generators
from tests import helpers_scenes as scenes

CHAINS = 1500


def test_draws_have_the_density_that_is_stated():
    proposal = scenes.tiny_model(num_buckets=3, dtype=torch.float64).proposal
    drawn = jumps.draw_jumps(proposal, make_generators(1, CHAINS))
    depth = proposal.depth_at(drawn)
    shares = torch.nn.functional.one_hot(proposal.bucket(depth), 3).double().mean(0)
    middle = proposal.bucket_centre(torch.arange(3)[:, None].expand(3, len(proposal)))
    wanted = jumps.jump_log_prob(proposal, middle).exp().t() / 3
    error = (wanted * (1 - wanted) / CHAINS).sqrt()
    assert ((shares - wanted) / error).abs().max() < scenes.LIMIT
    assert scenes.kolmogorov_smirnov(torch.frac(drawn * 3).flatten()) < scenes.LIMIT


def test_no_depth_is_out_of_reach():
    proposal = scenes.tiny_model(num_buckets=4).proposal
    certain = torch.zeros_like(proposal.probabilities)
    certain[:, 2] = 1.0
    proposal = scenes.with_probabilities(proposal, certain)
    depth = proposal.bucket_centre(torch.zeros(len(proposal), dtype=torch.long))
    density = jumps.jump_log_prob(proposal, depth).exp()
    assert torch.allclose(density, torch.full_like(density, jumps.EXPLORE))
    assert (
        proposal.bucket(proposal.depth_at(jumps.draw_jumps(proposal, make_generators(0, 50)))) == 0
    ).any()
