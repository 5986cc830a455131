from dataclasses import replace

import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import epipolar_sampler, epipolar_transformer
from bayes_splat.models.encoder.architecture import EpipolarSizes
from bayes_splat.models.encoder.epipolar_transformer import EpipolarLayer, EpipolarTransformer
from tests import helpers_encoder
from tests.helpers_encoder import VARIANTS


def transformer(name: str = "re10k and acid") -> EpipolarTransformer:
    made = helpers_encoder.encoder(VARIANTS[name]).epipolar
    assert isinstance(made, EpipolarTransformer)
    return made


def inputs(num_views: int = 2):
    context = helpers_encoder.context(num_views)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, num_views, 16, 32, 48, generator=generator)
    return features, epipolar_sampler.sample_lines(context, (8, 12), 32)


@pytest.mark.parametrize("name", ["re10k and acid", "first release", "no depth encoding"])
def test_every_view_hears_of_the_other_one(name):
    features, samples = inputs()
    changed = features.clone()
    changed[0, 1] += torch.randn(16, 32, 48, generator=torch.Generator().manual_seed(2))
    model = transformer(name)
    moved = (model(changed, samples).features - model(features, samples).features)[0, 0]
    assert (moved.abs().amax(0) > 1e-5).all()


def test_depth_of_samples_is_encoded_or_not():
    features, samples = inputs()
    deeper = samples._replace(relative_disparity=0.5 * samples.relative_disparity)
    for name, matters in (("re10k and acid", True), ("no depth encoding", False)):
        model = transformer(name)
        same = torch.equal(model(features, samples).features, model(features, deeper).features)
        assert same != matters


def test_rays_a_few_at_a_time_or_all_at_once_are_the_same(monkeypatch):
    features, samples = inputs(3)
    model = transformer()
    together = model(features, samples, keep_attention=True)
    monkeypatch.setattr(epipolar_transformer, "_RAYS_AT_ONCE", 7)
    pieces = model(features, samples, keep_attention=True)
    assert pieces.features == pytest.approx(together.features, abs=2e-5)
    assert pieces.attention[1] == pytest.approx(together.attention[1], abs=1e-5)


def test_attention_is_a_distribution_over_the_samples_of_all_other_views():
    features, samples = inputs(3)
    model = transformer()
    assert model(features, samples).attention == []
    layers = model(features, samples, keep_attention=True).attention
    assert [tuple(weights.shape) for weights in layers] == [(1, 3, 96, 2, 32)] * 2
    for weights in layers:
        assert weights.sum((-2, -1)) == pytest.approx(torch.ones(1, 3, 96), abs=1e-5)


def test_attention_is_on_the_sample_whose_feature_asks_for_it():
    """A key direction that one sample alone shows draws nearly all weight there."""
    model = transformer("no depth encoding")
    layer = model.layers[0]
    assert isinstance(layer, EpipolarLayer)
    tokens = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    seen = 0.01 * torch.randn(4, 32, 16, generator=torch.Generator().manual_seed(1))
    key = layer.attention.kv.weight[: 4 * 6].reshape(4, 6, 16)[0]
    query = layer.attention.q(layer.norm_query(tokens)).reshape(4, 4, 6)[:, 0]
    direction = query @ key
    seen[:, 11] += 60.0 * direction / direction.square().sum(-1, keepdim=True) * 6**0.5
    _, weights = layer.look(tokens, seen)
    assert (weights[:, 0].argmax(-1) == 11).all()
    assert (weights[:, 0, 11] > 0.99).all()


def test_view_embeddings_count_with_three_views_only():
    model = transformer("three views")
    without = EpipolarTransformer(replace(model.sizes, num_view_embeddings=0), 16)
    without.load_state_dict({k: v for k, v in model.state_dict().items() if "view" not in k})
    without.requires_grad_(False)
    for num_views, same in ((2, True), (3, False)):
        made = model(*inputs(num_views)).features
        assert torch.equal(made, without(*inputs(num_views)).features) == same
    features, samples = inputs(3)
    first = model(features, samples, torch.tensor([0, 1])).features
    assert torch.equal(first, model(features, samples).features)
    swapped = model(features, samples, torch.tensor([1, 0])).features
    assert not torch.allclose(first, swapped, atol=1e-4)


def test_more_views_than_embeddings_are_refused():
    with pytest.raises(ModelError, match="5 views, but these weights tell at most 3 other"):
        transformer("three views")(*inputs(5))


def test_full_size_has_the_official_parameters():
    with torch.device("meta"):
        model = EpipolarTransformer(EpipolarSizes(), 128)
    assert sum(p.numel() for p in model.parameters()) == 6_638_848
