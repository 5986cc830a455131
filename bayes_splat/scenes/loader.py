"""The one interface behind which every scene format stands, and the choice among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from bayes_splat.errors import SceneError
from bayes_splat.scenes import transforms_json
from bayes_splat.types import Views


@runtime_checkable
class Loader(Protocol):
    """What a format offers. A module with these functions is one."""

    def num_frames(self, folder: Path) -> int:
        """How many frames the scene has, without opening an image."""
        ...

    def poses(self, folder: Path) -> dict[int, Float[Tensor, "4 4"]]:
        """Camera-to-world poses (OpenCV axes) of the usable frames, without opening an image."""
        ...

    def load(
        self,
        folder: Path,
        frames: Sequence[int] | None,
        *,
        resolution: int | None,
        near: float | None = None,
        far: float | None = None,
    ) -> Views:
        """Read the frames asked (None: all), in that order, all of one shape."""
        ...


_LOADERS: dict[str, Loader] = {transforms_json.FILE_NAME: transforms_json}
"""What a scene of each format holds -> who reads it, the first found wins."""


def find(folder: Path) -> Loader:
    """The loader for what ``folder`` holds.

    Raises:
        SceneError: there is no such folder, or nothing in it that a loader knows.
    """
    if not folder.is_dir():
        raise SceneError(f"{folder} is not a folder; give the folder of a scene.")
    for name, loader in _LOADERS.items():
        if (folder / name).exists():
            return loader
    raise SceneError(f"{folder} holds no scene; it must contain {' or '.join(_LOADERS)}.")


def num_frames(folder: Path) -> int:
    """How many frames the scene has, without opening an image. Raises SceneError as ``find``."""
    return find(folder).num_frames(folder)


def poses(folder: Path) -> dict[int, Float[Tensor, "4 4"]]:
    """Camera-to-world poses (OpenCV axes) of the usable frames. Raises SceneError as ``find``."""
    return find(folder).poses(folder)


def load(
    folder: Path,
    frames: Sequence[int] | None = None,
    *,
    resolution: int | None = None,
    near: float | None = None,
    far: float | None = None,
) -> Views:
    """Read frames of a scene in whatever format ``folder`` holds.

    Args:
        folder: the scene.
        frames: positions in the scene's list of frames (None: all); the order is kept.
        resolution: pixels on the long side after resizing; None keeps the stored size.
        near, far: range of camera z in scene units; None takes the scene's own.

    Raises:
        SceneError: the scene cannot be used.
        ConfigError: ``resolution`` is out of its range.
    """
    return find(folder).load(folder, frames, resolution=resolution, near=near, far=far)
