import pytest
import torch

from bayes_splat.models.encoder import official_keys
from bayes_splat.models.encoder.encoder import PixelSplatEncoder
from tests import helpers_golden as golden


@golden.needed
def test_names_and_shapes_are_the_official_ones():
    with torch.device("meta"):
        ours = PixelSplatEncoder().state_dict()
    made = {official_keys.official_key(n, has_vit=True): tuple(v.shape) for n, v in ours.items()}
    assert len(made) == len(ours)
    missing = golden.shapes().keys() - made.keys()
    assert {key for key in missing if not official_keys.is_unused(key)} == set()
    assert made == {key: golden.shapes()[key] for key in made}


def test_names_of_a_residual_network_alone():
    name = "backbone.resnet.model.stages.2.0.downsample.conv.weight"
    assert official_keys.official_key(name, has_vit=False) == (
        "backbone.model.layer2.0.downsample.0.weight"
    )


@pytest.mark.parametrize(
    ("key", "unused"),
    [
        ("backbone.resnet_backbone.model.layer4.0.conv1.weight", True),
        ("backbone.model.fc.bias", True),
        ("backbone.dino.head.weight", False),
        ("backbone.resnet_backbone.projections.layer4.weight", False),
    ],
)
def test_only_what_nobody_reads_is_unused(key, unused):
    assert official_keys.is_unused(key) == unused
