"""A prepared scene draws, differentiates and measures as the plain call does, to the bit."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Gaussians
from tests import helpers_engines

FIELDS = [f.name for f in fields(Gaussians)]


def scene(size=60, d_sh=1, seed=0, spread=0.06, shape=(37, 50)):
    gaussians = helpers_engines.cloud(2, size, seed, d_sh, spread)
    return gaussians, helpers_engines.cameras_in_a_row(2, *shape)


def repainted(gaussians, seed=1):
    generator = torch.Generator().manual_seed(seed)
    opacities = torch.rand(gaussians.opacities.shape, generator=generator)
    opacities[:, ::9] = 0.0
    harmonics = torch.randn(gaussians.harmonics.shape, generator=generator)
    return replace(gaussians, opacities=opacities, harmonics=harmonics)


def picture_and_paint_gradients(draw, painted):
    leaves = [t.clone().requires_grad_() for t in (painted.opacities, painted.harmonics)]
    rendering = draw(*leaves)
    weights = helpers_engines.random_weights(rendering, 3)
    total = sum((r * w).sum() for r, w in zip(rendering, weights, strict=True))
    return [*rendering, *torch.autograd.grad(total, leaves)]


@example_settings(max_examples=10)
@given(
    size=st.integers(0, 150),
    d_sh=st.sampled_from([1, 4]),
    spread=st.sampled_from([0.01, 0.06, 0.3]),
    height=st.integers(1, 45),
    width=st.integers(1, 70),
    keyed=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
def test_same_bits_as_the_plain_call(size, d_sh, spread, height, width, keyed, threads, seed):
    gaussians, cameras = scene(size, d_sh, seed, spread, (height, width))
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(2, 2, size, generator=generator) if keyed else None
    prepared = CPURenderer(num_threads=threads).prepare(gaussians, cameras, sort_depths=keys)
    for turn in range(2):
        painted = repainted(gaussians, turn)

        def plain(opacities, harmonics, painted=painted):
            world = replace(painted, opacities=opacities, harmonics=harmonics)
            return CPURenderer(num_threads=1).render(world, cameras, sort_depths=keys)

        mine = picture_and_paint_gradients(prepared.render, painted)
        expected = picture_and_paint_gradients(plain, painted)
        assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))


def test_a_later_picture_leaves_an_earlier_gradient_alone():
    gaussians, cameras = scene()
    prepared = CPURenderer().prepare(gaussians, cameras)
    first, second = repainted(gaussians, 1), repainted(gaussians, 2)
    leaf = first.opacities.clone().requires_grad_()
    early = prepared.render(leaf, first.harmonics).colors.sum()
    prepared.render(second.opacities, second.harmonics)
    (gradient,) = torch.autograd.grad(early, leaf)
    (expected,) = torch.autograd.grad(prepared.render(leaf, first.harmonics).colors.sum(), leaf)
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("means", [False, True])
def test_statistics_are_the_same_bits(means):
    gaussians, cameras = scene()
    painted = repainted(gaussians)
    generator = torch.Generator().manual_seed(0)
    residuals = torch.randn(2, 2, 37, 50, 3, generator=generator)
    weights = torch.rand(2, 2, 37, 50, generator=generator)
    renderer = CPURenderer()
    expected = renderer.opacity_statistics(painted, cameras, residuals, weights, means=means)
    prepared = renderer.prepare(gaussians, cameras)
    found = prepared.opacity_statistics(
        painted.opacities, painted.harmonics, residuals, weights, means=means
    )
    assert torch.equal(found.curvature, expected.curvature)
    assert torch.equal(found.slope, expected.slope)
    if means:
        assert torch.equal(found.means, expected.means)
    else:
        assert found.means is None
        assert expected.means is None


def test_the_alpha_cutoff_cannot_be_prepared():
    with pytest.raises(ValueError, match=r"prepare.. needs cutoff='falloff'.*depend on"):
        CPURenderer(RenderSettings(cutoff="alpha")).prepare(*scene())


@pytest.mark.parametrize("name", ["means", "scales", "rotations", "extrinsics"])
def test_gradients_of_the_geometry_are_refused_and_not_forgotten(name):
    gaussians, cameras = scene()
    getattr(cameras if name == "extrinsics" else gaussians, name).requires_grad_()
    with pytest.raises(ValueError, match="detach"):
        CPURenderer().prepare(gaussians, cameras)
    with torch.no_grad():
        CPURenderer().prepare(gaussians, cameras)


def test_what_is_not_finite_is_named():
    gaussians, cameras = scene()
    prepared = CPURenderer().prepare(gaussians, cameras)
    broken = gaussians.opacities.clone()
    broken[1, 7] = torch.nan
    with pytest.raises(ValueError, match=r"Gaussians.opacities\[1, 7\] is nan"):
        prepared.render(broken, gaussians.harmonics)
    gaussians.means[0, 3, 1] = torch.inf
    with pytest.raises(ValueError, match=r"Gaussians.means\[0, 3, 1\] is inf"):
        CPURenderer().prepare(gaussians, cameras)


def test_harmonics_of_another_degree_are_refused():
    gaussians, cameras = scene()
    prepared = CPURenderer().prepare(gaussians, cameras)
    with pytest.raises(ValueError, match="4 coefficients; the scene was prepared with 1"):
        prepared.render(gaussians.opacities, torch.zeros(2, 60, 3, 4))
