"""A small still life that the package makes itself, with known cameras, colours and depths.

A slanted wall, a tiled floor, two balls and a card that hides part of them, lit by a lamp that
casts shadows. Rays meet the surfaces exactly (no meshes), colours do not depend on the viewing
direction, and everything is in float64 until the end. World axes are those of an OpenCV camera:
x right, y down, z forward; the unit is arbitrary.
"""

from dataclasses import dataclass
from math import cos, pi, radians, sin
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat.errors import ConfigError
from bayes_splat.scenes import checks
from bayes_splat.types import Cameras, Views

NEAR, FAR = 1.6, 8.0
"""Camera z that brackets every visible surface from every camera of ``demo_scene``."""

_FIELD_OF_VIEW = radians(54)  # horizontal
_FOCUS = (0.0, 0.25, 3.4)  # what all cameras look at
_CONTEXT_ANGLE = radians(10)  # between the context views, seen from the focus
_LAMP = (-2.6, -3.2, -0.6)
_AMBIENT = 0.42  # light that reaches a point in shadow
_WAVES = 14
_MAX_FREQUENCY = 2.2  # cycles a unit: 0.15 cycles a pixel on the wall at 64 pixels
_SAMPLES = 4  # colour rays along each side of a pixel


class _Hit(NamedTuple):
    """Where rays meet a surface: distance in lengths of the direction (inf: never), and normal."""

    distances: Float[Tensor, " ray"]
    normals: Float[Tensor, "#ray 3"]


@dataclass(frozen=True)
class _Plane:
    """``center + a * right + b * down`` with orthonormal axes and |a|, |b| within ``half_size``."""

    center: Float[Tensor, "3"]
    right: Float[Tensor, "3"]
    down: Float[Tensor, "3"]
    half_size: tuple[float, float] = (torch.inf, torch.inf)

    def meet(self, origins: Float[Tensor, "#ray 3"], directions: Float[Tensor, "ray 3"]) -> _Hit:
        """The first point of each ray at a positive distance; the normal is one for all."""
        normal = torch.linalg.cross(self.right, self.down)
        distances = ((self.center - origins) @ normal) / (directions @ normal)
        offsets = origins + distances[:, None] * directions - self.center
        is_hit = (
            (distances > 0)
            & ((offsets @ self.right).abs() <= self.half_size[0])
            & ((offsets @ self.down).abs() <= self.half_size[1])
        )
        return _Hit(distances.where(is_hit, torch.inf), normal[None])


@dataclass(frozen=True)
class _Sphere:
    center: Float[Tensor, "3"]
    radius: float

    def meet(self, origins: Float[Tensor, "#ray 3"], directions: Float[Tensor, "ray 3"]) -> _Hit:
        """The first point of each ray at a positive distance, seen from outside."""
        towards = origins - self.center
        a = directions.square().sum(-1)
        b = (directions * towards).sum(-1)
        c = towards.square().sum(-1) - self.radius**2
        root = (b.square() - a * c).sqrt()  # NaN where the ray misses
        distances = (-b - root) / a
        distances = distances.where(distances > 0, torch.inf)  # also where NaN
        points = origins + distances.where(distances.isfinite(), 0)[:, None] * directions
        return _Hit(distances, (points - self.center) / self.radius)


_Surface: TypeAlias = _Plane | _Sphere


@dataclass(frozen=True)
class _Texture:
    """Two colours mixed by a band-limited field: smooth waves, or tiles with soft edges.

    Solid (a function of the point in space), so that no surface needs coordinates of its own.
    """

    colors: Float[Tensor, "2 3"]
    frequencies: Float[Tensor, "wave 3"]
    phases: Float[Tensor, " wave"]
    is_tiled: bool = False

    def __call__(self, points: Float[Tensor, "ray 3"]) -> Float[Tensor, "ray 3"]:
        waves = (2 * pi * points @ self.frequencies.T + self.phases).cos()
        field = 0.8 * waves.sum(-1) / len(self.phases) ** 0.5
        if self.is_tiled:
            tiles = torch.sin(pi * points[:, 0] / 0.42) * torch.sin(pi * points[:, 2] / 0.42)
            field = 2.2 * tiles + 0.35 * field
        weight = (0.5 + 0.5 * (1.4 * field).tanh())[:, None]
        return torch.lerp(self.colors[0], self.colors[1], weight)


def demo_scene(
    resolution: int = 64, num_targets: int = 3, seed: int = 0, noise: float = 0.0
) -> Views:
    """Photograph the still life: two context views first, then the targets.

    The context views see the focus under 10 degrees; targets lie between them and slightly outside.
    At 64 pixels the disparity between card and wall is about 9 pixels.

    Args:
        resolution: width in pixels; the height is three quarters of it.
        num_targets: views beyond the two; 0 gives the bare pair.
        seed: of the textures and of the noise.
        noise: standard deviation of Normal noise on the colours, which are then clamped to [0, 1].

    Returns:
        Views in float32 named context_0, context_1, target_0, ... Colours are means over 4x4 rays a
        pixel; ``depths`` are exact at the pixel centres and known everywhere.

    Raises:
        ConfigError: ``resolution`` below 8 pixels, or ``num_targets`` or ``noise`` negative.
    """
    checks.resolution(resolution)
    if num_targets < 0 or not noise >= 0:
        raise ConfigError(
            f"num_targets={num_targets} and noise={noise} must not be negative; give 0 or more."
        )
    generator = torch.Generator().manual_seed(seed)
    scene = _still_life(generator)
    image_shape = (resolution * 3 // 4, resolution)
    places = [0.0, 1.0] + [_target_place(number) for number in range(num_targets)]
    extrinsics = torch.stack([_look(place) for place in places])
    focal = resolution / 2 / torch.tan(torch.tensor(_FIELD_OF_VIEW / 2)).item()
    intrinsics = torch.tensor(
        [[focal, 0, image_shape[1] / 2], [0, focal, image_shape[0] / 2], [0, 0, 1]],
        dtype=torch.float64,
    )
    pictures = [_photograph(scene, pose, intrinsics, image_shape) for pose in extrinsics]
    images = torch.stack([colors for colors, _ in pictures])
    if noise > 0:
        scatter = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        images = (images + noise * scatter).clamp(0, 1)
    cameras = Cameras(
        extrinsics=extrinsics.float(),
        intrinsics=intrinsics.float().expand(len(places), 3, 3).clone(),
        near=torch.full((len(places),), NEAR),
        far=torch.full((len(places),), FAR),
        image_shape=image_shape,
    )
    names = ("context_0", "context_1", *(f"target_{number}" for number in range(num_targets)))
    depths = torch.stack([depths for _, depths in pictures])
    return Views(cameras, images.float(), names, depths.float())


def _target_place(number: int) -> float:
    """Where on the arc (0 and 1: the context views) a target stands: first the middle, then spread
    over [-0.25, 1.25] by steps of the golden ratio, so that any number of them lies evenly."""
    return 1.5 * ((0.5 + number * 0.6180339887) % 1) - 0.25


def _look(place: float) -> Float[Tensor, "4 4"]:
    """Camera-to-world pose on an arc around the focus, which it looks at."""
    focus = torch.tensor(_FOCUS, dtype=torch.float64)
    angle = (place - 0.5) * _CONTEXT_ANGLE
    height = -0.35 + 0.12 * sin(2 * pi * place)  # targets leave the plane of the context views
    distance = focus[2].item()
    offset = [distance * sin(angle), height - focus[1].item(), -distance * cos(angle)]
    origin = focus + torch.tensor(offset, dtype=torch.float64)
    forward = torch.nn.functional.normalize(focus - origin, dim=0)
    right = torch.linalg.cross(torch.tensor([0.0, 1, 0], dtype=torch.float64), forward)
    right = torch.nn.functional.normalize(right, dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3] = torch.stack([right, torch.linalg.cross(forward, right), forward, origin], dim=-1)
    return pose


def _still_life(generator: torch.Generator) -> list[tuple[_Surface, _Texture]]:
    """The surfaces and what they are painted with."""

    def vector(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    def texture(first: str, second: str, scale: float = 1.0, is_tiled: bool = False) -> _Texture:
        direction = torch.randn(_WAVES, 3, generator=generator, dtype=torch.float64)
        direction /= direction.norm(dim=-1, keepdim=True)
        size = torch.rand(_WAVES, 1, generator=generator, dtype=torch.float64)
        phases = 2 * pi * torch.rand(_WAVES, generator=generator, dtype=torch.float64)
        colors = torch.stack([_hex(first), _hex(second)])
        frequencies = direction * scale * _MAX_FREQUENCY * (0.25 + 0.75 * size)
        return _Texture(colors, frequencies, phases, is_tiled)

    def turned(degrees: float) -> Tensor:  # unit vector in the x-z plane
        return vector(cos(radians(degrees)), 0.0, sin(radians(degrees)))

    down = vector(0.0, 1.0, 0.0)
    wall = _Plane(vector(0.0, 0.0, 5.0), turned(-16.0), down)
    floor = _Plane(vector(0.0, 1.1, 4.0), vector(1.0, 0.0, 0.0), vector(0.0, 0.0, 1.0))
    card = _Plane(vector(-0.52, 0.1, 2.35), turned(22.0), down, (0.4, 0.5))
    ball = _Sphere(vector(0.5, 0.4, 3.5), 0.7)
    marble = _Sphere(vector(0.3, 0.86, 2.55), 0.24)
    return [
        (wall, texture("#2f6f8f", "#e8d9a8")),
        (floor, texture("#5b3a29", "#d9c3a0", is_tiled=True)),
        (card, texture("#f4efe1", "#b3262e", scale=1.6)),
        (ball, texture("#e0912f", "#3b2a5a", scale=1.3)),
        (marble, texture("#7fd1ae", "#11554b", scale=2.0)),
    ]


def _hex(code: str) -> Float[Tensor, "3"]:
    return torch.tensor(list(bytes.fromhex(code[1:])), dtype=torch.float64) / 255


def _photograph(
    scene: list[tuple[_Surface, _Texture]],
    pose: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, "3 height width"], Float[Tensor, "height width"]]:
    """Colours averaged over each pixel, and camera z at the pixel centres."""
    colors = torch.zeros(image_shape[0] * image_shape[1], 3, dtype=torch.float64)
    offsets = [(step + 0.5) / _SAMPLES for step in range(_SAMPLES)]
    for row in offsets:
        for column in offsets:
            origin, directions = _rays(pose, intrinsics, image_shape, row, column)
            colors += _shade(scene, origin, directions)
    origin, directions = _rays(pose, intrinsics, image_shape, 0.5, 0.5)
    depths, _ = _first(scene, origin, directions)
    images = (colors / _SAMPLES**2).T.reshape(3, *image_shape)
    return images, depths.reshape(image_shape)


def _rays(
    pose: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "3 3"],
    image_shape: tuple[int, int],
    row: float,
    column: float,
) -> tuple[Float[Tensor, "1 3"], Float[Tensor, "ray 3"]]:
    """World rays through one place in every pixel; camera z 1 long, so distances are depths."""
    y, x = torch.meshgrid(
        torch.arange(image_shape[0], dtype=torch.float64) + row,
        torch.arange(image_shape[1], dtype=torch.float64) + column,
        indexing="ij",
    )
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)
    directions = pixels @ torch.linalg.inv(intrinsics).T @ pose[:3, :3].T
    return pose[None, :3, 3], directions


def _first(
    scene: list[tuple[_Surface, _Texture]],
    origins: Float[Tensor, "#ray 3"],
    directions: Float[Tensor, "ray 3"],
) -> tuple[Float[Tensor, " ray"], Int[Tensor, " ray"]]:
    """Distance to the first surface along each ray, and its number."""
    distances = torch.stack([surface.meet(origins, directions).distances for surface, _ in scene])
    nearest = distances.min(dim=0)
    return nearest.values, nearest.indices


def _shade(
    scene: list[tuple[_Surface, _Texture]],
    origin: Float[Tensor, "1 3"],
    directions: Float[Tensor, "ray 3"],
) -> Float[Tensor, "ray 3"]:
    """Texture times Lambertian light from the lamp, less where something stands before it."""
    distances, numbers = _first(scene, origin, directions)
    points = origin + distances[:, None] * directions
    colors = torch.zeros_like(points)
    normals = torch.zeros_like(points)
    for number, (surface, texture) in enumerate(scene):
        mine = (numbers == number)[:, None]
        colors = torch.where(mine, texture(points), colors)
        normals = torch.where(mine, surface.meet(origin, directions).normals, normals)
    to_lamp = torch.tensor(_LAMP, dtype=torch.float64) - points
    facing = (normals * to_lamp).sum(-1) / to_lamp.norm(dim=-1)
    towards_viewer = -(normals * directions).sum(-1).sign()  # planes have two sides
    blocked_at, _ = _first(scene, points + 1e-6 * to_lamp, to_lamp)
    lit = (facing * towards_viewer).clamp(min=0) * (blocked_at > 1)
    light: Tensor = _AMBIENT + (1 - _AMBIENT) * lit
    return colors * light[:, None]
