"""Random scenes with exact depth, made on the spot to train and test depth estimation on.

A room with slanted walls or a dome, with cards, discs, boxes, ellipsoids, cylinders and thin rods
in it; painted, some without texture, some shiny; lit by a lamp that casts shadows; photographed
with changing exposure and noise. Resolution and light change pictures only, never the geometry.
"""

from dataclasses import dataclass
from math import atan
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.errors import ConfigError
from bayes_splat.scenes import checks
from bayes_splat.scenes.procedural_cameras import Rig, draw_rig, overlap
from bayes_splat.scenes.procedural_layout import Scene, draw_scene
from bayes_splat.scenes.procedural_pictures import color_maps, depth_maps
from bayes_splat.scenes.procedural_textures import random_rotation
from bayes_splat.types import Cameras, Views

Split: TypeAlias = Literal["train", "val", "test"]
_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_BRIGHTNESS = (0.3, 0.55)  # mean of the first picture before its own exposure
_MOST_GAIN = 3.0
_ATTEMPTS = 30  # drawings of cameras and scene until the overlap is as asked
_TURNS = 5  # of the context cameras for each
_MOST_TURN = 1.0  # radians
_GRID = 24  # rays along the width that overlap is measured with


@dataclass(frozen=True)
class ProceduralOptions:
    """What scenes are drawn from; pairs are (least, most).

    Attributes:
        num_objects: beside the room; those that stand behind a wall are not seen.
        num_thin: rods, bars and strips 0.6 to 2.2 pixels wide at 64 pixels.
        textureless_share: probability that a surface has one colour or a slow gradient.
        specular_share: probability that a surface has a Phong highlight (of 0.2 to 0.8).
        baseline: between the context cameras, in distances to what they look at; log-uniform.
        overlap: share of either context picture whose points fall into the other one.
        field_of_view: horizontal, degrees.
        aspect: height over width of the picture.
        exposure: standard deviation of each view's log gain; a third of it a channel besides.
        noise: standard deviation of Normal noise on the colours, drawn once a scene.
        samples: colour rays along each side of a pixel.
        has_shadows: whether objects cast them.
    """

    num_objects: tuple[int, int] = (3, 9)
    num_thin: tuple[int, int] = (0, 4)
    textureless_share: float = 0.15
    specular_share: float = 0.25
    baseline: tuple[float, float] = (0.05, 0.3)
    overlap: tuple[float, float] = (0.55, 0.97)
    field_of_view: tuple[float, float] = (40.0, 75.0)
    aspect: float = 1.0
    exposure: float = 0.08
    noise: tuple[float, float] = (0.0, 0.02)
    samples: int = 2
    has_shadows: bool = True


class _Bounds(NamedTuple):
    least: float
    most: float


_PAIRS = {  # the allowed range of both ends
    "num_objects": _Bounds(0, 100),
    "num_thin": _Bounds(0, 100),
    "baseline": _Bounds(1e-3, 1),
    "overlap": _Bounds(0, 1),
    "field_of_view": _Bounds(10, 120),
    "noise": _Bounds(0, 1),
}
_NUMBERS = {
    "textureless_share": _Bounds(0, 1),
    "specular_share": _Bounds(0, 1),
    "aspect": _Bounds(0.25, 4),
    "exposure": _Bounds(0, 1),
    "samples": _Bounds(1, 8),
}


def procedural_scene(
    seed: int,
    split: Split = "train",
    resolution: int = 64,
    num_views: int = 2,
    options: ProceduralOptions | None = None,
) -> Views:
    """One random scene, the same bits for the same arguments.

    The world's axes, origin and unit are random as well. Another ``num_views`` is another scene.

    Args:
        seed: 0 to 2^64 - 1.
        split: scenes of different splits never share a stream of random numbers: split and seed
            are the two halves of the key of a counter-based generator (Philox).
        resolution: width in pixels; the height is ``options.aspect`` times it.
        num_views: two context views first, then targets about the line between them.
        options: None takes the defaults.

    Returns:
        Views in float32 named context_0, context_1, target_0, ... ``depths`` are exact at the pixel
        centres and known everywhere; ``near`` and ``far`` are common to all views and bracket them
        with a random margin.

    Raises:
        ConfigError: an argument or option out of its range, or an ``overlap`` that 30 drawings
            with this ``baseline`` and ``field_of_view`` do not meet.
    """
    options = options or ProceduralOptions()
    _check(seed, split, resolution, num_views, options)
    generator = _stream(seed, split)
    rig, scene = _draw(generator, num_views, options)
    image_shape = (_height(resolution, options), resolution)
    depths = depth_maps(scene, rig.cameras(image_shape))
    cameras, unit = _moved(generator, rig.cameras(image_shape))
    depths = (unit * depths).float()
    nearer, farther = generator.uniform(0.75, 0.97), generator.uniform(1.03, 1.35)
    images = _photograph(generator, scene, rig, image_shape, options)
    cameras = Cameras(
        extrinsics=cameras.extrinsics.float(),
        intrinsics=cameras.intrinsics.float(),
        near=(nearer * depths.min()).expand(num_views).clone(),
        far=(farther * depths.max()).expand(num_views).clone(),
        image_shape=image_shape,
    )
    targets = (f"target_{number}" for number in range(num_views - 2))
    return Views(cameras, images, ("context_0", "context_1", *targets), depths)


def _stream(seed: int, split: Split) -> np.random.Generator:
    key = np.array([seed, _SPLITS.index(split)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _height(width: int, options: ProceduralOptions) -> int:
    return max(1, round(options.aspect * width))


def _draw(
    generator: np.random.Generator, num_views: int, options: ProceduralOptions
) -> tuple[Rig, Scene]:
    """Cameras and still lifes until the context pair's overlap lies within the bounds.

    A pair outside them is first turned apart, or together, before another is drawn.
    """
    least, most = options.overlap
    for _ in range(_ATTEMPTS):
        rig = draw_rig(generator, num_views, options.baseline, options.field_of_view)
        scene = draw_scene(
            generator,
            rig.poses[:, :3, 3],
            rig.tangent,
            num_objects=options.num_objects,
            num_thin=options.num_thin,
            textureless_share=options.textureless_share,
            specular_share=options.specular_share,
        )
        wanted = least + generator.uniform(0.2, 0.8) * (most - least)
        angle = 0.0
        for _ in range(1 + _TURNS):
            turned = rig.turned_apart(angle) if angle else rig
            pair = turned.cameras((_height(_GRID, options), _GRID))[:2]
            shared = overlap(pair, depth_maps(scene, pair))
            one, other = shared[0, 1].item(), shared[1, 0].item()
            if least <= min(one, other) and max(one, other) <= most:
                return turned, scene
            # A turn by the field of view would take all of the overlap.
            angle += ((one + other) / 2 - wanted) * 2 * atan(rig.tangent)
            if abs(angle) > _MOST_TURN:
                break
    raise ConfigError(
        f"overlap={options.overlap} was not met by {_ATTEMPTS} scenes with "
        f"baseline={options.baseline} and field_of_view={options.field_of_view}; widen it, or "
        "change the baseline (longer for less overlap)."
    )


def _photograph(
    generator: np.random.Generator,
    scene: Scene,
    rig: Rig,
    image_shape: tuple[int, int],
    options: ProceduralOptions,
) -> Float[Tensor, "view 3 height width"]:
    """Colours averaged over each pixel, with each view's exposure and noise, in [0, 1]."""
    count = options.samples
    fine = rig.cameras((count * image_shape[0], count * image_shape[1]))
    colors = color_maps(scene, fine, has_shadows=options.has_shadows)
    rows = [colors[..., row::count, :] for row in range(count)]
    parts = [line[..., column::count] for line in rows for column in range(count)]
    images = sum(parts[1:], parts[0]) / count**2
    # The mean by numpy: torch's depends on the number of threads in its last bits.
    brightness = generator.uniform(*_BRIGHTNESS) / float(images[0].numpy().mean(dtype=np.float64))
    images = min(brightness, _MOST_GAIN) * images
    views = len(rig.poses)
    gains = generator.normal(size=(views, 1)) + generator.normal(size=(views, 3)) / 3
    images = images * torch.from_numpy(np.exp(options.exposure * gains)).float()[..., None, None]
    spread = generator.uniform(*options.noise)
    noise = generator.standard_normal(images.shape, dtype=np.float32)
    return (images + spread * torch.from_numpy(noise)).clamp(0, 1)


def _moved(generator: np.random.Generator, cameras: Cameras) -> tuple[Cameras, float]:
    """The cameras in another world, and its unit: how long the rig's unit is in it."""
    unit = float(np.exp(generator.uniform(-1, 1)))
    turn = torch.from_numpy(random_rotation(generator))
    shift = torch.from_numpy(generator.normal(size=3))
    poses = cameras.extrinsics.clone()
    for pose in poses:
        rotation, place = pose[:3, :3].clone(), pose[:3, 3].clone()
        pose[:3, :3] = (turn[:, :, None] * rotation[None]).sum(1)
        pose[:3, 3] = unit * (turn * place).sum(1) + shift
    moved = Cameras(poses, cameras.intrinsics, cameras.near, cameras.far, cameras.image_shape)
    return moved, unit


def _check(
    seed: int, split: str, resolution: int, num_views: int, options: ProceduralOptions
) -> None:
    checks.resolution(resolution)
    if split not in _SPLITS:
        raise ConfigError(f"split={split!r} does not exist; choose from {', '.join(_SPLITS)}.")
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed={seed} is out of range; give 0 to 2^64 - 1.")
    if num_views < 2:
        raise ConfigError(f"num_views={num_views} is too few; give 2 or more.")
    for name, bounds in _PAIRS.items():
        low, high = getattr(options, name)
        if not bounds.least <= low <= high <= bounds.most:
            raise ConfigError(
                f"{name}=({low}, {high}) is out of range; give (least, most) within "
                f"{bounds.least:g} to {bounds.most:g}."
            )
    for name, bounds in _NUMBERS.items():
        if not bounds.least <= (value := getattr(options, name)) <= bounds.most:
            raise ConfigError(
                f"{name}={value} is out of range; give {bounds.least:g} to {bounds.most:g}."
            )
