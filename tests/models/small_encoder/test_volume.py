import torch

from bayes_splat.models.small_encoder.matching import PHOTOMETRIC
from bayes_splat.models.small_encoder.sizes import TINY
from tests import helpers_small_encoder


def inputs(buckets: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    evidence = torch.rand((2, TINY.groups + PHOTOMETRIC, buckets, 8, 12), generator=generator)
    return evidence, torch.rand((2, TINY.half, 8, 12), generator=generator)


def test_shapes():
    hidden, logits = helpers_small_encoder.tiny_encoder().volume(*inputs())
    assert hidden.shape == (2, TINY.volume, 8, 8, 12)
    assert logits.shape == (2, 8, 8, 12)


def test_evidence_and_features_both_count():
    net = helpers_small_encoder.tiny_encoder().volume
    evidence, features = inputs()
    plain = net(evidence, features)[1]
    assert (net(evidence.flip(2), features)[1] - plain).abs().max() > 1e-4
    assert (net(evidence, features.flip(1))[1] - plain).abs().max() > 1e-4


def test_near_and_far_differ():
    """The same evidence everywhere: buckets are told apart by their place alone."""
    evidence, features = inputs()
    flat = evidence.mean((2, 3, 4), keepdim=True).expand_as(evidence)
    logits = helpers_small_encoder.tiny_encoder().volume(flat, features)[1]
    assert (logits - logits.flip(1)).abs().max() > 1e-4
