"""Rays meet surfaces where a search along them does, and normals are normal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.scenes.procedural_surfaces import Surface
from bayes_splat.scenes.procedural_textures import random_rotation

SOLIDS = ("box", "ellipsoid", "cylinder")
SHEETS = ("card", "disc", "wall")
KINDS = (*SOLIDS, *SHEETS, "dome")


def surface_and_rays(kind, seed, count=400):
    generator = np.random.default_rng(seed)
    half_size = np.exp(generator.uniform(-1.5, 0.5, 3))
    surface = Surface(kind, generator.normal(size=3), random_rotation(generator), half_size)
    if kind == "dome":
        origin = surface.center[:, None] + 0.1 * half_size.min()
    else:
        origin = surface.center[:, None] + 5 * random_rotation(generator)[:, :1]
    aim = surface.center[:, None] + 1.2 * (
        surface.axes @ (half_size * generator.normal(size=(count, 3))).T
    )
    return surface, origin, aim - origin


def is_inside(surface, points):
    """Own formula for solids: world points [3 step ray]."""
    offsets = points - surface.center[:, None, None]
    x, y, z = np.einsum("ba,bsr->asr", surface.axes, offsets) / surface.half_size[:, None, None]
    if surface.kind == "box":
        return (abs(x) <= 1) & (abs(y) <= 1) & (abs(z) <= 1)
    if surface.kind == "cylinder":
        return (x**2 + y**2 <= 1) & (abs(z) <= 1)
    return x**2 + y**2 + z**2 <= 1


@pytest.mark.parametrize("kind", SOLIDS)
def test_solids_are_met_where_rays_first_get_inside(kind):
    surface, origin, rays = surface_and_rays(kind, 0)
    steps = np.linspace(0, 3, 6001)
    inside = is_inside(surface, origin[:, None] + steps[:, None] * rays[:, None])
    found = np.where(inside.any(0), steps[inside.argmax(0)], np.inf)
    met = surface.meet(origin, rays)
    both = np.isfinite(met) & np.isfinite(found)
    assert both.mean() > 0.2
    assert (np.isfinite(met) == np.isfinite(found)).mean() > 0.98  # a step may miss a corner
    assert np.abs(met[both] - found[both]).max() <= 5.1e-4  # a step


@pytest.mark.parametrize("kind", SHEETS)
def test_sheets_are_met_in_their_plane_and_bounds(kind):
    surface, origin, rays = surface_and_rays(kind, 1)
    met = surface.meet(origin, rays)
    normal = surface.axes[:, 2]
    crossing = (normal @ (surface.center[:, None] - origin)) / (normal @ rays)
    points = origin + crossing * rays
    own = surface.axes.T @ (points - surface.center[:, None])
    x, y = own[:2] / surface.half_size[:2, None]
    bound = {"card": np.maximum(abs(x), abs(y)), "disc": np.hypot(x, y), "wall": 0 * x}[kind]
    expected = np.where((bound <= 1) & (crossing > 0), crossing, np.inf)
    np.testing.assert_allclose(met, expected, rtol=1e-9)
    assert np.isfinite(met).mean() > 0.2


def test_a_dome_is_met_once_from_inside_by_every_ray():
    surface, origin, rays = surface_and_rays("dome", 2)
    points = origin + surface.meet(origin, rays) * rays
    own = surface.own_points(points) / surface.half_size[:, None]
    np.testing.assert_allclose((own**2).sum(0), 1, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_normals_are_across_the_surface(kind):
    surface, origin, rays = surface_and_rays(kind, 3)
    met = surface.meet(origin, rays)
    hit = np.isfinite(met)
    origin, rays, met = origin, rays[:, hit], met[hit]
    own = surface.own_points(origin + met * rays)
    normals = surface.normals(own)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, rtol=1e-9)
    generator = np.random.default_rng(4)
    for _ in range(3):
        nearby = rays + 1e-5 * generator.normal(size=(3, 1))
        other = surface.meet(origin, nearby)
        across = origin + other * nearby - (origin + met * rays)
        slope = abs((normals * across).sum(0)) / np.linalg.norm(across, axis=0)
        assert np.median(slope) < 1e-3
        assert (slope < 0.05).mean() > 0.9  # not so across an edge, or where a ray grazes
    if kind in SOLIDS:  # seen from outside, all normals come towards the viewer
        assert ((normals * rays).sum(0) < 1e-9).all()


@given(st.sampled_from(KINDS), st.integers(0, 10**6))
def test_single_precision_meets_the_same_points(kind, seed):
    surface, origin, rays = surface_and_rays(kind, seed, count=50)
    exact = surface.meet(origin, rays)
    rough = surface.meet(origin.astype(np.float32), rays.astype(np.float32))
    assert rough.dtype == np.float32
    assert not np.isnan(exact).any()
    assert not np.isnan(rough).any()
    both = np.isfinite(exact) & np.isfinite(rough)
    close = np.abs(rough[both] / exact[both] - 1) < 1e-3
    assert (~close).sum() <= 3  # grazing rays
    assert (np.isfinite(exact) != np.isfinite(rough)).sum() <= 3


@given(st.sampled_from((*SOLIDS, "card", "disc")), st.integers(0, 10**6))
def test_no_point_is_nearer_than_the_clearance(kind, seed):
    surface, origin, rays = surface_and_rays(kind, seed, count=50)
    met = surface.meet(origin, rays)
    hit = np.isfinite(met)
    distances = met[hit] * np.linalg.norm(rays[:, hit], axis=0)
    flat = kind in ("card", "disc")  # their unit cube is thick: the bound is lower than need be
    assert (distances >= surface.clearance(origin[:, 0]) - 1e-9).all()
    if not flat and kind == "box":
        corner = surface.center + surface.axes @ (3 * surface.half_size)
        expected = np.linalg.norm(2 * surface.half_size)
        assert surface.clearance(corner) == pytest.approx(expected)
