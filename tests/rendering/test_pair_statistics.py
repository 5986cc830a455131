"""Statistics of pairs are sums over the Jacobian of the float64 reference."""

from dataclasses import replace

import pytest
import torch

from bayes_splat.rendering import pair_statistics
from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from tests import helpers_engines


def opaque_cloud(chains, size, seed):
    """With clamped alphas, pixels that stop early, and one opacity of zero."""
    gaussians = helpers_engines.cloud(chains, size, seed, spread=0.15)
    gaussians = replace(gaussians, opacities=0.6 + 0.4 * gaussians.opacities)
    gaussians.opacities[:, ::5] = 1.0
    gaussians.opacities[:, 3] = 0.0
    return gaussians


def scene(make=opaque_cloud, size=40):
    gaussians, cameras = make(2, size, 1), helpers_engines.cameras_in_a_row(2, 17, 23)
    generator = torch.Generator().manual_seed(0)
    residuals = torch.randn(2, 2, 17, 23, 3, generator=generator).double()
    weights = torch.rand(2, 2, 17, 23, generator=generator).double()
    return gaussians.to(torch.float64), cameras.to(torch.float64), residuals, weights


def jacobian(renderer, gaussians, cameras):
    """Derivative of the picture in every opacity: [gaussian, chain, view, height, width, 3]."""

    def colors(opacities):
        return renderer.render(replace(gaussians, opacities=opacities), cameras).colors

    columns = []
    for i in range(len(gaussians)):
        direction = torch.zeros_like(gaussians.opacities)
        direction[:, i] = 1.0
        columns.append(torch.autograd.functional.jvp(colors, gaussians.opacities, direction)[1])
    return torch.stack(columns)


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_curvature_and_slope_are_those_of_the_jacobian(cutoff):
    gaussians, cameras, residuals, weights = scene()
    settings = RenderSettings(cutoff=cutoff)
    renderer = ReferenceRenderer(settings)
    assert (renderer.render(gaussians, cameras).alphas > 0.999).any(), "some pixels should stop"
    found = pair_statistics.measure(gaussians, cameras, settings, residuals, weights)
    columns = jacobian(renderer, gaussians, cameras)
    weight = weights[..., None]
    curvature = (columns**2 * weight).flatten(2).sum(-1).T
    slope = (columns * residuals * weight).flatten(2).sum(-1).T
    assert curvature[:, 3].all() == (cutoff == "falloff"), "the opacity of zero"
    torch.testing.assert_close(found.curvature, curvature, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.slope, slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("with_keys", [False, True])
def test_they_are_those_of_the_compiled_engine(cutoff, with_keys):
    gaussians, cameras, residuals, weights = scene(helpers_engines.cloud, 60)
    settings = RenderSettings(cutoff=cutoff)
    keys = torch.rand(2, 2, 60, generator=torch.Generator().manual_seed(3))
    options = {"sort_depths": keys} if with_keys else {}
    found = pair_statistics.measure(gaussians, cameras, settings, residuals, weights, **options)
    compiled = CPURenderer(settings).opacity_statistics(
        gaussians, cameras, residuals, weights, means=True, **options
    )
    for mine, theirs in zip(found, compiled, strict=True):
        assert mine is not None
        assert theirs is not None
        assert (mine - theirs).norm() < 2e-5 * mine.norm()


@pytest.mark.parametrize(("chains", "size"), [(0, 4), (2, 0)])
def test_nothing_to_measure(chains, size):
    gaussians, cameras = (
        helpers_engines.cloud(chains, size, 0),
        helpers_engines.cameras_in_a_row(2, 4, 5),
    )
    residuals, weights = torch.ones(chains, 2, 4, 5, 3), torch.ones(chains, 2, 4, 5)
    found = pair_statistics.measure(gaussians, cameras, RenderSettings(), residuals, weights)
    assert [t.shape for t in found] == [(chains, size), (chains, size), (chains, size, 3)]


def test_numbers_that_are_not_finite_are_refused():
    gaussians, cameras, residuals, weights = scene()
    gaussians.means[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match=r"Gaussians\.means\[1, 2, 0\] is nan"):
        pair_statistics.measure(gaussians, cameras, RenderSettings(), residuals, weights)
