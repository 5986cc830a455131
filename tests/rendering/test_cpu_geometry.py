"""Rotations, their gradients, logarithms; test_cpu_project.py has the rest of the projection."""

import numpy as np
import torch

from bayes_splat import geometry
from bayes_splat.rendering import cpu_geometry
from bayes_splat.rendering import cpu_lanes as lanes
from bayes_splat.rendering.cpu_compile import inner


@inner
def _rotate(q, gradient, out, out_gradient):
    w, x, y, z = lanes.load(q, 0), lanes.load(q, 16), lanes.load(q, 32), lanes.load(q, 48)
    r0, r1, r2, scale = cpu_geometry.rotation_matrix(w, x, y, z)
    for i in range(3):
        lanes.store(out, 16 * i, r0[i])
        lanes.store(out, 48 + 16 * i, r1[i])
        lanes.store(out, 96 + 16 * i, r2[i])
    g = (
        (lanes.load(gradient, 0), lanes.load(gradient, 16), lanes.load(gradient, 32)),
        (lanes.load(gradient, 48), lanes.load(gradient, 64), lanes.load(gradient, 80)),
        (lanes.load(gradient, 96), lanes.load(gradient, 112), lanes.load(gradient, 128)),
    )
    gw, gx, gy, gz = cpu_geometry.rotation_matrix_backward(w, x, y, z, scale, g[0], g[1], g[2])
    lanes.store(out_gradient, 0, gw)
    lanes.store(out_gradient, 16, gx)
    lanes.store(out_gradient, 32, gy)
    lanes.store(out_gradient, 48, gz)


def test_rotations_of_quaternions_of_any_length():
    generator = torch.Generator().manual_seed(0)
    quaternions = torch.randn(16, 4, generator=generator) * 10.0 ** torch.arange(-8, 8)[:, None]
    quaternions[3] = 0.0
    gradient = torch.randn(16, 9, generator=generator)
    exact = quaternions.double().requires_grad_()
    matrices = geometry.rotation_matrices(exact)
    (expected,) = torch.autograd.grad(matrices.flatten(1), exact, gradient.double())
    out, out_gradient = np.empty(144, np.float32), np.empty(64, np.float32)
    _rotate(quaternions.T.reshape(-1).numpy(), gradient.T.reshape(-1).numpy(), out, out_gradient)
    np.testing.assert_allclose(out.reshape(9, 16).T, matrices.detach().flatten(1), atol=1e-6)
    scale = expected.norm(dim=1, keepdim=True).clamp_min(1e-12)
    np.testing.assert_allclose(out_gradient.reshape(4, 16).T / scale, expected / scale, atol=2e-5)


@inner
def _log2(a, out):
    for i in range(0, len(a), 16):
        lanes.store(out, i, cpu_geometry.log2(lanes.load(a, i)))


def test_binary_logarithm():
    powers = np.random.default_rng(0).uniform(-100, 20, size=4096)
    a = np.concatenate([2.0**powers, np.linspace(0.25, 4.0, 4096)]).astype(np.float32)
    out = np.empty_like(a)
    _log2(a, out)
    exact = np.log2(a.astype(np.float64))
    assert (np.abs(out - exact) / np.maximum(np.abs(exact), 1.0)).max() < 2e-7
