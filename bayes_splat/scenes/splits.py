"""Named choices of context and target views: ``splits.json`` beside a scene."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from bayes_splat.errors import SceneError
from bayes_splat.scenes import checks

FILE_NAME = "splits.json"


class Split(NamedTuple):
    """Which frames a model sees and which it is judged on.

    Attributes:
        context: frames that the model sees.
        targets: frames held out; may be empty.
        near, far: range of camera z in scene units; None leaves it to the scene.
        depth_eval: frames whose true depth is fit for judging.
    """

    context: tuple[int, ...]
    targets: tuple[int, ...]
    near: float | None
    far: float | None
    depth_eval: tuple[int, ...] = ()


def names(folder: Path) -> tuple[str, ...]:
    """The splits that a scene offers, in the order of the file.

    Raises:
        SceneError: ``splits.json`` is missing or malformed.
    """
    return tuple(entry["name"] for entry in _read(folder))


def load_split(folder: Path, name: str) -> Split:
    """The split called ``name``.

    Raises:
        SceneError: ``splits.json`` is missing or malformed, or no split is called so. (Whether the
            frames exist is for the loader to say.)
    """
    entries = {entry["name"]: entry for entry in _read(folder)}
    where = f"{folder / FILE_NAME}, split {name}"
    if name not in entries:
        raise SceneError(
            f"{folder / FILE_NAME} has no split {name!r}; choose from {', '.join(entries)}."
        )
    entry = entries[name]
    return Split(
        context=_indices(entry, "context", where),
        targets=_indices(entry, "targets", where),
        near=_bound(entry, "near", where),
        far=_bound(entry, "far", where),
        depth_eval=_indices(entry, "depth_eval", where),
    )


def _read(folder: Path) -> list[dict[str, Any]]:
    source = folder / FILE_NAME
    if not source.is_file():
        raise SceneError(f"{source} does not exist; name context and target frames instead.")
    try:
        entries = json.loads(source.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(
            f"{source} is not readable JSON ({error}); write the file again."
        ) from error
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        raise SceneError(f"{source} is not a list of objects with a name; write it as one.")
    return entries


def _indices(entry: dict[str, Any], key: str, where: str) -> tuple[int, ...]:
    values = entry.get(key, [])
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise SceneError(f"{where}: {key} is {values!r}; write a list of frame numbers.")
    return tuple(values)


def _bound(entry: dict[str, Any], key: str, where: str) -> float | None:
    return None if entry.get(key) is None else checks.number(entry[key], key, where, above=0.0)
