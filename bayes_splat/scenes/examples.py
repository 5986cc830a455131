"""Scenes to measure a proposal on, each read when its turn comes so that a bad one spoils no other.

An example is some context views, which a proposal sees, and target views, which it does not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bayes_splat.errors import SceneError
from bayes_splat.scenes import loader, splits
from bayes_splat.scenes.procedural import Split, procedural_scene
from bayes_splat.types import Views


class Example(NamedTuple):
    """One scene.

    Attributes:
        key: names it within its source.
        context: what a proposal sees.
        targets: held out; perhaps none.
    """

    key: str
    context: Views
    targets: Views


class Planned(NamedTuple):
    """An example that has not been read yet.

    Attributes:
        source: what it belongs to, such as ``procedural``.
        key: names it within its source.
        load: reads or makes it; raises BayesSplatError if it cannot be used.
    """

    source: str
    key: str
    load: Callable[[], Example]


def procedural(
    number: int, resolution: int, seed: int = 0, split: Split = "test", num_targets: int = 1
) -> list[Planned]:
    """Random scenes with seeds ``seed`` to ``seed + number - 1`` (``procedural_scene``)."""

    def load(seed: int) -> Example:
        views = procedural_scene(seed, split, resolution, num_views=2 + num_targets)
        return Example(f"{split}_{seed}", views[:2], views[2:])

    return [
        Planned("procedural", f"{split}_{s}", lambda s=s: load(s))  # type: ignore[misc]
        for s in range(seed, seed + number)
    ]


def folders(data: Path, resolution: int) -> list[Planned]:
    """Every split with two context views of every scene in a folder of scenes.

    Args:
        data: holds scene folders with ``splits.json``; others in it are passed over.
        resolution: pixels on the long side.

    Returns:
        Examples ``<scene>/<split>``, scenes by name and splits in the order of their file. A split
        or a file of splits that cannot be read is an example whose ``load`` says so.

    Raises:
        SceneError: no scene is in the folder.
    """
    scenes = sorted(path.parent for path in data.glob(f"*/{splits.FILE_NAME}"))
    if not scenes:
        raise SceneError(
            f"data={data} holds no scene folders with {splits.FILE_NAME}; give the folder that "
            "holds the folders of scenes, or data=none"
        )
    return [planned for scene in scenes for planned in _of_scene(scene, resolution)]


def _of_scene(folder: Path, resolution: int) -> list[Planned]:
    def load(name: str | None) -> Example:
        return _read(folder, name or splits.names(folder)[0], resolution)

    try:
        names = splits.names(folder)
    except SceneError:
        return [Planned("data", folder.name, lambda: load(None))]
    return [
        Planned("data", f"{folder.name}/{name}", lambda name=name: load(name))  # type: ignore[misc]
        for name in names
        if _is_pair(folder, name)
    ]


def _is_pair(folder: Path, name: str) -> bool:
    try:
        return len(splits.load_split(folder, name).context) == 2
    except SceneError:  # told when its turn comes
        return True


def _read(folder: Path, name: str, resolution: int) -> Example:
    split = splits.load_split(folder, name)
    views = loader.load(
        folder,
        [*split.context, *split.targets],
        resolution=resolution,
        near=split.near,
        far=split.far,
    )
    return Example(f"{folder.name}/{name}", views[:2], views[2:])
