"""What stands between our conventions and gsplat's; pictures are tested in test_cuda.py."""

import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat import geometry
from bayes_splat.errors import ConfigError
from bayes_splat.rendering import cuda_gsplat, projection
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Gaussians
from tests import helpers_engines, helpers_gsplat

ALPHA = RenderSettings(cutoff="alpha")


def test_without_a_gpu_it_says_so_and_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"needs an NVIDIA GPU .* choose renderer=auto"):
        cuda_gsplat.load_kernels()


def test_without_kernels_it_says_so_and_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    backend = SimpleNamespace(_C=None)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    monkeypatch.setattr("gsplat.cuda._backend", backend, raising=False)
    with pytest.raises(ConfigError, match=r"neither a built gsplat nor .* choose renderer=auto"):
        cuda_gsplat.load_kernels()


def test_kernels_that_do_not_load_are_reported(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delattr("gsplat.cuda._backend", raising=False)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", None)  # makes its import fail
    with pytest.raises(ConfigError, match=r"do not load \(.*\); .* choose renderer=auto"):
        cuda_gsplat.load_kernels()


@pytest.mark.parametrize("name", ["threshold", "max_alpha", "min_transmittance"])
def test_numbers_compiled_into_gsplat_cannot_be_changed(name):
    changed = {name: 0.5}
    with pytest.raises(ConfigError, match=rf"RenderSettings\.{name} is 0\.5; .* only"):
        cuda_gsplat.require_supported(RenderSettings(cutoff="alpha", **changed))
    cuda_gsplat.require_supported(RenderSettings(cutoff="falloff", **changed))
    cuda_gsplat.require_supported(RenderSettings(cutoff="alpha", low_pass=0.1, near_plane=1.0))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_unsigned_bits_are_in_the_order_of_float32_keys(values):
    keys = torch.tensor(values, dtype=torch.float32)
    bits = cuda_gsplat.key_bits(keys[None, None]).numpy().view(np.uint32).ravel()
    expected = torch.sort(keys, stable=True).indices.numpy()
    np.testing.assert_array_equal(np.argsort(bits, kind="stable"), expected)


@given(st.lists(st.sampled_from([-1e300, -1.0, -0.0, 0.0, 1.0, 1.0 + 1e-12]), max_size=20))
def test_unsigned_bits_are_in_the_order_of_other_keys(values):
    keys = torch.tensor(values, dtype=torch.float64)
    bits = cuda_gsplat.key_bits(keys[None, None]).numpy().view(np.uint32).ravel()
    expected = torch.sort(keys, stable=True).indices.numpy()
    np.testing.assert_array_equal(np.argsort(bits, kind="stable"), expected)


def test_splats_are_those_of_our_projection(monkeypatch):
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: helpers_gsplat.KERNELS)
    gaussians, cameras = (
        helpers_engines.cloud(2, 50, 3),
        helpers_engines.cameras_in_a_row(3, 20, 30),
    )
    splats = cuda_gsplat.project(gaussians, cameras, ALPHA)
    ours = projection.project(gaussians, cameras, ALPHA)
    drawn = (splats.radii > 0).all(-1)
    assert drawn.sum() > 100
    xx, xy, yy = ours.covariances2d / ours.determinants2d
    for mine, theirs in (
        (torch.movedim(ours.means2d, 0, -1), splats.means2d),
        (ours.depths, splats.depths),
        (torch.stack([yy, -xy, xx], dim=-1), splats.conics),
    ):
        torch.testing.assert_close(theirs[drawn], mine[drawn], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("d_sh", [1, 4, 25])
def test_colors_are_those_of_our_projection(monkeypatch, d_sh):
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: helpers_gsplat.KERNELS)
    gaussians = helpers_engines.cloud(2, 20, 3, d_sh)
    cameras = helpers_engines.cameras_in_a_row(3, 20, 30)
    ours = projection.project(gaussians, cameras, ALPHA).colors
    found = cuda_gsplat.view_colors(gaussians, cameras)
    torch.testing.assert_close(found, torch.movedim(ours, 0, -1), rtol=0, atol=3e-6)
    linear = projection.project(gaussians, cameras, replace(ALPHA, least_color=-torch.inf)).colors
    found = cuda_gsplat.view_colors(gaussians, cameras, -torch.inf)
    torch.testing.assert_close(found, torch.movedim(linear, 0, -1), rtol=0, atol=3e-6)


def test_a_gaussian_in_the_camera_centre_has_a_direction(monkeypatch):
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: helpers_gsplat.KERNELS)
    gaussians, cameras = (
        helpers_engines.cloud(1, 3, 0, 4),
        helpers_engines.cameras_in_a_row(1, 4, 4),
    )
    gaussians.means[0, 1] = cameras.extrinsics[0, :3, 3]
    gaussians.means.requires_grad_()
    cuda_gsplat.view_colors(gaussians, cameras).sum().backward()
    assert gaussians.means.grad is not None
    assert gaussians.means.grad.isfinite().all()


@pytest.mark.parametrize("size", [0, 5, 31, 32, 40])
def test_few_gaussians_are_joined_by_transparent_ones(size):
    gaussians = helpers_engines.cloud(2, size, 0, 4)
    more = cuda_gsplat.padded(gaussians)
    assert len(more) == max(size, cuda_gsplat.FEWEST)
    assert not more.opacities[:, size:].any()
    for f in fields(Gaussians):
        values = getattr(more, f.name)
        assert torch.equal(values[:, :size], getattr(gaussians, f.name))
        assert values.isfinite().all()
    roots = geometry.covariance_roots(more.scales, more.rotations)[:, size:]
    assert (torch.linalg.det(roots) > 0.5).all()


def test_more_than_32_bit_indices_hold_is_refused(monkeypatch):
    monkeypatch.setattr(cuda_gsplat, "_INDEX_LIMIT", 4 * 2 * 3 * 50)
    monkeypatch.setattr(cuda_gsplat, "load_kernels", lambda: helpers_gsplat.KERNELS)
    gaussians, cameras = helpers_engines.cloud(2, 50, 3), helpers_engines.cameras_in_a_row(3, 4, 4)
    with pytest.raises(ValueError, match=r"2 chains of 3 views, 50 Gaussians .* fewer chains"):
        cuda_gsplat.render(gaussians, cameras, ALPHA)
