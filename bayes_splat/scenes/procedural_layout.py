"""Random still lifes: what stands where, what it is painted with, and the light.

Lengths are in distances to the focus, see ``procedural_cameras``.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayes_splat.scenes.procedural_cameras import FOCUS
from bayes_splat.scenes.procedural_surfaces import Kind, Surface
from bayes_splat.scenes.procedural_textures import Pattern, Texture, draw_texture, random_rotation

CLEARANCE = 0.3
"""Nothing comes closer to a camera than this, except what encloses all of them."""

_DEPTHS = (0.6, 1.9)  # of the objects' centres; even in disparity
_KINDS: tuple[Kind, ...] = ("card", "disc", "box", "ellipsoid", "cylinder")
_THIN_KINDS: tuple[Kind, ...] = ("cylinder", "box", "card")
_PLAIN: tuple[Pattern, ...] = ("plain", "gradient")
_PATTERNS: tuple[Pattern, ...] = ("noise", "stripes", "checks")
_PATTERN_SHARES = (0.72, 0.14, 0.14)


@dataclass(frozen=True)
class Painted:
    """A surface with its texture and the Phong highlight, 0 for none."""

    surface: Surface
    texture: Texture
    specular: float
    shininess: float


@dataclass(frozen=True)
class Scene:
    """Everything but the cameras.

    Attributes:
        enclosure: met by every ray from every camera; casts no shadow.
        objects: stand inside, cast shadows.
        to_light: unit vector towards a lamp at infinity.
        ambient: light that reaches a point in shadow; the lamp gives the rest to 1.
    """

    enclosure: tuple[Painted, ...]
    objects: tuple[Painted, ...]
    to_light: Float[ndarray, "3"]
    ambient: float


def draw_scene(
    generator: np.random.Generator,
    origins: Float[ndarray, "view 3"],
    tangent: float,
    *,
    num_objects: tuple[int, int],
    num_thin: tuple[int, int],
    textureless_share: float,
    specular_share: float,
) -> Scene:
    """Objects in a room with slanted walls, or under a dome.

    Args:
        origins: the cameras' places, which stay free.
        tangent: of half the field of view, so that objects fill a like share of every picture.
        num_objects, num_thin: least and most of them.
        textureless_share: probability that a surface has one colour or a slow gradient.
        specular_share: probability that a surface has a highlight.
    """

    def painted(surface: Surface, depth: float) -> Painted:
        if generator.random() < textureless_share:
            pattern = _PLAIN[generator.integers(2)]
        else:
            pattern = _PATTERNS[generator.choice(3, p=_PATTERN_SHARES)]
        texture = draw_texture(generator, 2 * tangent * depth, _draw_colors(generator), pattern)
        strength, exponent = generator.uniform(0.2, 0.8), np.exp(generator.uniform(2, 4.5))
        is_shiny = generator.random() < specular_share
        return Painted(surface, texture, float(is_shiny * strength), float(exponent))

    if generator.random() < 0.25:
        enclosure = [_dome(generator, origins)]
    else:
        enclosure = _room(generator, origins)
    counts = (generator.integers(low, high + 1) for low, high in (num_objects, num_thin))
    objects = []
    for count, is_thin in zip(counts, (False, True), strict=True):
        for _ in range(count):
            depth = 1 / generator.uniform(1 / _DEPTHS[1], 1 / _DEPTHS[0])
            surface = _draw_object(generator, origins, tangent * depth, depth, is_thin)
            objects.append(painted(surface, depth))
    light = generator.normal(size=3) * (1.0, 0.6, 0.5) + (0.0, -0.7, -0.9)
    return Scene(
        enclosure=tuple(painted(surface, 1.6) for surface in enclosure),
        objects=tuple(objects),
        to_light=light / np.sqrt((light**2).sum()),
        ambient=float(generator.uniform(0.35, 0.65)),
    )


def _draw_colors(generator: np.random.Generator) -> Float[ndarray, "2 3"]:
    """Two colours that differ in brightness as well as in hue."""
    hues = generator.uniform(0.15, 1.0, (2, 3))
    saturation = generator.uniform(0.1, 0.9)
    grays = hues.mean(-1, keepdims=True)
    bright = generator.uniform(0.55, 1.0)
    levels = np.array([[bright], [bright * generator.uniform(0.1, 0.75)]])
    colors = levels * (saturation * hues / grays + 1 - saturation)
    clipped: ndarray = np.clip(colors[generator.permutation(2)], 0.02, 0.98)
    return clipped


def _draw_object(
    generator: np.random.Generator,
    origins: Float[ndarray, "view 3"],
    half_width: float,
    depth: float,
    is_thin: bool,
) -> Surface:
    """An object about a point that the rig's middle sees, smaller until all cameras are clear."""
    place = np.array([*(0.95 * half_width * generator.uniform(-1, 1, 2)), depth])
    half_size = half_width * np.exp(generator.uniform(np.log(0.12), np.log(0.55), 3))
    kinds = _THIN_KINDS if is_thin else _KINDS
    kind = kinds[generator.integers(len(kinds))]
    if is_thin:
        thickness = generator.uniform(0.01, 0.035) * half_width
        half_size = np.array([thickness, thickness, generator.uniform(0.4, 1.4) * half_width])
        if kind == "card":
            half_size = half_size[[0, 2, 1]]
    axes = random_rotation(generator)
    if kind in ("card", "disc"):  # seen at up to 65 degrees or so, not from the edge
        axes = _facing(generator, spread=0.6)
    elif generator.random() < 0.5:  # upright
        axes = _upright(generator.uniform(0, 2 * np.pi))
        if kind == "cylinder":
            axes = axes[:, [2, 0, 1]]
    surface = Surface(kind, place, axes, half_size)
    while min(surface.clearance(origin) for origin in origins) < CLEARANCE:
        surface = replace(
            surface, half_size=0.7 * surface.half_size, center=surface.center + 0.05 * FOCUS
        )
    return surface


def _room(generator: np.random.Generator, origins: Float[ndarray, "view 3"]) -> list[Surface]:
    """Six endless walls, each a little askew, that enclose the cameras."""
    half_size = generator.uniform((0.9, 0.45, 1.0), (2.0, 1.2, 1.7))
    center = np.array([generator.uniform(-0.3, 0.3), generator.uniform(-0.1, 0.1), 0.7])
    turn = _upright(np.radians(generator.uniform(-40, 40)))
    walls = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            outward = side * turn[:, axis] + 0.15 * generator.normal(size=3).clip(-1.5, 1.5)
            outward /= np.sqrt((outward**2).sum())
            room = max(outward @ (origin - center) for origin in origins) + CLEARANCE
            place = center + max(half_size[axis], room) * outward
            walls.append(Surface("wall", place, _frame(outward), np.ones(3)))
    return walls


def _dome(generator: np.random.Generator, origins: Float[ndarray, "view 3"]) -> Surface:
    """An ellipsoid around all cameras."""
    half_size = generator.uniform((1.0, 0.8, 1.2), (2.0, 1.6, 2.2))
    dome = Surface("dome", np.array([0.0, 0.0, 0.5]), random_rotation(generator), half_size)
    reach = [dome.axes.T @ (origin - dome.center) for origin in origins]
    farthest = max(float(np.sqrt(((own / half_size) ** 2).sum())) for own in reach)
    return replace(dome, half_size=half_size * max(1.0, farthest / 0.7))


def _facing(generator: np.random.Generator, spread: float) -> Float[ndarray, "3 3"]:
    """Axes with z roughly towards the cameras and any turn about it."""
    normal = np.array([0.0, 0.0, -1.0]) + spread * generator.normal(size=3).clip(-2, 2) * (1, 1, 0)
    axes = _frame(normal / np.sqrt((normal**2).sum()))
    angle = generator.uniform(0, 2 * np.pi)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    turned: ndarray = axes @ turn
    return turned


def _upright(angle: float) -> Float[ndarray, "3 3"]:
    """A turn about the vertical, y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _frame(normal: Float[ndarray, "3"]) -> Float[ndarray, "3 3"]:
    """A rotation whose third column is the given unit vector."""
    helper = np.eye(3)[np.abs(normal).argmin()]
    first = np.cross(helper, normal)
    first /= np.sqrt((first**2).sum())
    return np.stack([first, np.cross(normal, first), normal], axis=-1)
