import pytest
import torch

from bayes_splat.errors import ConfigError
from bayes_splat.rendering import reference
from bayes_splat.rendering.renderer import CountingRenderer, ReferenceRenderer, make_renderer
from bayes_splat.rendering.settings import RenderSettings
from tests.helpers_rendering import random_cameras, random_gaussians

CAMERAS = random_cameras(0, 2, (4, 5))
PIXELS = torch.tensor([[0, 39, 7], [1, 1, 20]])


def test_unknown_renderer_is_refused_with_the_choice():
    with pytest.raises(ConfigError, match=r"renderer=cuda does not exist; .* reference"):
        make_renderer("cuda")


@pytest.mark.parametrize("cutoff", ["falloff", "alpha"])
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
