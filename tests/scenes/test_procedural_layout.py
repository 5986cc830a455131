"""Still lifes leave the cameras free, and hold as much of everything as asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_splat.scenes.procedural_layout import CLEARANCE, draw_scene

ORIGINS = np.array([[-0.1, 0.0, 0.0], [0.1, 0.05, -0.02]])


def scene(seed=0, origins=ORIGINS, **changes):
    arguments = {
        "num_objects": (3, 9),
        "num_thin": (0, 4),
        "textureless_share": 0.15,
        "specular_share": 0.25,
    } | changes
    return draw_scene(np.random.default_rng(seed), origins, 0.5, **arguments)


@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_objects_keep_their_distance_from_every_camera(seed, spread):
    origins = np.array([[-spread / 2, 0, 0], [spread / 2, 0, 0.1], [0, 0, 0.2]])
    drawn = scene(seed, origins)
    for thing in drawn.objects:
        assert min(thing.surface.clearance(origin) for origin in origins) >= CLEARANCE
        assert (thing.surface.half_size > 0).all()


@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_every_ray_from_every_camera_ends_at_the_enclosure(seed, spread):
    origins = np.array([[-spread / 2, 0, 0], [spread / 2, 0, 0.1]])
    rays = np.random.default_rng(seed).normal(size=(3, 200))
    walls = [thing.surface for thing in scene(seed, origins).enclosure]
    for origin in origins:
        nearest = np.min([wall.meet(origin[:, None], rays) for wall in walls], axis=0)
        reach = nearest * np.linalg.norm(rays, axis=0)
        assert (reach > 0.2).all()
        assert (reach < 20).all()


def test_counts_and_kinds():
    drawn = [scene(seed, num_objects=(2, 4), num_thin=(1, 2)) for seed in range(60)]
    counts = {len(each.objects) for each in drawn}
    assert counts == {3, 4, 5, 6}
    kinds = {thing.surface.kind for each in drawn for thing in (*each.objects, *each.enclosure)}
    assert kinds == {"card", "disc", "box", "ellipsoid", "cylinder", "wall", "dome"}
    thin = scene(num_objects=(0, 0), num_thin=(8, 8))
    slender = [np.sort(thing.surface.half_size) for thing in thin.objects]
    assert all(size[0] < 0.035 * 0.5 * 2 and size[2] > 10 * size[0] for size in slender)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_of_surfaces_without_texture_and_with_highlights(share):
    things = [
        thing
        for seed in range(60)
        for drawn in [scene(seed, textureless_share=share, specular_share=share)]
        for thing in (*drawn.objects, *drawn.enclosure)
    ]
    tolerance = 4 * (share * (1 - share) / len(things)) ** 0.5
    plain = np.mean([thing.texture.kind in ("plain", "gradient") for thing in things])
    shiny = np.mean([thing.specular > 0 for thing in things])
    assert plain == pytest.approx(share, abs=tolerance)
    assert shiny == pytest.approx(share, abs=tolerance)


def test_the_light_is_a_unit_vector_and_the_rest_is_ambient():
    for seed in range(20):
        drawn = scene(seed)
        assert np.linalg.norm(drawn.to_light) == pytest.approx(1)
        assert 0.35 <= drawn.ambient <= 0.65
