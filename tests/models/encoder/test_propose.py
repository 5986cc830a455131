"""The proposal must be, in our conventions, what the encoder says in its own."""

from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from bayes_splat import geometry, harmonics
from bayes_splat.errors import ConfigError
from bayes_splat.models import plane_sweep
from bayes_splat.models.encoder import official_harmonics
from bayes_splat.models.encoder import propose as learned
from bayes_splat.models.encoder.encoder import place_gaussians
from bayes_splat.models.encoder.propose import Encoded
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.scenes.synthetic import demo_scene
from bayes_splat.types import Views
from tests import helpers_encoder
from tests import helpers_scenes as scenes

OWN_RANGE = EncoderConfig(range="encoder", floor=0.0)


@pytest.fixture(scope="module")
def views() -> Views:
    """A pair of 40 x 30 pixels in a world that is turned, shifted and scaled."""
    views = demo_scene(40, num_targets=0)
    move = torch.eye(4)
    turn = Rotation.from_euler("xyz", [100, 30, -60], degrees=True).as_matrix()
    move[:3, :3] = torch.from_numpy(turn)
    move[:3, 3] = torch.tensor([1.0, -2.0, 0.5])
    extrinsics = views.cameras.extrinsics.clone()
    extrinsics[:, :3, 3] *= 2.0
    near, far = 2.0 * views.cameras.near, 2.0 * views.cameras.far
    cameras = replace(views.cameras, extrinsics=move @ extrinsics, near=near, far=far)
    return replace(views, cameras=cameras, depths=None)


@pytest.fixture(scope="module")
def encoder():
    return helpers_encoder.encoder()


@pytest.fixture(scope="module")
def encoded(views, encoder) -> Encoded:
    return learned.encode(views, encoder)


@pytest.fixture(scope="module")
def own(encoded, views, encoder) -> DepthProposal:
    return learned.to_proposal(encoded, views, encoder, OWN_RANGE)


def cropped(values: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    """[1, G, ...] over padded pixels -> [gaussian, ...] over those of the photographs."""
    height, width = encoded.frame.image_shape
    padded = encoded.context.images.shape[-2:]
    grid = values[0].reshape(2, *padded, *values.shape[2:])
    return grid[:, :height, :width].flatten(0, 2)


def test_mode_lies_where_the_official_gaussian_lies(own, encoded):
    official = place_gaussians(encoded.output, encoded.context)
    pose, scale, _ = encoded.frame
    means = cropped(official.means, encoded).double() * scale
    expected = means @ pose[:3, :3].T + pose[:3, 3]
    made = own.gaussians(own.mode(), own.opacities)
    distance = (expected - own.origins).norm(dim=-1)
    assert ((made.means - expected).norm(dim=-1) / distance).max() < 1e-4


def test_shape_is_that_of_the_official_gaussian(own, encoded):
    official = place_gaussians(encoded.output, encoded.context)
    pose, scale, _ = encoded.frame
    turn = pose[:3, :3]
    covariances = cropped(official.covariances, encoded).double() * scale**2
    expected = turn @ covariances @ turn.T
    made = own.gaussians(own.mode(), own.opacities)
    root = geometry.covariance_roots(made.scales, made.rotations)
    error = (root @ root.mT - expected).abs().amax((-2, -1)) / expected.abs().amax((-2, -1))
    assert error.max() < 1e-3


def test_colors_are_those_that_the_official_renderer_shows(own, encoded, views):
    official = place_gaussians(encoded.output, encoded.context)
    coefficients = cropped(official.harmonics, encoded)[..., :16]
    made = own.gaussians(own.mode(), own.opacities)
    away = made.means - views.cameras.extrinsics[1, :3, 3]
    away = away / away.norm(dim=-1, keepdim=True)
    theirs = away @ encoded.frame.pose[:3, :3].float()
    basis = official_harmonics.basis(theirs)
    expected = (0.5 + (coefficients * basis[:, None]).sum(-1)).clamp_min(0)
    assert harmonics.to_colors(made.harmonics, away) == pytest.approx(expected, abs=1e-4)


def test_buckets_of_its_own_range_are_the_official_ones(own, encoded):
    pdf = cropped(encoded.output.depth.pdf.flatten(1, 2), encoded)
    assert own.probabilities == pytest.approx(pdf, abs=1e-6)
    assert own.num_buckets == 8
    lengths = cropped(encoded.output.lengths.flatten(1, 2), encoded)[:, 0]
    local = own.mode()[:, None] * own.directions
    assert local.norm(dim=-1) == pytest.approx((lengths * encoded.frame.scale).double(), rel=1e-4)


def test_range_of_the_scene_is_that_of_any_other_proposal(encoded, views, encoder, own):
    made = learned.to_proposal(encoded, views, encoder, EncoderConfig(num_buckets=20))
    assert made.num_buckets == 20
    near, far = views.cameras.near.double()[0], views.cameras.far.double()[0]
    assert (made.near == near).all()
    assert (made.far == far).all()
    assert made.probabilities.sum(-1) == pytest.approx(torch.ones(len(made)), abs=1e-5)
    assert made.probabilities.min() >= 0.001 / 20 * 0.999
    # Half-way in disparity: probability nearer than that, up to the spread of what is outside.
    # Inside a bucket it is that of a triangle, integrated here by the midpoint rule.
    step = (torch.arange(2000).double() + 0.5) / 2000
    middle = geometry.relative_disparity_to_depth(torch.tensor(0.5).double(), near, far)
    inside = []
    for depth in (near, middle, far):
        position = own.relative_disparity(depth.expand(len(own))).clamp(0, 1) * 8
        whole = position.long().clamp_max(7)
        cumulative = torch.cat([torch.zeros(len(own), 1), own.probabilities.cumsum(-1)], -1)
        peak = own.offsets.double().gather(-1, whole[:, None])
        density = 2 * torch.minimum(step / peak, (1 - step) / (1 - peak))
        below = (density * (step < (position - whole)[:, None])).mean(-1)
        part = own.probabilities.gather(-1, whole[:, None])[:, 0] * below
        inside.append(cumulative.gather(-1, whole[:, None])[:, 0] + part)
    low, mid, high = inside
    expected = 0.999 * ((mid - low) + 0.5 * (1 - (high - low))) + 0.0005
    assert made.probabilities[:, :10].sum(-1).double() == pytest.approx(expected, abs=1e-3)


def test_appearance_of_photographs_is_that_of_the_plane_sweep(encoded, views, encoder):
    """Everything that prior and likelihood know of; only starts and moves may differ."""
    made = learned.to_proposal(encoded, views, encoder, EncoderConfig(appearance="photograph"))
    swept = plane_sweep.propose(views)
    assert made.num_buckets == swept.num_buckets
    names = ("origins", "directions", "near", "far", "footprints", "rotations", "harmonics")
    for name in names:
        assert torch.equal(getattr(made, name), getattr(swept, name)), name
    assert not torch.equal(made.probabilities, swept.probabilities)


def test_rays_stay_inside_their_pixels(own, views):
    for view in range(2):
        mine = own.directions.reshape(2, -1, 3)[view]
        pixel, _ = geometry.project_points(own.origins[:1] * 0 + mine, _at_zero(views, view))
        centres = geometry.pixel_centres(views.cameras.image_shape)
        assert (pixel[0].double() - centres).abs().max() < 0.5 + 1e-3


def _at_zero(views: Views, view: int):
    cameras = views.cameras[view]
    extrinsics = cameras.extrinsics.clone()
    extrinsics[:, :3, 3] = 0
    return replace(cameras, extrinsics=extrinsics)


def test_opacity_is_what_three_draws_cover_together():
    pdf = torch.tensor([0.7, 0.2, 0.1])
    draws = torch.multinomial(
        pdf.expand(40_000, 3), 3, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    covered = 1 - (1 - pdf[draws] / 3).prod(-1)
    error = covered.std() / 200
    assert abs(float(learned.coverage(pdf, 3) - covered.mean())) < 4 * error
    assert float(learned.coverage(torch.tensor([1.0]), 1)) == 1.0
    assert float(learned.coverage(torch.tensor([0.0, 1.0]), 3)) == pytest.approx(19 / 27)


def test_official_gaussians_in_our_terms(encoded, views, own):
    made = learned.to_gaussians(encoded, views)
    mode = own.gaussians(own.mode(), own.opacities)
    assert made.means == pytest.approx(mode.means, rel=1e-3, abs=1e-3)
    assert made.scales == pytest.approx(mode.scales, rel=1e-3)
    assert torch.equal(made.rotations, mode.rotations)
    assert torch.equal(made.harmonics, mode.harmonics)
    top = own.probabilities.amax(-1)
    assert made.opacities == pytest.approx(top / 3, abs=1e-5)


def test_quaternions_multiply_as_rotations_do():
    first, second = Rotation.random(2, random_state=0)
    made = learned.multiply_xyzw(
        torch.from_numpy(first.as_quat()), torch.from_numpy(second.as_quat())
    )
    expected = torch.from_numpy((first * second).as_quat())
    assert made * made[3].sign() == pytest.approx(expected * expected[3].sign(), abs=1e-12)


def test_from_a_file_to_a_proposal(tmp_path, views, encoder, encoded):
    path = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    config = EncoderConfig(checkpoint=str(path))
    made = learned.propose(views, config)
    expected = learned.to_proposal(encoded, views, encoder, config)
    assert torch.equal(made.probabilities, expected.probabilities)
    assert ((made.opacities > 0) & (made.opacities < 1)).all()
    assert made.near.dtype == made.far.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "pixelSplat's encoder needs weights: write proposal.checkpoint=<file>"),
        ({"half": True}, "proposal.half=true is for NVIDIA GPUs"),
        ({"device": "cuda"}, "proposal.device is cuda but there is no NVIDIA GPU"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, views, monkeypatch, options, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if options:
        options["checkpoint"] = str(helpers_encoder.write_checkpoint(tmp_path / "a.ckpt"))
    with pytest.raises(ConfigError, match=sentence):
        learned.propose(views, EncoderConfig(**options))


def test_any_number_of_threads_gives_the_same_bits(views, encoder):
    results = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            found = learned.encode(views, encoder)
            results.append(learned.to_proposal(found, views, encoder, EncoderConfig()))
            assert torch.get_num_threads() == number
    for other in results[1:]:
        for name in ("probabilities", "offsets", "opacities", "footprints", "harmonics"):
            assert torch.equal(getattr(results[0], name), getattr(other, name)), name
