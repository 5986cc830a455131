"""Scenes in the format of nerfstudio and instant-ngp: a folder with ``transforms.json``.

Poses in the file are camera-to-world with OpenGL axes (x right, y up, z backward); ``_camera``
turns them to OpenCV, and nothing else in the library knows of OpenGL. World coordinates and units
are those of the file. Format: https://docs.nerf.studio/quickstart/data_conventions.html
"""

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import pi, tan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.errors import SceneError
from bayes_splat.scenes import checks, crop, images
from bayes_splat.types import Cameras, Views

FILE_NAME = "transforms.json"
_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV")  # OPENCV without its distortion
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


@dataclass(frozen=True)
class _Frame:
    """One entry of ``frames``: where it stands (for messages), its files, pose and lens."""

    where: str
    image_path: Path
    depth_path: Path | None
    extrinsics: Float[Tensor, "4 4"]
    lens: Mapping[str, Any]


def num_frames(folder: Path) -> int:
    """How many frames the file lists; no image is opened."""
    return len(_read(folder)["frames"])


def poses(folder: Path) -> dict[int, Float[Tensor, "4 4"]]:
    """Camera-to-world poses (OpenCV axes) by frame, without opening an image.

    Frames with something amiss are left out: whoever asks for one of them is told by ``load``.
    """
    table, found = _read(folder), {}
    for index in range(len(table["frames"])):
        with suppress(SceneError):
            found[index] = _frame(folder, table, index).extrinsics
    return found


def load(
    folder: Path,
    frames: Sequence[int] | None,
    *,
    resolution: int | None,
    near: float | None = None,
    far: float | None = None,
) -> Views:
    """Read frames of a scene, in the order asked.

    Args:
        folder: holds ``transforms.json`` and the images it names.
        frames: positions in the file's list of frames; None for all.
        resolution: pixels on the long side after resizing (more than stored enlarges the picture,
            which adds no detail); None keeps the stored size.
        near, far: range of camera z in scene units; None takes the file's top-level values.

    Returns:
        Images and cameras in float32. ``depths`` come from the frame's ``depth_file_path`` if that
        is ``.npy``, else from ``depth/<image stem>.npy`` if that exists: camera z in scene units,
        unknown where not finite or not positive.

    Raises:
        SceneError: the file, an asked frame or one of its images cannot be used.
        ConfigError: ``resolution`` below 8 pixels.
    """
    checks.resolution(resolution)
    table = _read(folder)
    source = str(folder / FILE_NAME)
    indices = checks.frame_indices(frames, len(table["frames"]), source)
    given = "" if near is None and far is None else f" with near={near}, far={far} given"
    near, far = checks.depth_range(
        table.get("near") if near is None else near,
        table.get("far") if far is None else far,
        source + given,
    )
    chosen = [_frame(folder, table, index) for index in indices]
    _check_distinct(chosen)
    photos, lenses = _photographs(chosen, resolution)
    image_shape = (photos.shape[-2], photos.shape[-1])
    cameras = Cameras(
        extrinsics=torch.stack([frame.extrinsics for frame in chosen]).float(),
        intrinsics=lenses.float(),
        near=torch.full((len(chosen),), near),
        far=torch.full((len(chosen),), far),
        image_shape=image_shape,
    )
    stems = [frame.image_path.stem for frame in chosen]
    if len(set(stems)) < len(stems):
        stems = [f"{index}_{stem}" for index, stem in zip(indices, stems, strict=True)]
    return Views(cameras, photos, tuple(stems), _depths(chosen, image_shape))


def _read(folder: Path) -> dict[str, Any]:
    """The file's table, with a list of frames that is not empty."""
    source = folder / FILE_NAME
    if not folder.is_dir():
        raise SceneError(f"{folder} is not a folder; give the folder that holds {FILE_NAME}.")
    if not source.is_file():
        raise SceneError(
            f"{folder} holds no {FILE_NAME}; give a folder with {FILE_NAME} and its images."
        )
    try:
        table = json.loads(source.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SceneError(
            f"{source} is not readable JSON ({error}); write the file again."
        ) from error
    if not isinstance(table, dict):
        raise SceneError(f"{source} holds a {type(table).__name__}; it must be a JSON object.")
    frames = table.get("frames")
    if not isinstance(frames, list) or not frames:
        raise SceneError(f"{source} has no frames; list the photographs under 'frames'.")
    return table


def _frame(folder: Path, table: dict[str, Any], index: int) -> _Frame:
    """Check everything about one frame that needs no pixels."""
    entry = table["frames"][index]
    where = f"{folder / FILE_NAME}, frame {index}"
    if not isinstance(entry, dict):
        raise SceneError(f"{where}: the entry is {entry!r}; it must be a JSON object.")
    for key in ("file_path", "transform_matrix"):
        if key not in entry:
            raise SceneError(f"{where} has no {key}; add it or leave the frame out.")
    file_path = entry["file_path"]
    if not isinstance(file_path, str) or not file_path:
        raise SceneError(f"{where}: file_path is {file_path!r}; write the name of an image.")
    where += f" ({file_path})"
    lens = ChainMap(entry, table)
    _check_pinhole(lens, where)
    pose = checks.rigid_pose(entry["transform_matrix"], where)
    pose[:3, 1:3] *= -1  # OpenGL to OpenCV: y and z of the camera point the other way
    image_path = _find_image(folder, file_path, where)
    depth_path = _find_depth(folder, entry.get("depth_file_path"), image_path, where)
    return _Frame(where, image_path, depth_path, pose, lens)


def _check_pinhole(lens: Mapping[str, Any], where: str) -> None:
    model = lens.get("camera_model", "PINHOLE")
    remedy = "undistort the photographs first (COLMAP's image_undistorter does)."
    if model not in _PINHOLE_MODELS or lens.get("is_fisheye"):
        model = model if model not in _PINHOLE_MODELS else "fisheye"
        raise SceneError(f"{where}: the camera model is {model}, not a pinhole; {remedy}")
    for key in _DISTORTION:
        if lens.get(key, 0) != 0:
            raise SceneError(f"{where}: the lens is distorted ({key} = {lens[key]}); {remedy}")


def _find_image(folder: Path, file_path: str, where: str) -> Path:
    """The image named, with or without its extension."""
    path = folder / file_path
    candidates = [path.with_name(path.name + e) for e in _EXTENSIONS]
    candidates += [path.with_name(path.name + e.upper()) for e in _EXTENSIONS]
    for candidate in (path, *candidates):
        if candidate.is_file():
            return candidate
    raise SceneError(
        f"{where}: the image {path} does not exist (nor with an extension such as .png or .jpg); "
        "restore it or correct file_path."
    )


def _find_depth(folder: Path, named: Any, image_path: Path, where: str) -> Path | None:
    if isinstance(named, str) and named.endswith(".npy"):
        if not (folder / named).is_file():
            raise SceneError(
                f"{where}: the depth map {folder / named} does not exist; restore it or remove "
                "depth_file_path."
            )
        return folder / named
    default = folder / "depth" / f"{image_path.stem}.npy"
    return default if default.is_file() else None


def _check_distinct(frames: Sequence[_Frame]) -> None:
    seen: dict[Path, _Frame] = {}
    for frame in frames:
        if frame.image_path in seen:
            raise SceneError(
                f"{frame.where}: the same image as {seen[frame.image_path].where}; ask for one of "
                "the two."
            )
        seen[frame.image_path] = frame


def _photographs(
    frames: Sequence[_Frame], resolution: int | None
) -> tuple[Float[Tensor, "view 3 height width"], Float[Tensor, "view 3 3"]]:
    """Images of one common shape, with intrinsics (float64) to match."""
    photos: list[Tensor] = []
    lenses: list[Tensor] = []
    first_shape = (0, 0)
    for frame in frames:
        image = images.load_image(frame.image_path, _declared_shape(frame))
        stored = (image.shape[-2], image.shape[-1])
        if not photos:
            first_shape = stored
        _check_shapes(frames[0], first_shape, frame, stored, resolution)
        image_shape = crop.fit_shape(first_shape, resolution)
        photo, lens = crop.resize(image, _intrinsics(frame, stored), image_shape)
        photos.append(photo)
        lenses.append(lens)
    return torch.stack(photos), torch.stack(lenses)


def _check_shapes(
    first: _Frame,
    first_shape: tuple[int, int],
    frame: _Frame,
    shape: tuple[int, int],
    resolution: int | None,
) -> None:
    """All frames must fit one shape: exactly if nothing is resized, else in aspect."""
    fits = crop.is_same_aspect(first_shape, shape) if resolution else first_shape == shape
    if fits:
        return
    is_scaled = crop.is_same_aspect(first_shape, shape)
    remedy = "give resolution=" if is_scaled else "crop the photographs or choose other frames"
    raise SceneError(
        f"{frame.where} is {shape[1]}x{shape[0]} pixels but {first.where} is "
        f"{first_shape[1]}x{first_shape[0]}, and all frames must share one shape; {remedy}."
    )


def _declared_shape(frame: _Frame) -> tuple[int, int] | None:
    """(height, width) that the intrinsics are for; None where the file does not say."""
    if "w" not in frame.lens and "h" not in frame.lens:
        return None
    sides = []
    for key in ("h", "w"):
        if key not in frame.lens:
            raise SceneError(f"{frame.where} gives only one of w and h; give both.")
        side = checks.number(frame.lens[key], key, frame.where, above=0.0)
        if side != int(side):
            raise SceneError(f"{frame.where}: {key} is {side}; give a whole number of pixels.")
        sides.append(int(side))
    return sides[0], sides[1]


def _intrinsics(frame: _Frame, stored: tuple[int, int]) -> Float[Tensor, "3 3"]:
    """Intrinsics in pixels of the image as stored, float64."""
    height, width = declared = _declared_shape(frame) or stored
    if not crop.is_same_aspect(declared, stored):
        raise SceneError(
            f"{frame.where}: the image is {stored[1]}x{stored[0]} pixels but w x h is "
            f"{width}x{height}, which is not the same picture scaled; correct w and h or use the "
            "image that the camera belongs to."
        )
    fx = _focal(frame, "fl_x", "camera_angle_x", width)
    if fx is None:
        raise SceneError(
            f"{frame.where} has no focal length; give fl_x (pixels) or camera_angle_x (radians)."
        )
    fy = _focal(frame, "fl_y", "camera_angle_y", height)
    cx = checks.number(frame.lens.get("cx", width / 2), "cx", frame.where)
    cy = checks.number(frame.lens.get("cy", height / 2), "cy", frame.where)
    matrix = torch.tensor(
        [[fx, 0, cx], [0, fx if fy is None else fy, cy], [0, 0, 1]], dtype=torch.float64
    )
    return crop.scale_intrinsics(matrix, declared, stored)


def _focal(frame: _Frame, key: str, angle_key: str, side: int) -> float | None:
    """Focal length in pixels, given as such or as the full angle of view (radians)."""
    if key in frame.lens:
        return checks.number(frame.lens[key], key, frame.where, above=0.0)
    if angle_key not in frame.lens:
        return None
    angle = checks.number(frame.lens[angle_key], angle_key, frame.where, above=0.0)
    if angle >= pi:
        raise SceneError(
            f"{frame.where}: {angle_key} is {angle}; an angle of view in radians is below pi."
        )
    return side / (2 * tan(angle / 2))


def _depths(
    frames: Sequence[_Frame], image_shape: tuple[int, int]
) -> Float[Tensor, "view height width"] | None:
    """Depth maps where files exist, NaN for the other views; None if there are none at all."""
    if all(frame.depth_path is None for frame in frames):
        return None
    unknown = torch.full(image_shape, torch.nan)
    return torch.stack(
        [
            unknown if frame.depth_path is None else _depth(frame.depth_path, image_shape)
            for frame in frames
        ]
    )


def _depth(path: Path, image_shape: tuple[int, int]) -> Float[Tensor, "height width"]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SceneError(
            f"{path} is not a readable depth map ({error}); save it again with numpy.save."
        ) from error
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise SceneError(
            f"{path} holds {values.dtype} of shape {values.shape}; a depth map has two axes, "
            "height and width, and numbers."
        )
    depth = torch.from_numpy(values.astype(np.float32))
    # The image's shape is rounded already, which adds to the half pixel that rounding may cost.
    if not crop.is_same_aspect((depth.shape[0], depth.shape[1]), image_shape, tolerance=1.0):
        raise SceneError(
            f"{path} is {values.shape[1]}x{values.shape[0]} pixels, which does not fit the aspect "
            "of its image; make the depth map from that image."
        )
    known = depth.isfinite() & (depth > 0)
    return crop.resize_depths(depth.masked_fill(~known, torch.nan), image_shape)
