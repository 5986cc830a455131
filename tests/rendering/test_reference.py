"""The rasteriser against pictures composited pixel by pixel in ``helpers_dense``."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bayes_splat import harmonics
from bayes_splat.rendering import reference
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from bayes_splat.types import Gaussians
from tests.helpers_dense import (
    dense_picture,
    one_gaussian,
    random_cameras,
    random_gaussians,
    straight_camera,
)

SETTINGS = {cutoff: RenderSettings(cutoff=cutoff) for cutoff in CUTOFFS}
FALLOFF, ALPHA = SETTINGS["falloff"], SETTINGS["alpha"]
FIELDS = [field.name for field in fields(Gaussians)]


def assert_same_as_dense(gaussians, cameras, settings, sort_depths=None, sure=1e-9, atol=1e-10):
    """Compare every pixel whose thresholds are not so near that rounding decides."""
    rendering = reference.render(gaussians, cameras, settings, sort_depths=sort_depths)
    num_sure = 0
    for chain in range(len(gaussians.opacities)):
        for view in range(len(cameras)):
            dense = dense_picture(gaussians, cameras, settings, chain, view, sort_depths)
            keep = dense.margin > sure
            num_sure += keep.sum()
            for ours, expected in (
                (rendering.colors, dense.colors),
                (rendering.depths, dense.depths),
                (rendering.alphas, dense.alphas),
            ):
                np.testing.assert_allclose(
                    ours[chain, view][keep], expected[keep], rtol=0, atol=atol
                )
    assert num_sure >= 0.98 * rendering.alphas.numel(), "too few pixels were compared"


# Against the dense picture


@hypothesis_settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    cutoff=st.sampled_from(CUTOFFS),
    num_chains=st.integers(1, 3),
    num_gaussians=st.integers(0, 20),
    image_shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    degree=st.sampled_from([0, 3]),
    spread=st.sampled_from([1.0, 3.0]),
    nearest=st.sampled_from([1.0, -2.0]),
)
def test_random_scenes(
    seed, cutoff, num_chains, num_gaussians, image_shape, degree, spread, nearest
):
    cameras = random_cameras(seed, 2, image_shape)
    gaussians = random_gaussians(
        seed, num_gaussians, num_chains, degree=degree, spread=spread, nearest=nearest
    )
    assert_same_as_dense(gaussians, cameras, SETTINGS[cutoff])


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("degree", [0, 3])
def test_crowded_scene(cutoff, degree):
    # Deep enough stacks for light to run out, which the alpha cutoff has to notice.
    cameras = random_cameras(1, 2, (9, 13))
    gaussians = random_gaussians(1, 60, 2, degree=degree, opacities=(0.3, 1.0))
    gaussians = replace(gaussians, scales=3 * gaussians.scales)
    assert_same_as_dense(gaussians, cameras, SETTINGS[cutoff])
    through = 1 - reference.render(gaussians, cameras, SETTINGS[cutoff]).alphas
    if cutoff == "alpha":
        assert through.min() > ALPHA.min_transmittance
    else:
        assert through.min() < ALPHA.min_transmittance, "the scene is not deep enough"


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(
    "scales",
    [
        (50.0, 50.0, 50.0),  # huge
        (30.0, 1e-6, 1e-6),  # a needle across the picture
        (0.3, 1e-9, 0.3),  # a disk
        (1e-9, 1e-9, 1e-9),  # a point, which the low-pass makes visible
    ],
)
def test_extreme_shapes(cutoff, scales):
    cameras = random_cameras(2, 2, (9, 12))
    assert_same_as_dense(one_gaussian(scales), cameras, SETTINGS[cutoff])


def test_a_huge_gaussian_fills_the_picture_with_its_color():
    picture = reference.render(one_gaussian((1e3, 1e3, 1e3)), straight_camera(), FALLOFF)
    color = torch.tensor([0.8, 0.4, 0.1], dtype=torch.float64)
    torch.testing.assert_close(
        picture.alphas, torch.full_like(picture.alphas, 0.9), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(picture.colors, picture.alphas[..., None] * color)
    torch.testing.assert_close(picture.depths, torch.full_like(picture.depths, 2.0))


def test_the_middle_pixel_by_hand():
    # Both are centred on the middle pixel: alphas are the opacities, 0.6 and then 0.5.
    gaussians = Gaussians(
        means=torch.tensor([[[0, 0, 3.0], [0, 0, 2.0]]]).double(),
        scales=torch.full((1, 2, 3), 0.1).double(),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(1, 2, 4).double(),
        opacities=torch.tensor([[0.5, 0.6]]).double(),
        harmonics=harmonics.from_colors(torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]]).double()),
    )
    picture = reference.render(gaussians, straight_camera(), FALLOFF)
    red, green, blue = picture.colors[0, 0, 3, 4].tolist()
    assert [red, green, blue] == pytest.approx([0.4 * 0.5, 0.6, 0.0])
    assert picture.alphas[0, 0, 3, 4].item() == pytest.approx(0.8)
    assert picture.depths[0, 0, 3, 4].item() == pytest.approx((0.6 * 2 + 0.2 * 3) / 0.8)


def empty_scene(num_chains: int = 2) -> Gaussians:
    return random_gaussians(0, 0, num_chains)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(
    "gaussians",
    [
        empty_scene(),
        one_gaussian(mean=(0.0, 0.0, -2.0)),
        one_gaussian(mean=(0.0, 0.0, 0.0099)),  # in front of the camera, but nearer than allowed
        one_gaussian(mean=(1e30, 0.0, 2.0), scales=(1e-3, 1e-3, 1e-3)),
    ],
    ids=["none", "behind", "too near", "far aside"],
)
def test_nothing_to_see(cutoff, gaussians):
    gaussians = replace(gaussians, means=gaussians.means.requires_grad_())
    picture = reference.render(gaussians, straight_camera((2, 3), 2), SETTINGS[cutoff])
    assert picture.colors.shape == (len(gaussians.opacities), 2, 2, 3, 3)
    assert all((values == 0).all() for values in picture)
    picture.colors.sum().backward()
    assert (gaussians.means.grad == 0).all()
    pixels = torch.zeros(len(gaussians.opacities), 4, dtype=torch.int64)
    chosen = reference.render(
        gaussians, straight_camera((2, 3), 2), SETTINGS[cutoff], pixels=pixels
    )
    assert all((values == 0).all() for values in chosen)


def test_alpha_is_clamped():
    opaque = one_gaussian((1e3, 1e3, 1e3), opacity=1.0)
    opaque = replace(opaque, opacities=opaque.opacities.requires_grad_())
    for settings in SETTINGS.values():
        picture = reference.render(opaque, straight_camera(), settings)
        assert picture.alphas[0, 0, 3, 4].item() == 0.999
        (gradient,) = torch.autograd.grad(picture.alphas[0, 0, 3, 4], opaque.opacities)
        assert gradient.item() == 0.0


def test_the_faintest_gaussians_are_cut_off_by_alpha_and_not_by_falloff():
    faint = one_gaussian((1e3, 1e3, 1e3), opacity=0.99 / 255)
    faint = replace(faint, rotations=torch.tensor([[[1.0, 0, 0, 0]]], dtype=torch.float64))
    assert (reference.render(faint, straight_camera(), ALPHA).alphas == 0).all()
    assert len(reference.footprints(faint, straight_camera(), ALPHA).pairs.splat) == 0
    seen = reference.render(faint, straight_camera(), FALLOFF).alphas
    torch.testing.assert_close(seen, torch.full_like(seen, 0.99 / 255), rtol=1e-4, atol=0)


# Sorting


@hypothesis_settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    cutoff=st.sampled_from(CUTOFFS),
    num_keys=st.integers(1, 12),  # fewer keys than Gaussians: ties, broken by index
)
def test_sort_depths_order_the_gaussians(seed, cutoff, num_keys):
    cameras, gaussians = random_cameras(seed, 2, (5, 6)), random_gaussians(seed, 12, 2)
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(num_keys, (2, 2, 12), generator=generator).double()
    assert_same_as_dense(gaussians, cameras, SETTINGS[cutoff], keys)


def test_no_keys_mean_the_depths_of_the_centres_and_other_keys_another_picture():
    cameras, gaussians = random_cameras(3), random_gaussians(3, 30, 2)
    by_default = reference.render(gaussians, cameras, FALLOFF)
    depths = project(gaussians, cameras, FALLOFF).depths
    for same, values in zip(
        reference.render(gaussians, cameras, FALLOFF, sort_depths=depths), by_default, strict=True
    ):
        assert torch.equal(same, values)
    reverse = reference.render(gaussians, cameras, FALLOFF, sort_depths=-depths)
    assert (reverse.colors - by_default.colors).abs().max() > 0.05


def test_keys_of_buckets_keep_the_picture_smooth_where_centres_swap():
    # Two overlapping Gaussians of different colours change places: with fixed keys nothing jumps.
    front = one_gaussian((0.2, 0.2, 0.2))
    both = Gaussians(**{name: getattr(front, name).repeat_interleave(2, dim=1) for name in FIELDS})
    both.harmonics[0, 1] *= -1

    def picture(step, keys):
        means = both.means.clone()
        means[0, 0, 2] += step
        scene = replace(both, means=means)
        return reference.render(scene, straight_camera(), FALLOFF, sort_depths=keys).colors

    keys = torch.tensor([[[2.5, 1.5]]], dtype=torch.float64)
    assert (picture(1e-9, None) - picture(-1e-9, None)).abs().max() > 0.1
    assert (picture(1e-9, keys) - picture(-1e-9, keys)).abs().max() < 1e-7


# Chosen pixels


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_chosen_pixels_are_those_of_the_picture_bit_for_bit(cutoff):
    cameras, settings = random_cameras(5, 2, (6, 11)), SETTINGS[cutoff]
    gaussians = random_gaussians(5, 40, 3, degree=1).to(torch.float32)
    cameras = cameras.to(torch.float32)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(2 * 6 * 11, (3, 25), generator=generator)
    pixels[:, 3] = pixels[:, 20]  # one twice
    picture = reference.render(gaussians, cameras, settings)
    chosen = reference.render(gaussians, cameras, settings, pixels=pixels)
    for part, whole in zip(chosen, picture, strict=True):
        flat = whole.flatten(1, 3)
        expected = torch.stack([flat[chain, pixels[chain]] for chain in range(3)])
        assert torch.equal(part, expected)


def test_only_chosen_pixels_are_listed():
    cameras, gaussians = random_cameras(6, 2, (6, 11)), random_gaussians(6, 40, 2)
    pixels = torch.tensor([[0, 70, 70], [31, 32, 131]])
    listed = reference.footprints(gaussians, cameras, FALLOFF, pixels=pixels).pairs.pixel
    everything = reference.footprints(gaussians, cameras, FALLOFF).pairs.pixel
    wanted = torch.tensor([0, 70, 132 + 31, 132 + 32, 132 + 131])
    assert torch.equal(listed, everything[torch.isin(everything, wanted)])
    assert len(listed) < len(everything) / 20


def test_gradient_of_chosen_pixels_is_that_of_the_picture_at_them():
    cameras, gaussians = random_cameras(7), random_gaussians(7, 20, 2)
    means = gaussians.means.requires_grad_()
    pixels = torch.tensor([[3, 50, 50, 139], [0, 17, 80, 81]])
    weights = torch.zeros(2, 140, dtype=torch.float64)
    weights.scatter_add_(1, pixels, torch.ones(2, 4, dtype=torch.float64))
    picture = reference.render(gaussians, cameras, FALLOFF)
    (expected,) = torch.autograd.grad((picture.colors.sum(-1).flatten(1) * weights).sum(), means)
    chosen = reference.render(gaussians, cameras, FALLOFF, pixels=pixels)
    (gradient,) = torch.autograd.grad(chosen.colors.sum(), means)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("index", [-1, 140])
def test_pixels_outside_the_picture_are_refused(index):
    with pytest.raises((RuntimeError, IndexError), match=r"out of bounds|out of range"):
        reference.render(
            random_gaussians(7, 20), random_cameras(7), FALLOFF, pixels=torch.tensor([[3, index]])
        )


# Gradients, and how the picture depends on opacities


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("degree", [0, 1])
def test_gradients_are_finite_differences(cutoff, degree):
    seed = 31
    cameras, settings = random_cameras(seed, 2, (3, 4)), SETTINGS[cutoff]
    gaussians = random_gaussians(seed, 5, degree=degree, opacities=(0.2, 0.95))
    gaussians = replace(gaussians, harmonics=gaussians.harmonics / 4)  # no colour at its clamp
    margins = [dense_picture(gaussians, cameras, settings, 0, view).margin for view in range(2)]
    assert np.min(margins) > 1e-4, "finite differences would step over a threshold"

    def picture(*values):
        rendering = reference.render(Gaussians(*values), cameras, settings)
        return rendering.colors, rendering.depths * rendering.alphas, rendering.alphas

    inputs = [getattr(gaussians, name).clone().requires_grad_() for name in FIELDS]
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_gradient_of_expected_depth(cutoff):
    cameras, gaussians = straight_camera((3, 4)), one_gaussian((0.4, 0.2, 0.3))
    second = one_gaussian((0.3, 0.5, 0.2), 0.7, (0.05, 0.1, 3.0))

    def depth(means, opacities):
        both = {f: torch.cat([getattr(gaussians, f), getattr(second, f)], dim=1) for f in FIELDS}
        scene = Gaussians(**{**both, "means": means, "opacities": opacities})
        return reference.render(scene, cameras, SETTINGS[cutoff]).depths

    means = torch.cat([gaussians.means, second.means], dim=1).requires_grad_()
    opacities = torch.cat([gaussians.opacities, second.opacities], dim=1).requires_grad_()
    assert depth(means, opacities).min() > 0.0
    assert torch.autograd.gradcheck(depth, (means, opacities), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("degree", [0, 1])
def test_picture_is_affine_in_each_opacity_with_the_falloff_cutoff_only(degree):
    cameras = random_cameras(8, 2, (8, 9))
    gaussians = random_gaussians(8, 15, degree=degree, opacities=(0.3, 0.7))

    def second_difference(settings, index):
        step = torch.zeros_like(gaussians.opacities)
        step[0, index] = 0.25
        low, middle, high = (
            reference.render(
                replace(gaussians, opacities=gaussians.opacities + sign * step), cameras, settings
            ).colors
            for sign in (-1, 0, 1)
        )
        return (low - 2 * middle + high).abs().max().item()

    assert max(second_difference(FALLOFF, i) for i in range(15)) < 1e-13
    assert max(second_difference(ALPHA, i) for i in range(15)) > 1e-4


# Bad input


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(name, bad):
    gaussians = random_gaussians(9, 6, 2, degree=1)
    getattr(gaussians, name)[1, 4] = bad
    with pytest.raises(ValueError, match=rf"Gaussians\.{name}\[1, 4.* is {bad}; it must be finite"):
        reference.render(gaussians, random_cameras(9), FALLOFF)


def test_a_gaussian_too_large_for_its_dtype_is_named():
    scales = (1e30, 1e-6, 1e-6)
    assert torch.isfinite(
        reference.render(one_gaussian(scales), straight_camera(), FALLOFF).colors
    ).all()
    with pytest.raises(ValueError, match=r"Gaussians\.scales\[0, 0\] .* view 0 .* torch.float32"):
        reference.render(
            one_gaussian(scales).to(torch.float32), straight_camera().to(torch.float32), FALLOFF
        )


def test_gradients_of_poses_are_finite_differences():
    """In a picture without cutoffs, which are steps."""
    settings = RenderSettings(cutoff="falloff", threshold=1e-12)
    gaussians, cameras = random_gaussians(0, 6, 2, degree=1), random_cameras(0, 2, (4, 5))
    keys = torch.arange(6.0).double().expand(2, 2, 6)

    def total(extrinsics):
        seen = replace(cameras, extrinsics=extrinsics)
        picture = reference.render(gaussians, seen, settings, sort_depths=keys)
        return (
            picture.colors.square().sum() + picture.depths.sum() + picture.alphas.sum()
        ).double()

    extrinsics = cameras.extrinsics.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(extrinsics), extrinsics)
    assert not gradient[:, 3].any()
    for place in [(0, 0, 0), (0, 1, 2), (0, 2, 1), (0, 0, 3), (1, 2, 2), (1, 1, 3), (1, 2, 3)]:
        step = torch.zeros_like(cameras.extrinsics)
        step[place] = 1e-6
        slope = (total(cameras.extrinsics + step) - total(cameras.extrinsics - step)) / 2e-6
        torch.testing.assert_close(gradient[place], slope, rtol=1e-5, atol=1e-6)
