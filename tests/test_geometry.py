import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bayes_splat import geometry
from bayes_splat.types import Cameras

seeds = st.integers(0, 2**32 - 1)
near_and_far = st.tuples(st.floats(0.01, 10), st.floats(1.01, 100)).map(
    lambda p: (p[0], p[0] * p[1])
)


@st.composite
def cameras(draw):
    """Up to three cameras, turned anyhow, their principal points in or near the picture."""
    num_views = draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    focal, place, shift = st.floats(0.3, 30), st.floats(-0.5, 1.5), st.floats(-20, 20)
    extrinsics = torch.eye(4, dtype=torch.float64).repeat(num_views, 1, 1)
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(num_views, 1, 1)
    for view in range(num_views):
        rotation = Rotation.random(random_state=draw(seeds)).as_matrix()
        extrinsics[view, :3, :3] = torch.from_numpy(rotation)
        extrinsics[view, :3, 3] = torch.tensor([draw(shift) for _ in range(3)])
        intrinsics[view, 0, 0], intrinsics[view, 1, 1] = draw(focal), draw(focal)
        intrinsics[view, 0, 2], intrinsics[view, 1, 2] = width * draw(place), height * draw(place)
    near = torch.ones(num_views, dtype=torch.float64)
    return Cameras(extrinsics, intrinsics, near, 4 * near, (height, width))


def test_pixel_centres_by_hand():
    assert geometry.pixel_centres((2, 3)).tolist() == [
        [0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5],
    ]  # fmt: skip


@given(cameras(), st.floats(0.1, 50))
def test_rays_meet_their_pixels_again_at_every_depth(cams, depth):
    origins, directions = geometry.camera_rays(cams)
    assert torch.equal(origins[:, 0], cams.extrinsics[:, :3, 3])
    pixels, depths = geometry.project_points(origins + depth * directions, cams)
    for view in range(len(cams)):  # points of this view's rays, in this view's camera
        torch.testing.assert_close(
            pixels[view, view], geometry.pixel_centres(cams.image_shape), rtol=0, atol=1e-8
        )
        torch.testing.assert_close(
            depths[view, view], torch.full_like(depths[view, view], depth), rtol=1e-10, atol=1e-11
        )


def test_rays_and_projection_agree_on_skew():
    intrinsics = torch.tensor([[[8.0, 1.5, 3.0], [0, 6.0, 2.0], [0, 0, 1]]], dtype=torch.float64)
    cams = Cameras(
        torch.eye(4, dtype=torch.float64)[None], intrinsics, torch.ones(1), torch.ones(1), (4, 5)
    )
    origins, directions = geometry.camera_rays(cams)
    pixels, _ = geometry.project_points(origins + 3.0 * directions, cams)
    torch.testing.assert_close(pixels[0, 0], geometry.pixel_centres((4, 5)))
    # u = (8 x + 1.5 y) / z + 3 and v = 6 y / z + 2
    by_hand, _ = geometry.project_points(torch.tensor([[1.0, 2, 4]], dtype=torch.float64), cams)
    assert by_hand.flatten().tolist() == [11 / 4 + 3, 12 / 4 + 2]


@given(cameras(), seeds)
def test_camera_coordinates_are_those_of_the_inverse_matrix(cams, seed):
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    homogeneous = torch.cat([points, torch.ones(5, 1)], dim=-1)
    expected = (torch.linalg.inv(cams.extrinsics) @ homogeneous.T).mT[..., :3]
    torch.testing.assert_close(geometry.world_to_camera(points, cams), expected)
    inverse = geometry.invert_rigid(cams.extrinsics)
    torch.testing.assert_close(inverse, torch.linalg.inv(cams.extrinsics))
    assert torch.equal(inverse[:, 3], cams.extrinsics[:, 3])


def test_a_point_in_the_camera_plane_projects_to_something_finite():
    cams = Cameras(torch.eye(4)[None], torch.eye(3)[None], torch.ones(1), torch.ones(1), (1, 1))
    pixel, depth = geometry.project_points(torch.tensor([[1.0, 1.0, 0.0]]), cams)
    assert torch.isfinite(pixel).all()
    assert depth.item() == 0.0


def test_sum_terms_adds_one_after_the_other():
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    assert geometry.sum_terms(values, axis=-1).tolist() == [6.0, 60.0]
    assert geometry.sum_terms(values, axis=0).tolist() == [11.0, 22.0, 33.0]
    in_order = torch.tensor([1e8, 1.0, -1e8])  # float32 loses the one, whatever the machine
    assert geometry.sum_terms(in_order, axis=0).item() == 0.0


@given(near_and_far, st.lists(st.floats(0, 1), min_size=1))
def test_depth_and_relative_disparity_are_inverse(near_far, values):
    relative = torch.tensor(values, dtype=torch.float64)
    depth = geometry.relative_disparity_to_depth(relative, *near_far)
    assert ((depth > near_far[0] * (1 - 1e-12)) & (depth < near_far[1] * (1 + 1e-12))).all()
    back = geometry.depth_to_relative_disparity(depth, *near_far)
    torch.testing.assert_close(back, relative, rtol=0, atol=1e-12)


def test_relative_disparity_by_hand():
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    # halfway between 1/2 and 1/6 lies 1/3
    torch.testing.assert_close(
        geometry.relative_disparity_to_depth(ends, 2.0, 6.0),
        torch.tensor([2.0, 3.0, 6.0], dtype=torch.float64),
    )


@given(seeds)
def test_rotation_matrices_are_those_of_scipy(seed):
    wxyz = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrices = geometry.rotation_matrices(7.0 * wxyz)  # the length does not matter
    expected = Rotation.from_quat(np.roll(wxyz.numpy(), -1, axis=-1)).as_matrix()
    np.testing.assert_allclose(matrices.numpy(), expected, atol=1e-14)
    identity = torch.eye(3, dtype=torch.float64).expand(6, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-14)
    assert (torch.linalg.det(matrices) > 0).all()


@given(seeds)
def test_covariance_roots_have_the_scales_along_the_turned_axes(seed):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(4, 3, generator=generator, dtype=torch.float64) + 0.1
    quaternions = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    roots = geometry.covariance_roots(scales, quaternions)
    rotations = geometry.rotation_matrices(quaternions)
    torch.testing.assert_close(
        roots @ roots.mT, rotations @ torch.diag_embed(scales**2) @ rotations.mT
    )


def test_covariance_root_by_hand():
    quarter_turn_about_z = torch.tensor([math.sqrt(0.5), 0, 0, math.sqrt(0.5)], dtype=torch.float64)
    root = geometry.covariance_roots(
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), quarter_turn_about_z
    )
    expected = torch.diag(torch.tensor([4.0, 1.0, 9.0], dtype=torch.float64))  # x and y swapped
    torch.testing.assert_close(root @ root.mT, expected)
