"""Chunks of RealEstate10K and ACID as pixelSplat distributes them: ``train/000000.torch`` and on.

A chunk is what ``torch.save`` makes of a list of scenes, each a dictionary: ``key``, ``cameras``
[frame 18] and ``images``, the bytes of a JPEG a frame. ``index.json`` beside the chunks tells for
every key the chunk that holds it. Nothing in a file is ever executed.
"""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from bayes_splat.errors import SceneError

INDEX = "index.json"
_NUMBERS = 18  # a camera: fx fy cx cy 0 0 and 3 rows of 4
_AGAIN = "fetch or convert the file again"
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class Entry(NamedTuple):
    """One scene of a chunk.

    Attributes:
        where: file, number and key, for messages.
        key: the scene.
        cameras: normalised fx, fy, cx, cy, two zeros, and the world-to-camera matrix, row by row.
        images: a JPEG a frame.
    """

    where: str
    key: str
    cameras: Float[Tensor, "frame 18"]
    images: list[UInt8[Tensor, " byte"]]

    def __len__(self) -> int:
        return len(self.images)


def read_index(folder: Path) -> dict[str, Path]:
    """Which chunk holds a scene: key -> file.

    Args:
        folder: of one stage, such as ``re10k/test``.

    Raises:
        SceneError: ``index.json`` is missing, or no table of file names.
    """
    source = folder / INDEX
    table = read_json(source, f"give the folder that holds train/ and test/, each with {INDEX}")
    for key, name in table.items():
        if not isinstance(name, str):
            raise SceneError(f"{source}: {key} is {name!r}; write the name of its chunk.")
    return {key: folder / name for key, name in table.items()}


def read_json(source: Path, remedy: str) -> dict[str, Any]:
    """A JSON object, or SceneError; the remedy is for a file that is not there."""
    if not source.is_file():
        raise SceneError(f"{source} does not exist; {remedy}.")
    try:
        table = json.loads(source.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(f"{source} is not readable JSON ({error}); fetch it again.") from error
    if not isinstance(table, dict):
        raise SceneError(
            f"{source} is not a JSON object of scenes; fetch it again or write it as one."
        )
    return table


def read_chunk(path: Path) -> list[Entry]:
    """All scenes of a chunk, images still encoded.

    Raises:
        SceneError: the file is missing or unreadable, or an entry is not as described above.
    """
    if not path.is_file():
        raise SceneError(f"{path} does not exist though {INDEX} names it; {_AGAIN}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zip and pickle raise nearly anything on broken bytes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SceneError(f"{path} cannot be read as a chunk ({reason[0][:120]}); {_AGAIN}.") from (
            error
        )
    if not isinstance(content, list):
        raise SceneError(
            f"{path} holds no list of scenes but a {type(content).__name__}; {_AGAIN}."
        )
    return [_entry(value, f"{path}, entry {number}") for number, value in enumerate(content)]


def decode(entry: Entry, frame: int) -> UInt8[np.ndarray, "height width 3"]:
    """One photograph.

    Raises:
        SceneError: the bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(entry.images[frame].numpy().tobytes())) as stored:
            return np.asarray(stored.convert("RGB"))
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or ["unknown reason"])[0]
        raise SceneError(
            f"{entry.where}: frame {frame} is no readable picture ({reason}); {_AGAIN}, or take "
            "the scene out."
        ) from error


def _entry(value: Any, where: str) -> Entry:
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        raise SceneError(f"{where} is no scene with a key; {_AGAIN}.")
    where = f"{where} ({value['key']})"
    cameras, images = value.get("cameras"), value.get("images")
    if not isinstance(cameras, Tensor) or cameras.ndim != 2 or cameras.shape[1] != _NUMBERS:
        shape = tuple(cameras.shape) if isinstance(cameras, Tensor) else cameras
        raise SceneError(f"{where}: cameras is {shape}, not {_NUMBERS} numbers a frame; {_AGAIN}.")
    if not isinstance(images, list) or not all(_is_bytes(image) for image in images):
        raise SceneError(f"{where}: images is no list of encoded pictures (uint8); {_AGAIN}.")
    if len(images) != len(cameras):
        raise SceneError(f"{where} has {len(images)} images but {len(cameras)} cameras; {_AGAIN}.")
    return Entry(where, value["key"], cameras.float(), images)


def _is_bytes(image: object) -> bool:
    return isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim == 1
