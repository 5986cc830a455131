"""One photograph from a file to a tensor in [0, 1], whatever its bit depth and channels."""

import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from bayes_splat.errors import SceneError
from bayes_splat.scenes import crop

_EXIF_ORIENTATION = 0x0112
_UNREADABLE = (
    OSError,
    SyntaxError,  # what Pillow raises for a broken PNG
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def load_image(
    path: Path, image_shape: tuple[int, int] | None = None
) -> Float[Tensor, "3 height width"]:
    """Read a photograph as float32 RGB in [0, 1].

    Integers are divided by the largest value of their type (255, 65535); floating-point files must
    already lie in [0, 1]. A single channel is repeated three times. Transparency is composited over
    black. Pillow reads 16 bits in single-channel files only; of colour it keeps the upper 8 bits.

    Args:
        path: PNG, JPEG, TIFF or whatever else Pillow reads; the first picture of a file with many.
        image_shape: (height, width) that the cameras were made for. The EXIF orientation is applied
            only where it takes a picture of another aspect to this one (at any scale): most camera
            files describe the pixels as stored.

    Raises:
        SceneError: the file is missing, unreadable or truncated, or its values have no known range.
    """
    if not path.is_file():
        raise SceneError(f"{path} does not exist; restore the image or correct its file_path.")
    try:
        with Image.open(path) as stored:
            stored.load()
            image = _upright(stored, image_shape)
            values = _values(image, path)
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines()
        raise SceneError(
            f"{path} cannot be read as an image ({reason[0] if reason else 'unknown reason'}); "
            "save it again as PNG, JPEG or TIFF."
        ) from error
    tensor = torch.from_numpy(values)
    if tensor.ndim == 2:
        return tensor.expand(3, -1, -1).contiguous()
    return tensor.permute(2, 0, 1).contiguous()


def _upright(image: Image.Image, image_shape: tuple[int, int] | None) -> Image.Image:
    """The picture turned by its EXIF orientation if only then it has the wanted aspect."""
    if image_shape is None or image.getexif().get(_EXIF_ORIENTATION, 1) == 1:
        return image
    shape = (image.height, image.width)
    turned = ImageOps.exif_transpose(image)
    turned_shape = (turned.height, turned.width)
    if crop.is_same_aspect(shape, image_shape) or not crop.is_same_aspect(
        turned_shape, image_shape
    ):
        return image
    return turned


def _values(image: Image.Image, path: Path) -> np.ndarray:
    """[height width] or [height width 3] float32 in [0, 1]."""
    if image.mode.startswith("I"):  # I;16 and its byte orders, or I: 32 bits holding 16
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise SceneError(
                f"{path} holds integers from {values.min()} to {values.max()}, beyond 16 bits; "
                "rescale it to 0..65535."
            )
        return (values / 65535).astype(np.float32)
    if image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        if not (values.min() >= 0 and values.max() <= 1):  # also false where NaN
            raise SceneError(
                f"{path} holds floating-point values from {values.min():g} to {values.max():g}; "
                "rescale them to lie in [0, 1]."
            )
        return values
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L")).astype(np.float32) / 255
    if image.has_transparency_data:
        colors = np.asarray(image.convert("RGBA")).astype(np.float32) / 255
        return colors[..., :3] * colors[..., 3:]
    return np.asarray(image.convert("RGB")).astype(np.float32) / 255
