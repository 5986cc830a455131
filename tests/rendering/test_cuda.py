"""The GPU engine draws what the float64 reference draws, and differentiates it.

Every test runs twice: here with gsplat's functions imitated in PyTorch (see ``helpers_gsplat``),
so that a wrong transpose or convention fails everywhere, and with gsplat itself where a GPU is.
"""

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from bayes_splat import geometry, harmonics
from bayes_splat.rendering import cuda_gsplat, pair_statistics
from bayes_splat.rendering.cuda import CUDARenderer
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from bayes_splat.types import Gaussians, Rendering
from tests import helpers_engines, helpers_gsplat

FIELDS = [f.name for f in fields(Gaussians)]
ALPHA = RenderSettings(cutoff="alpha")
PICTURE_ERROR = 2e-5
GRADIENT_ERROR = 5e-5  # relative, in the Euclidean norm
ROUNDING = 1e-7  # gsplat's alpha is one minus float32 light, and depths are divided by it:
FAINT = 0.02  # below this alpha, depths have too few digits for gradients
OPAQUE_GRADIENT_ERROR = 2e-3  # gsplat's backward pass starts from one minus alpha, in float32

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(params=["imitation", pytest.param("gsplat", marks=NEEDS_GPU)])
def device(request, monkeypatch):
    """Where to draw; everything else stays on the CPU, as in the main job."""
    if request.param == "gsplat":
        return "cuda"
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: helpers_gsplat.KERNELS)
    return "cpu"


def thin_cloud(chains, size, seed, d_sh=1, spread=0.06):
    """So transparent that no pixel is nearly opaque."""
    gaussians = helpers_engines.cloud(chains, size, seed, d_sh, spread)
    return replace(gaussians, opacities=0.02 + 0.2 * gaussians.opacities)


def assert_matches_reference(
    device, gaussians, cameras, settings=ALPHA, keys=None, pixels=None, error=GRADIENT_ERROR
):
    """Pictures and gradients, leaving out the pixels in which rounding may decide a cutoff."""
    exact = gaussians.to(torch.float64), cameras.to(torch.float64)
    options = {}
    if keys is not None:
        options["sort_depths"] = keys
    shown = helpers_engines.centre_depths(gaussians, cameras) if keys is None else keys
    doubtful = helpers_engines.doubtful_pixels(*exact, settings, shown)
    if pixels is not None:
        doubtful = doubtful.flatten(1).gather(1, pixels)
        options["pixels"] = pixels
    assert doubtful.sum() <= 0.2 * doubtful.numel()
    blank = Rendering(torch.zeros(*doubtful.shape, 3), *2 * [torch.zeros(doubtful.shape)])
    weights = helpers_engines.random_weights(blank, 0)
    weights = Rendering(*(w.where(~_like(doubtful, w), 0.0) for w in weights))
    shown_options = {**options, "sort_depths": shown}
    if settings.cutoff == "alpha":  # see ROUNDING
        alphas = ReferenceRenderer(settings).render(*exact, **shown_options).alphas
        weights = weights._replace(depths=weights.depths.where(alphas > FAINT, 0.0))
    fast, fast_gradients = helpers_engines.picture_and_gradients(
        CUDARenderer(settings, device), gaussians, cameras, weights, **options
    )
    slow, slow_gradients = helpers_engines.picture_and_gradients(
        ReferenceRenderer(settings), *exact, weights, **shown_options
    )
    for name, mine, theirs in zip(Rendering._fields, fast, slow, strict=True):
        assert mine.device.type == "cpu"
        wrong = (mine - theirs).abs().where(~_like(doubtful, mine), 0.0)
        bound = torch.full_like(wrong, PICTURE_ERROR)
        if name == "depths" and settings.cutoff == "alpha":  # see ROUNDING
            bound += ROUNDING * theirs / slow.alphas.clamp_min(1e-3)
        assert (wrong < bound).all(), name
    for name in FIELDS:
        wrong = (fast_gradients[name] - slow_gradients[name]).norm()
        assert wrong <= error * slow_gradients[name].norm(), name
    return slow


def _like(flags, values):
    return flags[..., None].expand_as(values) if values.ndim > flags.ndim else flags


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(
    ("chains", "views", "size", "height", "width"),
    [(1, 1, 1, 1, 1), (2, 3, 20, 16, 32), (3, 2, 33, 37, 21), (2, 1, 150, 33, 50)],
)
def test_random_scenes(device, cutoff, chains, views, size, height, width):
    gaussians = thin_cloud(chains, size, 10 * size + views)
    cameras = helpers_engines.cameras_in_a_row(views, height, width)
    assert_matches_reference(device, gaussians, cameras, RenderSettings(cutoff=cutoff))


@pytest.mark.parametrize("d_sh", [4, 9, 16, 25])
def test_all_degrees_of_harmonics(device, d_sh):
    gaussians = thin_cloud(2, 60, 7, d_sh)
    assert_matches_reference(device, gaussians, helpers_engines.cameras_in_a_row(2, 20, 33))


def test_dense_opaque_scene_reaches_the_early_stop_and_the_clamp(device):
    gaussians = helpers_engines.cloud(1, 400, 3, spread=0.15)
    gaussians = replace(gaussians, opacities=0.7 + 0.3 * gaussians.opacities)
    gaussians.opacities[:, ::7] = 1.0
    cameras = helpers_engines.cameras_in_a_row(1, 40, 40)
    shown = assert_matches_reference(device, gaussians, cameras, error=OPAQUE_GRADIENT_ERROR)
    assert (shown.alphas > 1.0 - 2e-3).any()


def test_low_pass_and_near_plane_are_those_of_the_settings(device):
    gaussians, cameras = thin_cloud(2, 80, 5), helpers_engines.cameras_in_a_row(2, 20, 30)
    settings = RenderSettings(cutoff="alpha", low_pass=0.1, near_plane=2.0)
    assert_matches_reference(device, gaussians, cameras, settings)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_order_follows_the_keys_of_the_caller(device, cutoff, dtype):
    gaussians = thin_cloud(2, 100, 5, spread=0.15)
    cameras = helpers_engines.cameras_in_a_row(2, 30, 40)
    keys = torch.randint(-3, 4, (2, 2, 100), generator=torch.Generator().manual_seed(1)).to(dtype)
    keys[:, :, 1::2][keys[:, :, 1::2] == 0] *= -1.0  # zeros of both signs are one key
    keys[:, :, ::5] *= 1e30
    assert_matches_reference(device, gaussians, cameras, RenderSettings(cutoff=cutoff), keys=keys)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_chosen_pixels(device, cutoff):
    """A list of its own for every chain, in any order, with repetitions."""
    gaussians, cameras = thin_cloud(2, 100, 4), helpers_engines.cameras_in_a_row(2, 37, 50)
    pixels = torch.randint(0, 2 * 37 * 50, (2, 9), generator=torch.Generator().manual_seed(0))
    pixels[:, -1] = pixels[:, 0]
    assert_matches_reference(
        device, gaussians, cameras, RenderSettings(cutoff=cutoff), pixels=pixels
    )


def test_only_tiles_with_chosen_pixels_are_drawn(device, monkeypatch):
    seen = []
    kernels = cuda_gsplat.load_kernels()

    def spy(*args, masks, **options):
        seen.append(masks)
        return kernels.rasterize_to_pixels(*args, masks=masks, **options)

    spied = {**{n: getattr(kernels, n) for n in vars(helpers_gsplat.KERNELS)}}
    spied["rasterize_to_pixels"] = spy
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: type("Spied", (), spied))
    gaussians, cameras = thin_cloud(2, 50, 4), helpers_engines.cameras_in_a_row(2, 37, 50)
    pixels = torch.tensor([[0, 17 * 50 + 33], [1850, 1850 + 36 * 50 + 49]])
    CUDARenderer(ALPHA, device).render(gaussians, cameras, pixels=pixels)
    (masks,) = seen
    expected = torch.zeros(2, 2, 3, 4, dtype=torch.bool)
    expected[0, 0, 0, 0] = expected[0, 0, 1, 2] = True
    expected[1, 1, 0, 0] = expected[1, 1, 2, 3] = True
    assert torch.equal(masks.cpu(), expected)


def test_pixels_outside_the_pictures_are_refused(device):
    gaussians, cameras = thin_cloud(1, 5, 0), helpers_engines.cameras_in_a_row(1, 4, 5)
    with pytest.raises(ValueError, match="pixels holds indices from 3 to 20"):
        CUDARenderer(ALPHA, device).render(gaussians, cameras, pixels=torch.tensor([[3, 20]]))


@pytest.mark.parametrize("size", [5, 100])
def test_chains_do_not_touch_each_other(device, size):
    gaussians, cameras = thin_cloud(3, size, 10), helpers_engines.cameras_in_a_row(2, 20, 30)
    renderer = CUDARenderer(ALPHA, device)
    together = renderer.render(gaussians, cameras)
    weights = helpers_engines.random_weights(together, 0)
    _, all_gradients = helpers_engines.picture_and_gradients(renderer, gaussians, cameras, weights)
    for chain in range(3):
        alone = Gaussians(**{n: getattr(gaussians, n)[[chain]] for n in FIELDS})
        picture, gradients = helpers_engines.picture_and_gradients(
            renderer, alone, cameras, Rendering(*(w[[chain]] for w in weights))
        )
        assert torch.equal(picture.colors[0], together.colors[chain])
        for name in FIELDS:
            mine, others = gradients[name][0], all_gradients[name][chain]
            assert (mine - others).norm() <= 1e-5 * mine.norm(), name


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("size", [0, 40])
def test_nothing_to_draw(device, cutoff, size):
    gaussians = thin_cloud(2, size, 0)
    gaussians.means[..., 2] *= -1.0  # behind the cameras
    weights = Rendering(torch.ones(2, 2, 5, 7, 3), *2 * [torch.ones(2, 2, 5, 7)])
    picture, gradients = helpers_engines.picture_and_gradients(
        CUDARenderer(RenderSettings(cutoff=cutoff), device),
        gaussians,
        helpers_engines.cameras_in_a_row(2, 5, 7),
        weights,
    )
    assert all(not p.any() for p in picture)
    assert gradients["means"].shape == (2, size, 3)
    assert all(not g.any() for g in gradients.values())


def test_cameras_get_no_gradient(device):
    cameras = helpers_engines.cameras_in_a_row(2, 5, 7)
    cameras.extrinsics.requires_grad_()
    picture = CUDARenderer(ALPHA, device).render(thin_cloud(2, 40, 0, 4), cameras)
    assert not picture.colors.requires_grad


def test_no_chains(device):
    cameras = helpers_engines.cameras_in_a_row(2, 5, 7)
    assert CUDARenderer(ALPHA, device).render(thin_cloud(0, 40, 0), cameras).colors.shape[0] == 0


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(
    ("name", "value"), [*((n, float("nan")) for n in FIELDS), ("means", -float("inf"))]
)
def test_numbers_that_are_not_finite_are_refused(device, cutoff, name, value):
    gaussians, cameras = thin_cloud(2, 40, 0), helpers_engines.cameras_in_a_row(1, 4, 4)
    getattr(gaussians, name)[1, 38] = value
    with pytest.raises(ValueError, match=rf"Gaussians\.{name}\[1, 38.* must be finite"):
        CUDARenderer(RenderSettings(cutoff=cutoff), device).render(gaussians, cameras)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_giants_are_refused(device, cutoff):
    gaussians, cameras = thin_cloud(2, 40, 0), helpers_engines.cameras_in_a_row(2, 4, 4)
    gaussians.scales[1, 38] = 1e25
    with pytest.raises(ValueError, match=r"scales\[1, 38\] .* too large for torch.float32"):
        CUDARenderer(RenderSettings(cutoff=cutoff), device).render(gaussians, cameras)


def test_needles_whose_determinant_gsplat_cannot_hold_are_refused(device):
    """Our own projection can; gsplat multiplies the variances, and would cull without a word."""
    gaussians, cameras = thin_cloud(1, 40, 0), helpers_engines.cameras_in_a_row(1, 9, 8)
    gaussians.scales[0, 3] = torch.tensor([1e11, 1e-6, 1e-6])
    gaussians.rotations[0, 3] = torch.tensor([0.9, 0.0, 0.0, 0.4])
    CUDARenderer(RenderSettings(cutoff="falloff"), device).render(gaussians, cameras)
    with pytest.raises(ValueError, match=r"scales\[0, 3\] .* too large for torch.float32"):
        CUDARenderer(ALPHA, device).render(gaussians, cameras)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize(
    ("name", "value"), [*((n, float("nan")) for n in FIELDS), ("scales", 1e25)]
)
def test_bad_chains_are_nan_and_the_others_as_ever(device, cutoff, name, value):
    gaussians, cameras = thin_cloud(3, 40, 0), helpers_engines.cameras_in_a_row(2, 9, 8)
    renderer = CUDARenderer(RenderSettings(cutoff=cutoff), device)
    good = renderer.render(gaussians, cameras)
    weights = helpers_engines.random_weights(good, 0)
    _, expected = helpers_engines.picture_and_gradients(renderer, gaussians, cameras, weights)
    getattr(gaussians, name)[1, 38] = value
    picture, gradients = helpers_engines.picture_and_gradients(
        renderer, gaussians, cameras, weights, non_finite="nan"
    )
    for before, after in zip(good, picture, strict=True):
        assert after[1].isnan().all()
        torch.testing.assert_close(after[::2], before[::2])  # pairs are summed with atomics
    for n in FIELDS:
        assert not gradients[n][1].any()
        wrong = (gradients[n] - expected[n])[::2].norm()
        assert wrong <= 1e-5 * expected[n][::2].norm(), n


def test_another_word_for_non_finite_is_refused(device):
    with pytest.raises(ValueError, match="non_finite is 'zero'; it must be one of raise, nan"):
        CUDARenderer(ALPHA, device).render(
            thin_cloud(1, 3, 0), helpers_engines.cameras_in_a_row(1, 4, 4), non_finite="zero"
        )


def test_other_precisions_are_converted_and_back(device):
    gaussians, cameras = thin_cloud(1, 60, 3), helpers_engines.cameras_in_a_row(1, 12, 12)
    renderer = CUDARenderer(ALPHA, device)
    single = renderer.render(gaussians, cameras)
    double = renderer.render(gaussians.to(torch.float64), cameras.to(torch.float64))
    assert double.colors.dtype == torch.float64
    assert torch.equal(double.colors, single.colors.double())


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_opacity_statistics_are_those_of_the_pairs(device, cutoff):
    gaussians, cameras = thin_cloud(2, 50, 1), helpers_engines.cameras_in_a_row(2, 17, 23)
    settings, generator = RenderSettings(cutoff=cutoff), torch.Generator().manual_seed(0)
    residuals = torch.randn(2, 2, 17, 23, 3, generator=generator)
    weights = torch.rand(2, 2, 17, 23, generator=generator)
    keys = helpers_engines.centre_depths(gaussians, cameras)
    arguments = gaussians, cameras, residuals, weights
    found = CUDARenderer(settings, device).opacity_statistics(
        *arguments, sort_depths=keys, means=True
    )
    exact = pair_statistics.measure(
        gaussians.to(torch.float64),
        cameras.to(torch.float64),
        settings,
        residuals.double(),
        weights.double(),
        sort_depths=keys,
    )
    for mine, theirs in zip(found, exact, strict=True):
        assert mine is not None
        assert theirs is not None
        assert (mine - theirs).norm() < 2e-5 * theirs.norm()


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_nothing_is_made_on_the_default_device(cutoff, monkeypatch):
    """With scenes on a GPU, a tensor made without a device would lie on the CPU and not fit."""
    gaussians, cameras = thin_cloud(2, 40, 1, 4), helpers_engines.cameras_in_a_row(2, 9, 8)
    residuals, weights = torch.ones(2, 2, 9, 8, 3), torch.ones(2, 2, 9, 8)
    pixels, keys = torch.tensor([[5, 70], [9, 9]]), torch.rand(2, 2, 40).double()
    for f in FIELDS:
        getattr(gaussians, f).requires_grad_()
    on_cpu = {n: _on_cpu(f) for n, f in vars(helpers_gsplat.KERNELS).items()}
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: SimpleNamespace(**on_cpu))
    monkeypatch.setattr(geometry, "pixel_centres", _on_cpu(geometry.pixel_centres))  # moved later
    renderer = CUDARenderer(RenderSettings(cutoff=cutoff), "cpu")
    for options in ({}, {"pixels": pixels, "sort_depths": keys}):
        expected = renderer.render(gaussians, cameras, **options)
        with torch.device("meta"):
            found = renderer.render(gaussians, cameras, **options)
            found.colors.sum().backward()
        assert torch.equal(found.colors, expected.colors)
    measured = renderer.opacity_statistics(gaussians, cameras, residuals, weights)
    with torch.device("meta"):
        again = renderer.opacity_statistics(gaussians, cameras, residuals, weights)
    assert torch.equal(again.slope, measured.slope)


def _on_cpu(function):
    def call(*args, **options):
        with torch.device("cpu"):
            return function(*args, **options)

    return call


@NEEDS_GPU
def test_pictures_are_those_of_gsplats_own_function():
    gaussians, cameras = thin_cloud(3, 200, 2), helpers_engines.cameras_in_a_row(2, 37, 50)
    ours = CUDARenderer(ALPHA).render(gaussians, cameras)
    here, matrices = gaussians.to(torch.device("cuda")), cameras.to(torch.device("cuda"))
    sums, alphas, _ = cuda_gsplat.load_kernels().rasterization(
        here.means,
        here.rotations,
        here.scales,
        here.opacities,
        (0.5 + harmonics.ZEROTH * here.harmonics[..., 0]).clamp_min(0.0),
        torch.linalg.inv(matrices.extrinsics).repeat(3, 1, 1, 1),
        matrices.intrinsics.repeat(3, 1, 1, 1),
        50,
        37,
        packed=False,
        render_mode="RGB+ED",
    )
    torch.testing.assert_close(ours.colors, sums[..., :3].cpu(), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.depths, sums[..., 3].cpu(), rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.alphas, alphas.squeeze(-1).cpu(), rtol=0, atol=1e-5)
