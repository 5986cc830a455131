"""The whole encoder; against the official numbers in stages, with their tolerances (spec, 9.2)."""

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bayes_splat.errors import ModelError
from bayes_splat.models.encoder import depth_predictor
from bayes_splat.models.encoder.checkpoints import from_official_weights
from bayes_splat.models.encoder.encoder import OfficialGaussians, PixelSplatEncoder, place_gaussians
from tests import helpers_encoder
from tests import helpers_golden as golden


@pytest.fixture(scope="module")
def official() -> PixelSplatEncoder:
    """The re10k encoder with the golden weights; what nobody uses is not made."""
    weights = {
        key: golden.weight(key, shape)
        for key, shape in golden.shapes().items()
        if ".model.layer4." not in key
    }
    return from_official_weights(weights, "the golden recipe")


@pytest.fixture(scope="module")
def features(official) -> Tensor:
    return official.image_features(golden.context().images)


def known(name: str) -> Tensor:
    square = golden.pair()
    return {**square["outputs_deterministic"], **square["intermediates"]}[name]


def largest(made: Tensor, name: str) -> float:
    assert made.shape == known(name).shape
    return float((made - known(name)).abs().max())


# ----- parity with the official encoder -----


@golden.needed
def test_weights_are_those_of_the_recipe():
    spots = golden.read("pixelsplat_encoder.pt")["recipe_spot_checks"]
    for key, spot in spots.items():
        made = golden.weight(key, golden.shapes()[key])
        assert torch.equal(made.flatten()[:4], spot["first4"])
        assert float(made.double().sum()) == pytest.approx(float(spot["sum"]), abs=1e-6)


@golden.needed
def test_all_weights_are_those_of_the_recipe():
    digest = hashlib.sha256()
    for key in sorted(golden.shapes()):
        digest.update(key.encode("utf-8"))
        digest.update(golden.weight(key, golden.shapes()[key]).numpy().tobytes())
    assert digest.hexdigest() == golden.read("pixelsplat_encoder.pt")["meta"]["state_dict_sha256"]


@golden.needed
def test_backbone_is_the_official_one(official, features):
    images = golden.context().images[0]
    assert largest(official.backbone.vit(images), "vit_tokens") < 2e-5
    found = official.backbone(images)[None, ..., ::8, ::8]
    assert largest(found, "backbone_every_8th_pixel") < 2e-5
    projected = features[..., ::8, ::8].movedim(2, -1)
    assert largest(projected, "backbone_projection_every_8th_pixel") < 2e-5
    assert largest(official.epipolar.downscaler(features[0]), "epipolar_downscaled") < 2e-5


@golden.needed
def test_with_the_official_depths_all_else_is_the_official_one(official, features):
    context = golden.context()
    samples = official.sample_lines(context)._replace(
        relative_disparity=known("depth_encoding_input")[..., 0]
    )
    attended = official.epipolar(features, samples).features
    assert largest(attended, "epipolar_transformer") < 2e-5
    output = official.read_out(official.add_detail(attended, context.images), context)
    assert largest(output.depth.pdf[:, :, :, None], "pdf") < 2e-6
    assert largest(output.depth.offset[:, :, :, None], "offset") < 1e-5
    assert torch.equal(output.depth.pdf.argmax(-1, keepdim=True), known("pdf_argmax"))
    gaussians = place_gaussians(output, context)
    tolerances = {"means": 3e-4, "covariances": 3e-5, "harmonics": 1e-5, "opacities": 1e-6}
    for name, tolerance in {**tolerances, "scales": 3e-5, "rotations": 2e-5}.items():
        assert largest(getattr(gaussians, name), name) < tolerance, name


@golden.needed
def test_from_end_to_end_it_is_the_official_one(official):
    context = golden.context()
    output = official(context)
    assert largest(output.depth.pdf[:, :, :, None], "pdf") < 5e-4
    is_clear = (known("pdf_top2_margin") > 4e-4).flatten()
    assert is_clear.double().mean() > 0.98
    gaussians = place_gaussians(output, context)
    for name, absolute, relative in (
        ("means", 1e-2, 5e-3),
        ("covariances", 1e-3, 0),
        ("harmonics", 3e-3, 0),
        ("opacities", 2e-4, 0),
    ):
        made, expected = getattr(gaussians, name)[0, is_clear], known(name)[0, is_clear]
        assert ((made - expected).abs() <= absolute + relative * expected.abs()).all(), name


# ----- what it does with any weights -----


@pytest.mark.parametrize("name", helpers_encoder.VARIANTS)
@pytest.mark.parametrize("num_views", [2, 3])
def test_every_variant_says_something_of_every_pixel(name, num_views):
    encoder = helpers_encoder.encoder(helpers_encoder.VARIANTS[name])
    context = helpers_encoder.context(num_views)
    output = encoder(context, keep_attention=True)
    pixels = num_views * 32 * 48
    assert output.depth.pdf.shape == (1, num_views, 32 * 48, encoder.sizes.num_buckets)
    assert output.depth.pdf.sum(-1) == pytest.approx(torch.ones(1, num_views, 1536), abs=1e-5)
    assert len(output.attention) == (0 if encoder.sizes.epipolar is None else 2)
    gaussians = place_gaussians(output, context)
    expected = OfficialGaussians(*[(1, pixels)] * 6)._asdict() | {
        "means": (1, pixels, 3),
        "covariances": (1, pixels, 3, 3),
        "harmonics": (1, pixels, 3, 25),
        "scales": (1, pixels, 3),
        "rotations": (1, pixels, 4),
    }
    for part, shape in expected.items():
        assert getattr(gaussians, part).shape == shape
        assert getattr(gaussians, part).isfinite().all()
    assert (output.lengths >= context.near[0, 0]).all()
    assert (output.lengths <= context.far[0, 0]).all()


def test_uniform_numbers_choose_three_gaussians_a_pixel():
    encoder, context = helpers_encoder.encoder(), helpers_encoder.context()
    uniforms = torch.rand(1, 2, 1536, 3, generator=torch.Generator().manual_seed(0))
    output, mode = encoder(context, uniforms), encoder(context)
    assert torch.equal(output.depth.pdf, mode.depth.pdf)
    buckets = depth_predictor.choose_buckets(output.depth.pdf, uniforms)
    probability = output.depth.pdf.gather(-1, buckets)
    assert output.opacities == pytest.approx(probability / 3, abs=1e-6)
    assert (output.opacities <= mode.opacities + 1e-6).all(), "the mode is the most probable"
    gaussians = place_gaussians(output, context)
    assert gaussians.means.shape == (1, 2 * 1536 * 3, 3)
    # The Gaussians of one pixel lie on one ray, in the order of the samples.
    centre = context.extrinsics[0, 1, :3, 3]
    away = gaussians.means[0].reshape(2, 1536, 3, 3)[1] - centre
    assert away.norm(dim=-1) == pytest.approx(output.lengths[0, 1], rel=1e-4)
    towards = away / away.norm(dim=-1, keepdim=True)
    assert (towards[:, :1] - towards).abs().max() < 1e-4


def test_scenes_of_a_batch_do_not_see_each_other():
    encoder = helpers_encoder.encoder()
    first, second = (helpers_encoder.context(seed=seed) for seed in (0, 1))
    both = type(first)(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    together, alone = encoder(both), encoder(second)
    assert together.depth.pdf[1] == pytest.approx(alone.depth.pdf[0], abs=1e-5)
    assert together.pixels.scales[1] == pytest.approx(alone.pixels.scales[0], rel=1e-4)


def test_scale_of_the_world_does_not_matter():
    encoder, context = helpers_encoder.encoder(), helpers_encoder.context()
    extrinsics = context.extrinsics.clone()
    extrinsics[..., :3, 3] *= 7.0
    large = context._replace(extrinsics=extrinsics, near=7 * context.near, far=7 * context.far)
    output, larger = encoder(context), encoder(large)
    assert larger.depth.pdf == pytest.approx(output.depth.pdf, abs=2e-3)
    same = (larger.lengths / output.lengths - 7.0).abs() < 0.02
    assert same.double().mean() > 0.98


def test_half_precision_is_near():
    attention = replace(helpers_encoder.EPIPOLAR.image_attention, d_token=32)
    epipolar = replace(helpers_encoder.EPIPOLAR, image_attention=attention)
    # PyTorch 2.13 on a CPU miscalculates strided bfloat16 convolutions of 16 channels.
    sizes = replace(helpers_encoder.SMALL, d_feature=32, epipolar=epipolar)
    encoder, context = helpers_encoder.encoder(sizes), helpers_encoder.context()
    whole, half = encoder(context), encoder(context, half=True)
    assert half.depth.pdf.dtype == torch.float32
    difference = (half.depth.pdf - whole.depth.pdf).abs()
    assert 0 < difference.mean() < 5e-3


def test_gradients_reach_every_weight_that_is_used():
    sizes = helpers_encoder.VARIANTS["three views"]
    encoder = helpers_encoder.encoder(sizes).requires_grad_(True)
    context = helpers_encoder.context(3)
    output = encoder(context)
    gaussians = place_gaussians(output, context)
    sum(part.square().mean() for part in gaussians).backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        (helpers_encoder.context(2, (24, 32)), "24 x 32 pixels .* multiples of 16"),
        (
            type(helpers_encoder.context())(*(t[:, :1] for t in helpers_encoder.context())),
            "context has 1 view",
        ),
    ],
)
def test_views_that_it_cannot_take_are_refused(context, sentence):
    with pytest.raises(ModelError, match=sentence):
        helpers_encoder.encoder()(context)
