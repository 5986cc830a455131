import math

import pytest
import torch

from bayes_splat import geometry
from bayes_splat.models.encoder import depth_predictor
from bayes_splat.models.encoder.depth_predictor import DepthDistribution, DepthHead

PDF = torch.tensor([[0.1, 0.6, 0.3]])


def test_logits_and_offsets_alternate():
    head = DepthHead(2, 3).requires_grad_(False)
    head.projection.weight.zero_()
    head.projection.bias[:] = torch.tensor([0.0, -1.0, 1.0, 0.0, 2.0, 1.0])
    pdf, offset = head(torch.randn(4, 2))
    assert pdf[0] == pytest.approx(torch.tensor([0.0, 1.0, 2.0]).softmax(-1))
    assert offset[0] == pytest.approx(torch.tensor([-1.0, 0.0, 1.0]).sigmoid())


def test_negative_features_are_cut_off():
    head = DepthHead(2, 3)
    assert torch.equal(head(-torch.ones(1, 2)).pdf, head(torch.zeros(1, 2)).pdf)


def test_uniform_numbers_choose_buckets_by_the_cumulative_sum():
    uniforms = torch.tensor([[0.0, 0.0999, 0.1001, 0.6999, 0.7001, 1 - 1e-7]])
    assert depth_predictor.choose_buckets(PDF, uniforms).tolist() == [[0, 0, 1, 1, 2, 2]]
    assert depth_predictor.choose_buckets(PDF, None).tolist() == [[1]]


def test_sums_below_one_do_not_lead_outside():
    """Official: the division by a little more than the sum keeps the last below one."""
    pdf = torch.full((1, 32), 1 / 32)
    assert int(depth_predictor.choose_buckets(pdf, torch.tensor([[1 - 6e-8]])).max()) == 31


def test_draws_follow_the_probabilities():
    uniforms = torch.rand(1, 20_000, generator=torch.Generator().manual_seed(0))
    drawn = depth_predictor.choose_buckets(PDF, uniforms)[0]
    counts = torch.bincount(drawn, minlength=3) / 20_000
    error = (PDF[0] * (1 - PDF[0]) / 20_000).sqrt()
    assert ((counts - PDF[0]).abs() < 4 * error).all()


def test_a_chosen_bucket_has_its_own_offset_length_and_probability():
    offset = torch.tensor([[0.2, 0.5, 0.9]])
    near, far = torch.tensor([2.0]), torch.tensor([50.0])
    lengths, probability = depth_predictor.place(
        DepthDistribution(PDF, offset), torch.tensor([[0, 1, 2]]), near, far
    )
    relative = torch.tensor([0.2, 1.5, 2.9]) / 3
    assert lengths[0] == pytest.approx(
        geometry.relative_disparity_to_depth(relative, 2.0, 50.0), rel=1e-5
    )
    assert probability[0] == pytest.approx(PDF[0], abs=1e-6)


def test_opacity_is_the_probability_shared_by_the_gaussians_of_a_pixel():
    assert depth_predictor.opacity_of(PDF, 3) == pytest.approx(PDF / 3)
    assert depth_predictor.opacity_of(PDF, 1) == pytest.approx(PDF)
    bent = depth_predictor.opacity_of(torch.tensor([[0.25]]), 1, exponent=2.0)
    assert float(bent) == pytest.approx(0.5 * (1 - 0.75**2 + math.sqrt(0.25)))


def test_a_bucket_without_probability_is_never_drawn():
    pdf = torch.tensor([[0.0, 1.0, 0.0]])
    assert depth_predictor.choose_buckets(pdf, torch.tensor([[0.0, 0.5]])).tolist() == [[1, 1]]
