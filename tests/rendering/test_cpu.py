"""The compiled engine draws what the float64 reference draws, and differentiates it."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from bayes_splat.types import Gaussians, Rendering
from tests import helpers_engines as helpers

FIELDS = [f.name for f in fields(Gaussians)]
PICTURE_ERROR = 2e-5
GRADIENT_ERROR = 5e-5  # relative, in the Euclidean norm


def assert_matches_reference(gaussians, cameras, settings, seed, keys=None, pixels=None):
    """Pictures and gradients, leaving out the pixels in which rounding may decide a cutoff."""
    if keys is None:
        keys = helpers.centre_depths(gaussians, cameras)
    exact = gaussians.to(torch.float64), cameras.to(torch.float64)
    doubtful = helpers.doubtful_pixels(*exact, settings, keys)
    options = {"sort_depths": keys}
    if pixels is not None:
        doubtful = doubtful.flatten(1).gather(1, pixels)
        options["pixels"] = pixels
    assert doubtful.sum() <= 0.2 * doubtful.numel()
    blank = Rendering(torch.zeros(*doubtful.shape, 3), *2 * [torch.zeros(doubtful.shape)])
    weights = helpers.random_weights(blank, seed)
    weights = Rendering(*(w.where(~_like(doubtful, w), 0.0) for w in weights))
    fast, fast_gradients = helpers.picture_and_gradients(
        CPURenderer(settings), gaussians, cameras, weights, **options
    )
    slow, slow_gradients = helpers.picture_and_gradients(
        ReferenceRenderer(settings), *exact, weights, **options
    )
    for name, mine, theirs in zip(Rendering._fields, fast, slow, strict=True):
        error = (mine - theirs).abs().where(~_like(doubtful, mine), 0.0)
        assert error.max() < PICTURE_ERROR, name
    for name in FIELDS:
        error = (fast_gradients[name] - slow_gradients[name]).norm()
        assert error <= GRADIENT_ERROR * slow_gradients[name].norm(), name


def _like(flags, values):
    return flags[..., None].expand_as(values) if values.ndim > flags.ndim else flags


@example_settings(max_examples=12)
@given(
    cutoff=st.sampled_from(CUTOFFS),
    chains=st.integers(1, 2),
    views=st.integers(1, 3),
    size=st.integers(1, 150),
    height=st.integers(1, 45),
    width=st.integers(1, 70),
    d_sh=st.sampled_from([1, 4]),
    spread=st.sampled_from([0.01, 0.06, 0.3]),
    seed=st.integers(0, 2**20),
)
def test_random_scenes(cutoff, chains, views, size, height, width, d_sh, spread, seed):
    gaussians = helpers.cloud(chains, size, seed, d_sh, spread)
    cameras = helpers.cameras_in_a_row(views, height, width)
    assert_matches_reference(gaussians, cameras, RenderSettings(cutoff=cutoff), seed)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("d_sh", [1, 9, 16, 25])
def test_all_degrees_of_harmonics(cutoff, d_sh):
    gaussians = helpers.cloud(2, 120, 7, d_sh)
    cameras = helpers.cameras_in_a_row(2, 33, 41)
    assert_matches_reference(gaussians, cameras, RenderSettings(cutoff=cutoff), 1)


@pytest.mark.parametrize("d_sh", [1, 4])
def test_colors_that_are_not_clipped(d_sh):
    gaussians = helpers.cloud(2, 120, 7, d_sh)
    gaussians.harmonics[..., 0] -= 2.0
    cameras, settings = helpers.cameras_in_a_row(2, 33, 41), RenderSettings(least_color=-torch.inf)
    assert_matches_reference(gaussians, cameras, settings, 1)
    renderer = CPURenderer(settings)
    dark = renderer.render(gaussians, cameras).colors
    assert dark.min() < -0.2
    prepared = renderer.prepare(gaussians, cameras)
    assert torch.equal(prepared.render(gaussians.opacities, gaussians.harmonics).colors, dark)
    gaussians.harmonics[1, 3, 2] = torch.inf
    with pytest.raises(ValueError, match=r"harmonics\[1, 3, 2, 0\] is inf"):
        renderer.render(gaussians, cameras)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_dense_opaque_scene_reaches_the_early_stop_and_the_clamp(cutoff):
    gaussians = helpers.cloud(1, 400, 3, spread=0.15)
    gaussians = replace(gaussians, opacities=0.7 + 0.3 * gaussians.opacities)
    gaussians.opacities[:, ::7] = 1.0
    cameras = helpers.cameras_in_a_row(1, 40, 40)
    assert_matches_reference(gaussians, cameras, RenderSettings(cutoff=cutoff), 2)


@example_settings(max_examples=6)
@given(cutoff=st.sampled_from(CUTOFFS), number=st.integers(1, 60), seed=st.integers(0, 2**20))
def test_chosen_pixels(cutoff, number, seed):
    """A list of its own for every chain, in any order, with repetitions."""
    gaussians = helpers.cloud(2, 100, seed)
    cameras = helpers.cameras_in_a_row(2, 37, 50)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 2 * 37 * 50, (2, number), generator=generator)
    assert_matches_reference(gaussians, cameras, RenderSettings(cutoff=cutoff), seed, pixels=pixels)


def test_chosen_pixels_are_those_of_the_whole_picture():
    gaussians = helpers.cloud(2, 300, 4)
    cameras = helpers.cameras_in_a_row(2, 37, 50)
    pixels = torch.randint(0, 2 * 37 * 50, (2, 500), generator=torch.Generator().manual_seed(0))
    whole = CPURenderer().render(gaussians, cameras)
    chosen = CPURenderer().render(gaussians, cameras, pixels=pixels)
    assert torch.equal(chosen.alphas, whole.alphas.flatten(1).gather(1, pixels))
    assert torch.equal(chosen.depths, whole.depths.flatten(1).gather(1, pixels))


def test_pixels_outside_the_pictures_are_refused():
    gaussians, cameras = helpers.cloud(1, 5, 0), helpers.cameras_in_a_row(1, 4, 5)
    with pytest.raises(ValueError, match="pixels holds indices from 3 to 20"):
        CPURenderer().render(gaussians, cameras, pixels=torch.tensor([[3, 20]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_follows_the_keys_of_the_caller(dtype):
    gaussians = helpers.cloud(2, 150, 5, spread=0.15)
    cameras = helpers.cameras_in_a_row(2, 30, 40)
    keys = torch.randint(-3, 4, (2, 2, 150), generator=torch.Generator().manual_seed(1)).to(dtype)
    keys[:, :, 1::2][keys[:, :, 1::2] == 0] *= -1.0  # zeros of both signs are one key
    keys[:, :, ::5] *= 1e30
    assert_matches_reference(gaussians, cameras, RenderSettings(), 3, keys=keys.to(torch.float64))
    chosen = CPURenderer().render(gaussians, cameras, sort_depths=keys)
    exact = CPURenderer().render(gaussians, cameras, sort_depths=keys.to(torch.float64))
    assert torch.equal(chosen.colors, exact.colors)


def test_order_of_centres_has_the_depths_of_the_reference_to_the_bit():
    """A surface of near-ties would look different if the last bit of a depth were."""
    gaussians = helpers.cloud(1, 2000, 6)
    gaussians.means[..., 2] = 2.0
    cameras = helpers.cameras_in_a_row(2, 30, 40)
    default = CPURenderer().render(gaussians, cameras)
    keys = helpers.centre_depths(gaussians, cameras)
    assert torch.equal(
        default.colors, CPURenderer().render(gaussians, cameras, sort_depths=keys).colors
    )


def test_ties_are_broken_by_index():
    gaussians = helpers.cloud(1, 100, 8, spread=0.2)
    cameras = helpers.cameras_in_a_row(1, 20, 20)
    tied = torch.zeros(1, 1, 100)
    by_index = torch.arange(100.0).expand(1, 1, 100)
    pictures = [CPURenderer().render(gaussians, cameras, sort_depths=k) for k in (tied, by_index)]
    assert torch.equal(pictures[0].colors, pictures[1].colors)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("chosen", [False, True])
def test_same_bits_for_any_number_of_threads_and_from_run_to_run(cutoff, chosen):
    gaussians = helpers.cloud(3, 5000, 9, spread=0.04)
    cameras = helpers.cameras_in_a_row(2, 75, 100)
    generator = torch.Generator().manual_seed(2)
    options = {"pixels": torch.randint(0, 15000, (3, 999), generator=generator)} if chosen else {}
    settings = RenderSettings(cutoff=cutoff)
    shape = CPURenderer(settings).render(gaussians, cameras, **options)
    weights = helpers.random_weights(shape, 4)
    first, first_gradients = helpers.picture_and_gradients(
        CPURenderer(settings, 1), gaussians, cameras, weights, **options
    )
    for threads in (2, 3, 2, 1):
        again, gradients = helpers.picture_and_gradients(
            CPURenderer(settings, threads), gaussians, cameras, weights, **options
        )
        for name, mine, theirs in zip(Rendering._fields, again, first, strict=True):
            assert torch.equal(mine, theirs), name
        for name in FIELDS:
            assert torch.equal(gradients[name], first_gradients[name]), name


def test_chains_do_not_touch_each_other():
    gaussians = helpers.cloud(3, 400, 10)
    cameras = helpers.cameras_in_a_row(2, 20, 30)
    together = CPURenderer().render(gaussians, cameras)
    for chain in range(3):
        alone = Gaussians(*(getattr(gaussians, name)[chain : chain + 1] for name in FIELDS))
        picture = CPURenderer().render(alone, cameras)
        assert torch.equal(picture.colors[0], together.colors[chain])


def test_nothing_to_draw():
    cameras = helpers.cameras_in_a_row(2, 5, 7)
    weights = Rendering(torch.ones(2, 2, 5, 7, 3), *2 * [torch.ones(2, 2, 5, 7)])
    picture, gradients = helpers.picture_and_gradients(
        CPURenderer(), helpers.cloud(2, 0, 0), cameras, weights
    )
    assert all(not p.any() for p in picture)
    assert gradients["means"].shape == (2, 0, 3)


def test_gaussians_behind_the_camera_are_not_drawn():
    gaussians, cameras = helpers.cloud(1, 50, 1), helpers.cameras_in_a_row(1, 9, 9)
    gaussians.means[..., 2] *= -1.0
    gaussians.means[:, ::3, 2] = -1.0
    weights = Rendering(torch.ones(1, 1, 9, 9, 3), *2 * [torch.ones(1, 1, 9, 9)])
    picture, gradients = helpers.picture_and_gradients(CPURenderer(), gaussians, cameras, weights)
    assert not picture.alphas.any()
    assert all(not g.any() for g in gradients.values())


@example_settings(max_examples=15)
@given(
    exponents=st.tuples(*[st.floats(-12, 12)] * 3),
    depth=st.floats(-2, 1e4),
    aside=st.floats(-1e5, 1e5),
    cutoff=st.sampled_from(CUTOFFS),
)
def test_any_finite_gaussian_draws_something_finite(exponents, depth, aside, cutoff):
    """Needles, giants and specks, anywhere; each in front of an ordinary scene."""
    gaussians, cameras = (
        helpers.cloud(1, 40, 2),
        helpers.cameras_in_a_row(2, 19, 35),
    )
    gaussians.scales[0, :3] = torch.tensor([exponents]) + torch.eye(3)
    gaussians.scales[0, :3] = 10.0 ** gaussians.scales[0, :3].clamp(-12, 12)
    gaussians.means[0, :3, 2] = depth
    gaussians.means[0, 1, 0] = aside
    gaussians.rotations[0, 2] = 0.0
    weights = Rendering(torch.ones(1, 2, 19, 35, 3), *2 * [torch.ones(1, 2, 19, 35)])
    try:
        picture, gradients = helpers.picture_and_gradients(
            CPURenderer(RenderSettings(cutoff=cutoff)), gaussians, cameras, weights
        )
    except ValueError as error:
        assert "too large" in str(error)  # noqa: PT017  (the reference refuses these too)
        return
    for values in (*picture, *(g[:, 3:] for g in gradients.values())):
        assert values.isfinite().all()
    assert picture.alphas.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("d_sh", [1, 4])
def test_numbers_that_are_not_finite_are_refused(name, value, d_sh):
    gaussians, cameras = (
        helpers.cloud(2, 40, 0, d_sh),
        helpers.cameras_in_a_row(1, 4, 4),
    )
    getattr(gaussians, name)[1, 38] = value
    with pytest.raises(ValueError, match=name) as fast:
        CPURenderer().render(gaussians, cameras)
    with pytest.raises(ValueError, match=name) as slow:
        ReferenceRenderer().render(gaussians, cameras)
    assert str(fast.value) == str(slow.value)


def test_other_precisions_are_converted_and_back():
    gaussians, cameras = (
        helpers.cloud(1, 60, 3),
        helpers.cameras_in_a_row(1, 12, 12),
    )
    single = CPURenderer().render(gaussians, cameras)
    double = CPURenderer().render(gaussians.to(torch.float64), cameras.to(torch.float64))
    assert double.colors.dtype == torch.float64
    assert torch.equal(double.colors, single.colors.double())


def test_affine_in_a_single_opacity_with_the_falloff_cutoff():
    gaussians, cameras = (
        helpers.cloud(1, 60, 5),
        helpers.cameras_in_a_row(1, 20, 20),
    )
    pictures = []
    for opacity in (0.1, 0.3, 0.5):
        gaussians.opacities[0, 7] = opacity
        pictures.append(CPURenderer().render(gaussians, cameras).colors)
    bend = pictures[0] - 2.0 * pictures[1] + pictures[2]
    assert bend.abs().max() < 1e-6


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_opacity_statistics_are_those_of_the_jacobian(cutoff):
    gaussians = helpers.cloud(2, 30, 1, spread=0.1)
    cameras = helpers.cameras_in_a_row(2, 17, 23)
    settings, generator = RenderSettings(cutoff=cutoff), torch.Generator().manual_seed(0)
    residuals = torch.randn(2, 2, 17, 23, 3, generator=generator)
    weights = torch.rand(2, 2, 17, 23, generator=generator)
    found = CPURenderer(settings).opacity_statistics(gaussians, cameras, residuals, weights)
    exact, exact_cameras = gaussians.to(torch.float64), cameras.to(torch.float64)

    def colors(opacities):
        scene = replace(exact, opacities=opacities)
        return ReferenceRenderer(settings).render(scene, exact_cameras).colors

    curvature, slope = torch.zeros(2, 30).double(), torch.zeros(2, 30).double()
    for i in range(30):
        direction = torch.zeros(2, 30).double()
        direction[:, i] = 1.0
        _, column = torch.autograd.functional.jvp(colors, exact.opacities, direction)
        curvature[:, i] = (column**2 * weights[..., None]).sum((1, 2, 3, 4))
        slope[:, i] = (column * residuals * weights[..., None]).sum((1, 2, 3, 4))
    assert (found.curvature - curvature).norm() < 2e-5 * curvature.norm()
    assert (found.slope - slope).norm() < 2e-5 * slope.norm()


def test_gauss_newton_diagonal_of_a_mean():
    """Moving the principal point moves one splat and nothing else."""
    gaussians = helpers.cloud(1, 1, 3, spread=0.1)
    gaussians.means[:] = torch.tensor([0.1, -0.05, 2.0])
    cameras = helpers.cameras_in_a_row(1, 21, 25)
    weights = torch.ones(1, 1, 21, 25)
    found = CPURenderer().opacity_statistics(
        gaussians, cameras, torch.zeros(1, 1, 21, 25, 3), weights, means=True
    )
    exact, exact_cameras = gaussians.to(torch.float64), cameras.to(torch.float64)

    def colors(centre):
        intrinsics = exact_cameras.intrinsics.clone()
        intrinsics[:, :2, 2] = centre
        moved = replace(exact_cameras, intrinsics=intrinsics)
        return ReferenceRenderer().render(exact, moved).colors.flatten()

    def place(mean):
        return geometry.project_points(mean[None, None], exact_cameras)[0].flatten()

    by_place = torch.autograd.functional.jacobian(colors, exact_cameras.intrinsics[0, :2, 2])
    by_mean = by_place @ torch.autograd.functional.jacobian(place, exact.means[0, 0])
    assert found.means is not None
    assert torch.allclose(found.means[0, 0].double(), (by_mean**2).sum(0), rtol=1e-4)
