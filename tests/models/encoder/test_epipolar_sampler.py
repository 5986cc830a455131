import pytest
import torch

from bayes_splat.models.encoder import epipolar_sampler, rays
from tests import helpers_encoder
from tests import helpers_golden as golden


@golden.needed
def test_samples_are_the_official_ones():
    samples = epipolar_sampler.sample_lines(golden.context(), (16, 16), 32)
    known = golden.pair()["intermediates"]
    assert torch.equal(samples.is_seen, known["sampling_valid"])
    assert samples.xy == pytest.approx(known["sampling_xy_sample"], abs=1e-5)
    disparity = known["depth_encoding_input"][..., 0]
    assert samples.relative_disparity == pytest.approx(disparity, abs=5e-5)


def test_other_views_ascend():
    assert epipolar_sampler.other_views(3).tolist() == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.parametrize("num_views", [2, 3, 4])
def test_a_sample_is_what_its_point_shows(num_views):
    """The point at a sample's disparity projects to the sample; all views are looked into."""
    context = helpers_encoder.context(num_views)
    samples = epipolar_sampler.sample_lines(context, (8, 12), 5)
    assert samples.xy.shape == (1, num_views, num_views - 1, 96, 5, 2)
    view, others = num_views - 1, epipolar_sampler.other_views(num_views)[-1]
    directions = rays.directions_through(
        rays.cell_centres((8, 12)).reshape(-1, 2),
        context.extrinsics[0, view],
        context.intrinsics[0, view],
    )
    near, far = context.near[0, 0], context.far[0, 0]
    relative = samples.relative_disparity[0, view]
    length = rays.ray_length(relative, near, far)
    points = context.extrinsics[0, view, :3, 3] + length[..., None] * directions[:, None]
    there = context.extrinsics[0, others][:, None, None]
    local = torch.einsum("...ij,...i->...j", there[..., :3, :3], points - there[..., :3, 3])
    projected = (context.intrinsics[0, 0] @ (local / local[..., 2:])[..., None])[..., :2, 0]
    clamped = (relative < 1e-4) | (relative > 1 - 1e-4)
    checked = samples.is_seen[0, view][..., None] & ~clamped
    assert checked.double().mean() > 0.5
    error = (projected - samples.xy[0, view]).norm(dim=-1)
    assert error[checked].max() < 1e-3


def test_features_are_bilinear_between_centres_and_zero_for_rays_not_seen():
    features = torch.arange(12.0).reshape(1, 3, 4)
    xy = torch.tensor([[[0.125, 1 / 6], [0.25, 1 / 6]], [[0.5, 0.5], [0.5, 0.5]]])
    found = epipolar_sampler.look_up(features, xy, torch.tensor([True, False]))
    assert found.shape == (2, 2, 1)
    assert found[0, :, 0].tolist() == pytest.approx([0.0, 0.5], abs=1e-5)
    assert (found[1] == 0).all()
