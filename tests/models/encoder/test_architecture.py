from dataclasses import replace

import pytest

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder.architecture import EncoderSizes, read_sizes
from tests import helpers_encoder, helpers_golden


@helpers_golden.needed
def test_official_shapes_are_those_of_the_defaults():
    assert read_sizes(helpers_golden.shapes()) == EncoderSizes()
    assert EncoderSizes().patch_multiple == 16


@pytest.mark.parametrize("name", helpers_encoder.VARIANTS)
def test_every_variant_is_known_by_its_shapes(name):
    sizes = helpers_encoder.VARIANTS[name]
    assert read_sizes(helpers_encoder.official_shapes(sizes)) == sizes


def test_variants_differ_as_the_official_ones_do():
    """Keys by the table of the specification, section 1.2."""
    keys = {
        name: set(helpers_encoder.official_shapes(sizes))
        for name, sizes in helpers_encoder.VARIANTS.items()
    }
    base = keys["re10k and acid"]
    layer = "epipolar_transformer.transformer.layers.0.1.fn.layers."
    more = keys["first release"] - base
    assert {layer + "0.weight", layer + "0.bias", layer + "3.weight", layer + "3.bias"} <= more
    assert len(more) == 8
    assert keys["three views"] - base == {"epipolar_transformer.view_embeddings.weight"}
    assert base - keys["no depth encoding"] == {
        f"epipolar_transformer.depth_encoding.1.{leaf}" for leaf in ("weight", "bias")
    }
    assert not [key for key in keys["no epipolar transformer"] if key.startswith("epipolar")]
    assert keys["no probabilistic sampling"] == base
    alone = keys["residual network alone"]
    assert "backbone.model.conv1.weight" in alone
    assert "backbone.projections.layer4.weight" in alone
    assert not [key for key in alone if "resnet_backbone" in key or ".bn1." in key]


def test_sides_fit_every_part():
    three = helpers_encoder.EPIPOLAR
    assert replace(helpers_encoder.SMALL, epipolar=None).patch_multiple == 8
    assert replace(helpers_encoder.SMALL, epipolar=replace(three, downscale=6)).patch_multiple == 24


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("backbone_projection.1.weight", None),
        ("to_gaussians.1.weight", (80, 16)),
        ("backbone.resnet_backbone.model.layer1.0.conv3.weight", None),
    ],
)
def test_other_networks_are_refused(key, shape):
    shapes = dict(helpers_encoder.official_shapes(helpers_encoder.SMALL))
    del shapes[key]
    if shape is not None:
        shapes[key] = shape
    with pytest.raises(ModelError, match="not those of a pixelSplat encoder: .*" + key[:12]):
        read_sizes(shapes)
