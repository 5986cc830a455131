"""The procedural scenes that the small encoder is trained on: shapes and difficulties mixed.

Scene ``number`` is a function of its number alone, so that a training run resumes exactly. Scenes
may be kept in a folder: drawing one costs as much as a step of training.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bayes_splat.errors import ConfigError
from bayes_splat.scenes.augment import augmented
from bayes_splat.scenes.examples import Example
from bayes_splat.scenes.procedural import ProceduralOptions, Split, procedural_scene
from bayes_splat.types import Cameras, Views

NUM_VIEWS = 4

SHAPES = {  # (height, width) in pixels -> share of the scenes
    (64, 64): 0.34,
    (48, 64): 0.22,
    (64, 48): 0.06,
    (36, 64): 0.08,
    (48, 48): 0.10,
    (64, 96): 0.12,
    (80, 80): 0.04,
    (96, 128): 0.04,
}

_STREAM = 0x5EED  # keeps the choices made here apart from those inside a scene
_HARDER_SHARE = 0.4


def training_scene(number: int, split: Split = "train", folder: Path | None = None) -> Views:
    """Scene ``number``: four views with exact depths; the context pair comes first.

    Args:
        number: 0 or more; also the seed of the procedural scene.
        split: as of ``procedural_scene``.
        folder: keeps scenes that were drawn before, colours in 8 bits; None: draw it anew.
    """
    if folder is None:
        return _eight_bits(_draw(number, split))
    path = folder / split / f"{number:06d}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, _eight_bits(_draw(number, split)))
    return _read(path)


def shape_of(number: int) -> tuple[int, int]:
    """(height, width) of scene ``number``, without drawing it."""
    share = np.random.default_rng((_STREAM, number)).uniform()
    ends = np.cumsum(list(SHAPES.values()))
    return list(SHAPES)[int(np.searchsorted(ends, share * ends[-1], side="right"))]


def _draw(number: int, split: Split) -> Views:
    height, width = shape_of(number)
    choices = np.random.default_rng((_STREAM, number, 1))
    options = ProceduralOptions(aspect=height / width)
    if choices.uniform() < _HARDER_SHARE:
        options = ProceduralOptions(
            aspect=height / width,
            num_objects=(0, 14),
            num_thin=(0, 6),
            textureless_share=0.3,
            baseline=(0.02, 0.5),
            overlap=(0.4, 0.99),
            field_of_view=(30.0, 85.0),
            exposure=0.15,
            noise=(0.0, 0.04),
        )
    try:
        return procedural_scene(number, split, width, NUM_VIEWS, options)
    except ConfigError:  # an overlap that was not met: rare, and the plain options meet theirs
        return procedural_scene(
            number, split, width, NUM_VIEWS, ProceduralOptions(aspect=height / width)
        )


def _eight_bits(views: Views) -> Views:
    images = (views.images * 255).round() / 255
    return Views(views.cameras, images, views.names, views.depths)


def _write(path: Path, views: Views) -> None:
    cameras, depths = views.cameras, views.depths
    assert depths is not None
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        extrinsics=cameras.extrinsics.numpy(),
        intrinsics=cameras.intrinsics.numpy(),
        near=cameras.near.numpy(),
        far=cameras.far.numpy(),
        images=(views.images * 255).round().to(torch.uint8).numpy(),
        depths=depths.numpy(),
    )
    partial.rename(path)


def _read(path: Path) -> Views:
    with np.load(path) as file:
        found = {name: torch.from_numpy(file[name]) for name in file.files}
    images, depths = found.pop("images"), found.pop("depths")
    cameras = Cameras(**found, image_shape=(images.shape[-2], images.shape[-1]))
    names = ("context_0", "context_1", *(f"target_{i}" for i in range(len(images) - 2)))
    return Views(cameras, images.float() / 255, names, depths)


def training_examples(
    start: int, step: int = 1, *, seed: int = 0, num_scenes: int = 2**40, folder: Path | None = None
) -> Iterator[Example]:
    """Augmented examples without end: numbers start, start + step, start + 2 step ...

    Example ``number`` is a function of it and the seed, so that training resumes exactly and
    processes share the work.

    Args:
        start, step: which numbers.
        seed: of the choice of views and of augmentation.
        num_scenes: scenes there are; the next pass over them is augmented anew.
        folder: where scenes are kept, see ``training_scene``.
    """
    for number in itertools.count(start, step):
        yield training_example(number, seed=seed, num_scenes=num_scenes, folder=folder)


def training_example(
    number: int, *, seed: int = 0, num_scenes: int = 2**40, folder: Path | None = None
) -> Example:
    """One example: mostly two views, a tenth of them three, of one augmented scene."""
    scene = number % num_scenes
    views = training_scene(scene, "train", folder)
    generator = np.random.default_rng((_STREAM, seed, number, 2))
    order = [int(i) for i in generator.permutation(len(views))]
    if generator.uniform() < 0.5:  # the pair whose overlap was asked for
        order = [0, 1, *(i for i in order if i > 1)]
    count = 3 if generator.uniform() < 0.1 else 2
    views = augmented(views, generator)
    return Example(f"train_{scene}", views[order[:count]], views[order[count:]])


def validation_examples(count: int, folder: Path | None = None) -> list[Example]:
    """The same examples always, of scenes that training never sees; nothing is augmented."""
    scenes = [training_scene(number, "val", folder) for number in range(count)]
    return [Example(f"val_{i}", views[:2], views[2:]) for i, views in enumerate(scenes)]
