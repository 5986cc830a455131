"""Depths and colours against what is computed by hand for a wall, a ball and a card."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bayes_splat.scenes.procedural_cameras import Rig
from bayes_splat.scenes.procedural_layout import Painted, Scene
from bayes_splat.scenes.procedural_pictures import color_maps, depth_maps
from bayes_splat.scenes.procedural_surfaces import Surface
from bayes_splat.scenes.procedural_textures import draw_texture

CAMERAS = Rig(np.eye(4)[None], 0.5, (0.5, 0.5)).cameras((33, 33))
TO_LIGHT = np.array([0.6, 0.0, -0.8])
GREY = np.array([[0.5, 0.4, 0.3], [0.1, 0.1, 0.1]])


def painted(surface, specular=0.0):
    texture = draw_texture(np.random.default_rng(0), 1.0, GREY, "plain")
    return Painted(surface, texture, specular, 20.0)


WALL = painted(Surface("wall", np.array([0.0, 0, 3]), np.eye(3), np.ones(3)))
BALL = painted(Surface("ellipsoid", np.array([0.0, 0, 2]), np.eye(3), np.full(3, 0.5)))
CARD = painted(Surface("card", np.array([0.3, 0, 1.0]), np.eye(3), np.full(3, 0.1)))


def still_life(*objects, wall=WALL):
    return Scene((wall,), objects, TO_LIGHT, ambient=0.4)


def test_depth_is_camera_z():
    depths = depth_maps(still_life(BALL, CARD), CAMERAS)[0]
    assert depths.dtype == torch.float64
    assert depths[0, 0].item() == pytest.approx(3)  # not the length of the slanted ray
    assert depths[16, 16].item() == pytest.approx(1.5)
    assert depths[16, 26].item() == pytest.approx(1)  # at x = 0.303
    x = (np.arange(33) + 0.5 - 16.5) / 33
    discriminant = 4 - (1 + x**2) * (4 - 0.25)
    ball = (2 - np.sqrt(np.maximum(discriminant, 0))) / (1 + x**2)
    is_ball = (discriminant > 0) & (np.arange(33) < 23)
    np.testing.assert_allclose(depths[16].numpy()[is_ball], ball[is_ball], rtol=1e-12)


def test_light_is_ambient_plus_lambert():
    colors = color_maps(still_life(), CAMERAS, has_shadows=True)[0]
    expected = torch.tensor(GREY[0] * (0.4 + 0.6 * 0.8)).float()
    torch.testing.assert_close(colors, expected[:, None, None].expand(3, 33, 33))
    ball = color_maps(still_life(BALL), CAMERAS, has_shadows=False)[0][:, 16, 16]
    torch.testing.assert_close(ball, expected)  # its normal there is the wall's
    dark = replace(still_life(), to_light=-TO_LIGHT)  # behind the wall
    unlit = color_maps(dark, CAMERAS, has_shadows=True)[0]
    torch.testing.assert_close(unlit[:, 4, 5], torch.tensor(GREY[0] * 0.4).float())


def test_objects_throw_shadows_on_the_wall_where_geometry_says():
    lit = color_maps(still_life(CARD), CAMERAS, has_shadows=False)[0, 0]
    shaded = color_maps(still_life(CARD), CAMERAS, has_shadows=True)[0, 0]
    # From the card at z = 1 the shadow runs 2 * (-0.6 / 0.8) in x: about (-1.2, 0, 3).
    x = 3 * (np.arange(33) + 0.5 - 16.5) / 33
    in_shadow = np.abs(x - (0.3 - 1.5)) < 0.1 - 0.02
    outside = np.abs(x - (0.3 - 1.5)) > 0.1 + 0.02
    assert in_shadow.sum() >= 1
    changed = (lit != shaded).numpy()
    assert changed[16, in_shadow].all()
    assert not changed[16, outside].any()
    assert not changed[5].any()


def test_a_highlight_lies_where_the_ray_is_mirrored_into_the_lamp():
    glint = still_life(replace(BALL, specular=0.5))
    plain, shiny = (color_maps(s, CAMERAS, has_shadows=False)[0] for s in (still_life(BALL), glint))
    gain = (shiny - plain)[0]
    assert (gain >= 0).all()
    row, column = divmod(int(gain.argmax()), 33)
    depth = depth_maps(glint, CAMERAS)[0, row, column].item()
    point = depth * np.array([(column - 16) / 33, (row - 16) / 33, 1])
    normal = (point - [0, 0, 2]) / 0.5
    half = TO_LIGHT - point / np.linalg.norm(point)
    assert normal @ half / np.linalg.norm(half) > 0.99
    assert gain.max() == pytest.approx(0.5, rel=0.1)
    torch.testing.assert_close(shiny[1] - plain[1], gain)  # the lamp's own colour


def test_the_first_surface_hides_the_others():
    front = still_life(BALL, CARD), still_life(CARD, BALL)
    maps = [depth_maps(each, CAMERAS) for each in front]
    torch.testing.assert_close(*maps)
