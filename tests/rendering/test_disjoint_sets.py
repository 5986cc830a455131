"""Pictures of disjoint sets give what the dense Jacobian gives, with any renderer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.rendering import disjoint_sets, pair_statistics
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.disjoint_sets import Touches
from bayes_splat.rendering.renderer import CountingRenderer, ReferenceRenderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from tests import helpers_engines
from tests.rendering.test_pair_statistics import jacobian, scene


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_statistics_are_those_of_the_jacobian(cutoff):
    gaussians, cameras, residuals, weights = scene(helpers_engines.cloud, 40)
    settings = RenderSettings(cutoff=cutoff)
    renderer = ReferenceRenderer(settings)
    arguments = renderer, settings, gaussians, cameras, residuals, weights
    found = disjoint_sets.opacity_statistics(*arguments)
    columns = jacobian(renderer, gaussians, cameras)
    weight = weights[..., None]
    curvature = (columns**2 * weight).flatten(2).sum(-1).T
    slope = (columns * residuals * weight).flatten(2).sum(-1).T
    torch.testing.assert_close(found.curvature, curvature, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.slope, slope, rtol=1e-10, atol=1e-10)
    means = pair_statistics.measure(gaussians, cameras, settings, residuals, weights).means
    torch.testing.assert_close(found.means, means, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_statistics_are_those_of_the_compiled_engine(cutoff):
    gaussians, cameras, residuals, weights = scene(helpers_engines.cloud, 60)
    gaussians, cameras = gaussians.to(torch.float32), cameras.to(torch.float32)
    settings = RenderSettings(cutoff=cutoff)
    renderer = CPURenderer(settings)
    arguments = gaussians, cameras, residuals.float(), weights.float()
    keys = torch.rand(2, 2, 60, generator=torch.Generator().manual_seed(3))
    found = disjoint_sets.opacity_statistics(renderer, settings, *arguments, sort_depths=keys)
    direct = renderer.opacity_statistics(*arguments, sort_depths=keys, means=True)
    for mine, theirs in zip(found, direct, strict=True):
        assert mine is not None
        assert theirs is not None
        assert (mine - theirs).norm() < 2e-5 * theirs.norm()


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_opaque_scenes_are_exact_but_for_curvature_of_pixels_that_stop(cutoff):
    gaussians, cameras, residuals, weights = scene()
    settings = RenderSettings(cutoff=cutoff)
    arguments = settings, gaussians, cameras, residuals, weights
    exact = pair_statistics.measure(gaussians, cameras, settings, residuals, weights)
    found = disjoint_sets.opacity_statistics(ReferenceRenderer(settings), *arguments)
    torch.testing.assert_close(found.slope, exact.slope, rtol=1e-10, atol=1e-10)
    clamped = gaussians.opacities > settings.max_alpha  # not affine where the clamp acts
    wrong = (found.curvature - exact.curvature).where(~clamped, 0.0).norm()
    bound = 1e-12 if cutoff == "falloff" else 0.02
    assert wrong <= bound * exact.curvature.norm()


def test_renders_once_and_once_a_set():
    gaussians, cameras, residuals, weights = scene(helpers_engines.cloud, 30)
    settings = RenderSettings()
    renderer = CountingRenderer(ReferenceRenderer(settings))
    disjoint_sets.opacity_statistics(renderer, settings, gaussians, cameras, residuals, weights)
    pictures = renderer.count.forward / 4  # two chains, two views
    assert renderer.count.differentiable == 4
    assert 3 < pictures < 31, "fewer sets than Gaussians"


def touches_of(rows):
    return Touches(
        torch.tensor([g for g, pixels in enumerate(rows) for _ in pixels], dtype=torch.int64),
        torch.tensor([p for pixels in rows for p in pixels], dtype=torch.int64),
    )


@given(st.lists(st.sets(st.integers(0, 30), max_size=6), max_size=25))
def test_sets_share_no_pixel_and_are_maximal_in_turn(rows):
    sets = disjoint_sets.color_sets(touches_of(rows), len(rows), 31).tolist()
    for gaussian, (pixels, mine) in enumerate(zip(rows, sets, strict=True)):
        assert (mine == -1) == (not pixels)
        neighbours = {
            theirs
            for other, (touched, theirs) in enumerate(zip(rows, sets, strict=True))
            if other != gaussian and pixels & touched
        }
        assert not pixels or mine not in neighbours
        assert set(range(mine)) <= neighbours, "it fitted into no earlier set"


def test_the_order_of_the_pairs_does_not_matter():
    rows = [set(range(i, i + 4)) for i in range(40)]
    touches = touches_of(rows)
    order = torch.randperm(len(touches.pixel), generator=torch.Generator().manual_seed(0))
    shuffled = Touches(touches.gaussian[order], touches.pixel[order])
    first = disjoint_sets.color_sets(touches, 40, 50)
    assert torch.equal(first, disjoint_sets.color_sets(shuffled, 40, 50))
    assert int(first.max()) + 1 <= 7, "an interval of four meets six others"
