"""The choice of a renderer, and what holds for its numbers: digits, threads, other chains."""

from dataclasses import fields, replace

import pytest
import torch

from bayes_splat.errors import ConfigError
from bayes_splat.rendering import cuda_gsplat, reference
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.cuda import CUDARenderer
from bayes_splat.rendering.renderer import CountingRenderer, ReferenceRenderer, make_renderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from bayes_splat.types import Gaussians
from tests.helpers_dense import (
    one_gaussian,
    pixel_aligned_scene,
    random_cameras,
    random_gaussians,
    straight_camera,
)

RENDERERS = {c: make_renderer("reference", RenderSettings(cutoff=c)) for c in CUTOFFS}
FIELDS = [field.name for field in fields(Gaussians)]
CAMERAS = random_cameras(0, 2, (4, 5))
PIXELS = torch.tensor([[0, 39, 7], [1, 1, 20]])


def test_unknown_renderer_is_refused_with_the_choice():
    with pytest.raises(ConfigError, match=r"renderer=vulkan does not exist; .* reference"):
        make_renderer("vulkan")


def test_cuda_without_a_gpu_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"renderer=cuda needs an NVIDIA GPU.* renderer=auto"):
        make_renderer("cuda")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_auto_takes_the_gpu_only_for_the_cutoff_that_gsplat_has(monkeypatch, gpu, kernels, cutoff):
    def load():
        if not (gpu and kernels):
            raise ConfigError("no kernels")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(cuda_gsplat, "load_kernels", load)
    settings = RenderSettings(cutoff=cutoff)
    chosen = CUDARenderer if gpu and kernels and cutoff == "alpha" else CPURenderer
    assert make_renderer("auto", settings) == chosen(settings)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_reference_renderer_passes_everything_on(cutoff):
    settings = RenderSettings(cutoff=cutoff, low_pass=0.1)
    gaussians = random_gaussians(0, 9, 2)
    keys = torch.rand(2, 2, 9, generator=torch.Generator().manual_seed(0)).double()
    renderer = make_renderer("reference", settings)
    ours = renderer.render(gaussians, CAMERAS, sort_depths=keys, pixels=PIXELS)
    expected = reference.render(gaussians, CAMERAS, settings, sort_depths=keys, pixels=PIXELS)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_the_default_is_the_picture_that_is_affine_in_each_opacity():
    assert make_renderer("reference") == ReferenceRenderer(RenderSettings(cutoff="falloff"))


def test_renders_are_counted_by_their_share_of_a_picture():
    renderer = CountingRenderer(ReferenceRenderer())
    gaussians = random_gaussians(0, 9, 2)
    renderer.render(gaussians, CAMERAS)
    assert (renderer.count.forward, renderer.count.differentiable) == (4.0, 0.0)
    renderer.render(gaussians, CAMERAS, pixels=PIXELS)
    assert renderer.count.forward == pytest.approx(4 + 6 / 20)
    gaussians.means.requires_grad_()
    renderer.render(gaussians, CAMERAS[[0]])
    with torch.no_grad():
        renderer.render(gaussians, CAMERAS)
    assert renderer.count.forward == pytest.approx(4 + 6 / 20 + 2 + 4)
    assert renderer.count.differentiable == 2.0


def test_counting_changes_no_picture():
    gaussians = random_gaussians(1, 9, 2)
    counted = CountingRenderer(ReferenceRenderer()).render(gaussians, CAMERAS, pixels=PIXELS)
    plain = ReferenceRenderer().render(gaussians, CAMERAS, pixels=PIXELS)
    assert all(torch.equal(a, b) for a, b in zip(counted, plain, strict=True))


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_single_precision_is_good_to_five_digits(cutoff):
    exact = RENDERERS[cutoff].render(*pixel_aligned_scene(2, (12, 16), torch.float64))
    single = RENDERERS[cutoff].render(*pixel_aligned_scene(2, (12, 16)))
    for ours, expected in zip(single, exact, strict=True):
        error = (ours.double() - expected).abs()
        # A pair right at a threshold may fall on either side; it is worth 1/255 at most.
        assert (error > 2e-5).double().mean() < 0.005
        assert error.max() < 0.05


@pytest.mark.parametrize("length", [1.0, 30.0, 1e3, 1e5])
def test_needles_do_not_lose_their_shape_in_single_precision(length):
    needle, camera = one_gaussian((length, 1e-6, 1e-6)), straight_camera((20, 20))
    exact = RENDERERS["falloff"].render(needle, camera)
    single = RENDERERS["falloff"].render(needle.to(torch.float32), camera.to(torch.float32))
    assert (exact.alphas > 0.5).sum() > 5
    torch.testing.assert_close(single.colors.double(), exact.colors, rtol=0, atol=2e-5)


def picture_and_gradients(renderer, gaussians, cameras):
    leaves = {name: getattr(gaussians, name).clone().requires_grad_() for name in FIELDS}
    picture = renderer.render(Gaussians(**leaves), cameras)
    energy = torch.stack([v.square().sum((-2, -1)).sum() for v in picture]).sum()
    return [*picture, *torch.autograd.grad(energy, list(leaves.values()))]


@pytest.fixture
def any_number_of_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("any_number_of_threads")
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_same_bits_again_and_with_any_number_of_threads(cutoff):
    scene = pixel_aligned_scene(2, (24, 32), degree=1)
    results = []
    for num_threads in (1, 1, 2, 3):
        torch.set_num_threads(num_threads)
        results.append(picture_and_gradients(RENDERERS[cutoff], *scene))
    listed = reference.footprints(*scene, RenderSettings(cutoff=cutoff)).pairs.splat
    assert len(listed) > 2 * 32768, "torch splits no shorter list among threads"
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_bits_of_a_chain_do_not_depend_on_other_chains(cutoff):
    gaussians, cameras = pixel_aligned_scene(3, (12, 16), degree=3)
    # The others are so large that their lists are much longer.
    scales = gaussians.scales * torch.tensor([4.0, 1.0, 3.0])[:, None, None]
    gaussians = replace(gaussians, scales=scales)
    alone = Gaussians(**{name: getattr(gaussians, name)[[1]] for name in FIELDS})
    by_itself = picture_and_gradients(RENDERERS[cutoff], alone, cameras)
    together = picture_and_gradients(RENDERERS[cutoff], gaussians, cameras)
    assert all(torch.equal(a[0], b[1]) for a, b in zip(by_itself, together, strict=True))


def test_counting_tells_the_settings_of_what_it_counts():
    settings = RenderSettings(threshold=0.01)
    assert CountingRenderer(ReferenceRenderer(settings)).settings is settings
    assert CountingRenderer(object()).settings is None
