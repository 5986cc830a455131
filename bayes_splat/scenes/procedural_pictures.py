"""Depths and colours of a procedural scene: rays to the first surface, then paint and light.

Light: Lambert plus a highlight after Phong, Illumination for computer generated pictures (1975),
with the reflected view against the lamp.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.scenes.procedural_layout import Painted, Scene
from bayes_splat.scenes.procedural_surfaces import dot
from bayes_splat.types import Cameras

_SHADOW_GAP = 2e-3  # shadow rays start this far off their surface, rig units: float32 rounding


def depth_maps(scene: Scene, cameras: Cameras) -> Float[Tensor, "view height width"]:
    """Camera z of the first surface at every pixel centre, float64, exact to rounding."""
    origins, directions = geometry.camera_rays(cameras)
    maps = []
    for origin, rays in zip(origins.numpy(), directions.numpy(), strict=True):
        start, steps = origin[:1].T, np.ascontiguousarray(rays.T)
        maps.append(_first(scene.enclosure + scene.objects, start, steps)[0])
    return torch.from_numpy(np.stack(maps)).reshape(len(cameras), *cameras.image_shape)


def color_maps(
    scene: Scene, cameras: Cameras, *, has_shadows: bool
) -> Float[Tensor, "view 3 height width"]:
    """Colour at every pixel centre, float32; highlights may exceed 1.

    For pictures with s x s rays a pixel, give cameras of s times the image shape and average.
    """
    origins, directions = geometry.camera_rays(cameras)
    focal = float(cameras.intrinsics[0, 0, 0])
    pictures = []
    for origin, rays in zip(origins.numpy(), directions.numpy(), strict=True):
        start, steps = origin[:1].T.astype(np.float32), rays.T.astype(np.float32, order="C")
        pictures.append(_shade(scene, start, steps, 1 / focal, has_shadows))
    return torch.from_numpy(np.stack(pictures)).reshape(len(cameras), 3, *cameras.image_shape)


def _first(
    things: tuple[Painted, ...], origins: Float[ndarray, "3 #ray"], rays: Float[ndarray, "3 ray"]
) -> tuple[Float[ndarray, " ray"], Int[ndarray, " ray"]]:
    """Distance to the first surface along each ray, and its number."""
    nearest = np.full(rays.shape[1], np.inf, rays.dtype)
    numbers = np.zeros(rays.shape[1], np.int64)
    for number, thing in enumerate(things):
        distances = thing.surface.meet(origins, rays)
        is_nearer = distances < nearest
        nearest = np.where(is_nearer, distances, nearest)
        numbers = np.where(is_nearer, number, numbers)
    return nearest, numbers


def _shade(
    scene: Scene,
    origin: Float[ndarray, "3 1"],
    rays: Float[ndarray, "3 ray"],
    sample_width: float,
    has_shadows: bool,
) -> Float[ndarray, "3 ray"]:
    """Paint times light plus highlight; ``sample_width`` is a pixel's at depth one."""
    things = scene.enclosure + scene.objects
    distances, numbers = _first(things, origin, rays)
    points = origin + distances * rays
    lengths = np.sqrt(dot(rays, rays))
    to_light = scene.to_light[:, None].astype(rays.dtype)
    paint, normals = np.empty_like(rays), np.empty_like(rays)
    strength = np.array([thing.specular for thing in things], rays.dtype)[numbers]
    exponent = np.array([thing.shininess for thing in things], rays.dtype)[numbers]
    for number, thing in enumerate(things):
        mine = np.flatnonzero(numbers == number)
        if len(mine) == 0:
            continue
        own = thing.surface.own_points(points[:, mine])
        normal = thing.surface.normals(own)
        cosine = dot(normal, rays[:, mine]) / lengths[mine]
        normals[:, mine] = normal * np.where(cosine > 0, -1, 1).astype(rays.dtype)
        # The geometric mean of a slanted pixel's two widths on the surface.
        slant = np.sqrt(np.maximum(np.abs(cosine), 0.05))
        footprints = distances[mine] * sample_width / slant
        paint[:, mine] = thing.texture.paint(own, footprints)
    facing = np.maximum(dot(normals, to_light), 0)
    if has_shadows:
        starts = points + _SHADOW_GAP * normals
        towards = np.broadcast_to(to_light, rays.shape)
        facing = facing * np.isinf(_first(scene.objects, starts, towards)[0])
    mirrored = rays - 2 * dot(normals, rays) * normals
    glint = np.maximum(dot(mirrored, to_light) / lengths, 0) ** exponent * (facing > 0)
    light = scene.ambient + (1 - scene.ambient) * facing
    colors: ndarray = paint * light + strength * glint
    return colors
