from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from bayes_splat.models.encoder.backbone import Backbone, ResNetFeatures
from tests import helpers_encoder


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def test_features_are_the_sum_of_maps_tokens_and_class(images):
    backbone = helpers_encoder.encoder().backbone
    assert backbone.vit is not None
    made = backbone(images)
    tokens = backbone.vit(images)
    local = backbone.patch_mlp(tokens[:, 1:]).mT.reshape(2, 24, 2, 3)
    expected = (
        backbone.resnet(images)
        + F.interpolate(local, scale_factor=8, mode="nearest")
        + backbone.class_mlp(tokens[:, 0])[..., None, None]
    )
    assert made.shape == (2, 24, 16, 24)
    assert made == pytest.approx(expected, abs=1e-5)


def test_maps_are_enlarged_with_aligned_corners(images):
    sizes = helpers_encoder.SMALL
    features = ResNetFeatures(sizes.resnet, 5).eval().requires_grad_(False)
    projected = zip(features.projections, features.model(images), strict=True)
    expected = sum(
        F.interpolate(project(found), (16, 24), mode="bilinear", align_corners=True)
        for project, found in projected
    )
    assert features(images) == pytest.approx(expected, abs=1e-5)


def test_a_residual_network_alone(images):
    sizes = helpers_encoder.VARIANTS["residual network alone"]
    backbone = Backbone(sizes)
    assert backbone.vit is None
    assert torch.equal(backbone(images), backbone.resnet(images))
    assert not [name for name in backbone.state_dict() if "mlp" in name]


def test_pictures_do_not_see_each_other(images):
    backbone = helpers_encoder.encoder(replace(helpers_encoder.SMALL)).backbone
    assert backbone(images)[1:] == pytest.approx(backbone(images[1:]), abs=1e-5)
