import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.models.encoder import rays
from bayes_splat.types import Cameras
from tests import helpers_encoder


def test_centres_run_over_x_first():
    centres = rays.cell_centres((2, 4))
    assert centres.shape == (2, 4, 2)
    assert centres[1, 0].tolist() == [0.125, 0.75]
    assert centres[0, 3].tolist() == [0.875, 0.25]


def test_directions_are_those_of_our_cameras_at_unit_length():
    context = helpers_encoder.context()
    size = torch.tensor([48.0, 32.0, 1.0])
    cameras = Cameras(
        context.extrinsics[0],
        context.intrinsics[0] * size[:, None],
        context.near[0],
        context.far[0],
        (32, 48),
    )
    _, expected = geometry.camera_rays(cameras)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    made = rays.directions_through(
        rays.cell_centres((32, 48)).reshape(-1, 2),
        context.extrinsics[0, :, None],
        context.intrinsics[0, :, None],
    )
    assert made == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.1, 5), st.floats(1.1, 500), st.floats(0, 1))
def test_relative_disparity_and_length_are_inverse(near, ratio, relative):
    ends = torch.tensor([near], dtype=torch.float64), torch.tensor([near * ratio]).double()
    length = rays.ray_length(torch.tensor([relative]).double(), *ends)
    assert float(rays.relative_disparity(length, *ends)) == pytest.approx(relative, abs=1e-6)
    ours = geometry.relative_disparity_to_depth(torch.tensor([relative]).double(), *ends)
    assert float(length) == pytest.approx(float(ours), rel=1e-5), "ours is the same but for epsilon"
    assert near * (1 - 1e-6) <= float(length) <= near * ratio * (1 + 1e-6)
