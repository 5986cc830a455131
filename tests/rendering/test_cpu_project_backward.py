"""Gradients of views are added up, and those of cameras; the others are tested in test_cpu.py."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from bayes_splat.rendering.cpu import CPURenderer
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import CUTOFFS, RenderSettings
from tests import helpers_engines


def test_gradients_of_views_add_up():
    gaussians = helpers_engines.cloud(1, 70, 0)
    cameras = helpers_engines.cameras_in_a_row(3, 20, 25)

    def gradient(chosen):
        means = gaussians.means.clone().requires_grad_()
        scene = replace(gaussians, means=means)
        total = CPURenderer().render(scene, cameras[chosen]).colors.sum()
        return torch.autograd.grad(total, means)[0]

    together = gradient([0, 1, 2])
    apart = gradient([0]) + gradient([1]) + gradient([2])
    assert torch.allclose(together, apart, rtol=1e-4, atol=1e-4)


def pose_gradient(renderer, gaussians, cameras, keys, clear, seed):
    """Of a weighted sum over the pixels in which no cutoff is in doubt."""
    extrinsics = cameras.extrinsics.clone().requires_grad_()
    picture = renderer.render(gaussians, replace(cameras, extrinsics=extrinsics), sort_depths=keys)
    weights = helpers_engines.random_weights(picture, seed)
    total = sum(
        (p.double() * w.double() * (clear[..., None] if p.ndim > clear.ndim else clear)).sum()
        for p, w in zip(picture, weights, strict=True)
    )
    return torch.autograd.grad(total, extrinsics)[0].double()


@example_settings(max_examples=10)
@given(
    cutoff=st.sampled_from(CUTOFFS),
    chains=st.integers(1, 2),
    views=st.integers(1, 3),
    d_sh=st.sampled_from([1, 4]),
    size=st.integers(1, 150),
    seed=st.integers(0, 2**20),
)
def test_gradients_of_poses_are_those_of_the_reference(cutoff, chains, views, d_sh, size, seed):
    gaussians = helpers_engines.cloud(chains, size, seed, d_sh)
    cameras = helpers_engines.cameras_in_a_row(views, 30, 40)
    keys = helpers_engines.centre_depths(gaussians, cameras)
    exact = gaussians.to(torch.float64), cameras.to(torch.float64)
    settings = RenderSettings(cutoff=cutoff)
    clear = ~helpers_engines.doubtful_pixels(*exact, settings, keys)
    mine = pose_gradient(CPURenderer(settings), gaussians, cameras, keys, clear, seed)
    theirs = pose_gradient(ReferenceRenderer(settings), *exact, keys, clear, seed)
    assert (mine - theirs)[:, :3].norm() <= 5e-5 * theirs.norm() + 1e-6
    assert not mine[:, 3].any()


def test_gradients_of_poses_are_the_same_bits_for_any_number_of_threads():
    gaussians = helpers_engines.cloud(2, 5000, 0, spread=0.04)
    cameras = helpers_engines.cameras_in_a_row(2, 75, 100)
    clear = torch.ones(2, 2, 75, 100)
    first, *others = (
        pose_gradient(CPURenderer(num_threads=n), gaussians, cameras, None, clear, 0)
        for n in (1, 2, 3, 1)
    )
    assert all(torch.equal(first, other) for other in others)


def test_gradients_that_nobody_asked_for_change_no_other():
    gaussians = helpers_engines.cloud(1, 70, 0)
    cameras = helpers_engines.cameras_in_a_row(2, 20, 25)
    names = ("means", "scales", "rotations", "opacities", "harmonics")

    def gradients(chosen):
        leaves = {n: getattr(gaussians, n).clone().requires_grad_() for n in chosen}
        total = CPURenderer().render(replace(gaussians, **leaves), cameras).colors.square().sum()
        return dict(zip(chosen, torch.autograd.grad(total, list(leaves.values())), strict=True))

    everything = gradients(names)
    for chosen in (("means", "scales"), ("opacities",), ("harmonics", "opacities"), ("rotations",)):
        for name, gradient in gradients(chosen).items():
            assert torch.equal(gradient, everything[name]), (name, chosen)


def test_intrinsics_have_no_gradient():
    cameras = helpers_engines.cameras_in_a_row(1, 9, 9)
    cameras.intrinsics.requires_grad_()
    with pytest.raises(ValueError, match="intrinsics requires a gradient"):
        CPURenderer().render(helpers_engines.cloud(1, 5, 0), cameras)
