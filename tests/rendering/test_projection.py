from dataclasses import replace

import pytest
import torch
from gsplat.cuda import _torch_impl as gsplat
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.rendering.projection import FRUSTUM_MARGIN, project
from bayes_splat.rendering.settings import RenderSettings
from tests.helpers_dense import gsplat_projection, random_cameras, random_gaussians

SETTINGS = RenderSettings()


def inverse_covariances(projection):
    """(xx, xy, yy) of the inverse 2D covariances, axes (chain, view, gaussian, 3)."""
    xx, xy, yy = projection.covariances2d
    return torch.stack([yy, -xy, xx], dim=-1) / projection.determinants2d[..., None]


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(
        [1.0, 6.0]
    ),  # 6: most centres are outside the picture, where slopes are clamped
)
def test_same_ellipses_as_gsplat(seed, image_shape, spread):
    cameras = random_cameras(seed, 3, image_shape)
    gaussians = random_gaussians(seed, 20, 2, spread=spread)
    ours = project(gaussians, cameras, SETTINGS)
    means2d, conics, depths = gsplat_projection(gaussians, cameras, SETTINGS)
    torch.testing.assert_close(torch.movedim(ours.means2d, 0, -1), means2d, rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(ours.depths, depths, rtol=1e-12, atol=1e-12)
    # gsplat's determinant rounds more, relative to the size of its terms
    torch.testing.assert_close(inverse_covariances(ours), conics, rtol=1e-8, atol=1e-10)


def test_slopes_are_clamped_on_every_side():
    # No random test is any good if the clamp never acts.
    cameras, gaussians = random_cameras(0), random_gaussians(0, 200, spread=6.0)
    local = geometry.world_to_camera(gaussians.means, cameras)
    x, y = (local[..., :2] / local[..., 2:]).unbind(-1)
    height, width = cameras.image_shape
    for slope, size, axis in ((x, width, 0), (y, height, 1)):
        focal = cameras.intrinsics[:, axis, axis, None]
        centre = cameras.intrinsics[:, axis, 2, None]
        pixel = focal * slope + centre
        margin = FRUSTUM_MARGIN * size / 2
        for outside in (pixel < -margin, pixel > size + margin):
            assert 5 < outside.sum() < 300


def test_means_are_projected_points_and_depths_are_camera_z():
    cameras, gaussians = random_cameras(1), random_gaussians(1, 9, 2)
    projection = project(gaussians, cameras, SETTINGS)
    pixels, depths = geometry.project_points(gaussians.means, cameras)
    torch.testing.assert_close(torch.movedim(projection.means2d, 0, -1), pixels)
    torch.testing.assert_close(projection.depths, depths)


def test_determinants_are_those_of_the_covariances():
    projection = project(random_gaussians(2, 30, 2), random_cameras(2), SETTINGS)
    xx, xy, yy = projection.covariances2d
    torch.testing.assert_close(projection.determinants2d, xx * yy - xy * xy, rtol=1e-9, atol=0)


def test_determinants_of_needles_keep_their_digits_in_float32():
    cameras, gaussians = random_cameras(3), random_gaussians(3, 50)
    gaussians = replace(gaussians, scales=torch.tensor([1e3, 1e-4, 1e-4]).double().expand(1, 50, 3))
    exact = project(gaussians, cameras, SETTINGS)
    single = project(gaussians.to(torch.float32), cameras.to(torch.float32), SETTINGS)
    torch.testing.assert_close(
        single.determinants2d.double(), exact.determinants2d, rtol=2e-5, atol=0
    )
    xx, xy, yy = single.covariances2d
    naive = (xx * yy - xy * xy).double()
    assert (naive / exact.determinants2d - 1).abs().median() > 0.1, "not hard enough a test"


@pytest.mark.parametrize("degree", [0, 1, 3, 4])
def test_same_colors_as_gsplat(degree):
    cameras, gaussians = random_cameras(4, 3), random_gaussians(4, 25, 2, degree=degree)
    towards = gaussians.means[:, None] - cameras.extrinsics[:, None, :3, 3]
    coefficients = gaussians.harmonics[:, None].expand(-1, 3, -1, -1, -1).mT
    expected = gsplat._spherical_harmonics(degree, towards, coefficients) + 0.5
    assert degree == 0 or (expected < 0).any(), "some colours have to be clipped"
    colors = torch.movedim(project(gaussians, cameras, SETTINGS).colors, 0, -1)
    torch.testing.assert_close(colors, expected.clamp_min(0))


@pytest.mark.parametrize("degree", [0, 2])
def test_colors_are_linear_in_the_harmonics_if_nothing_clips_them(degree):
    cameras, gaussians = random_cameras(4, 3), random_gaussians(4, 25, 2, degree=degree)
    settings = replace(SETTINGS, least_color=-torch.inf)

    def colors(scale: float, settings: RenderSettings) -> Tensor:
        scene = replace(gaussians, harmonics=scale * gaussians.harmonics)
        return project(scene, cameras, settings).colors

    linear = colors(-4.0, settings)
    assert (linear < 0.0).any()
    torch.testing.assert_close(linear - 0.5, -4.0 * (colors(1.0, settings) - 0.5))
    torch.testing.assert_close(colors(-4.0, SETTINGS), linear.clamp_min(0.0))


def test_low_pass_widens_the_ellipse():
    cameras, gaussians = random_cameras(5), random_gaussians(5, 10)
    sharp = project(gaussians, cameras, RenderSettings(low_pass=0.0))
    wide = project(gaussians, cameras, RenderSettings(low_pass=0.7))
    added = wide.covariances2d - sharp.covariances2d
    expected = torch.tensor([0.7, 0.0, 0.7], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(added, expected.expand_as(added))


@pytest.mark.parametrize("z", [0.0, -1e-30, -1.0, 0.005])
def test_gaussians_that_will_be_culled_have_finite_projections_and_gradients(z):
    cameras, gaussians = random_cameras(6)[[0]], random_gaussians(6, 1)
    cameras = replace(cameras, extrinsics=torch.eye(4, dtype=torch.float64)[None])
    leaves = {
        "means": torch.tensor([[[0.3, 0.0, z]]], dtype=torch.float64, requires_grad=True),
        "scales": gaussians.scales.requires_grad_(),
        "rotations": gaussians.rotations.requires_grad_(),
    }
    projection = project(replace(gaussians, **leaves), cameras, SETTINGS)
    torch.stack([t.sum() for t in projection]).sum().backward()
    assert all(torch.isfinite(t).all() for t in projection)
    assert all(
        leaf.grad is not None and torch.isfinite(leaf.grad).all() for leaf in leaves.values()
    )


def test_gradients_of_the_ellipse():
    cameras, gaussians = random_cameras(7), random_gaussians(7, 3, degree=1)

    def ellipse(means, scales, rotations):
        moved = replace(gaussians, means=means, scales=scales, rotations=rotations)
        return tuple(project(moved, cameras, SETTINGS))

    inputs = [
        t.clone().requires_grad_() for t in (gaussians.means, gaussians.scales, gaussians.rotations)
    ]
    assert torch.autograd.gradcheck(ellipse, inputs)
