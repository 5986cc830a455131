"""Photographs scaled and cut as pixelSplat does it before training and testing."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor


def rescale_and_crop(
    image: UInt8[np.ndarray, "height width 3"],
    intrinsics: Float[Tensor, "3 3"],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 3"]]:
    """The largest middle part of a photograph with the aspect of ``image_shape``, scaled to it.

    Scaled by Pillow's Lanczos filter in 8 bits, then cut; odd pixels go to the right and below.

    Args:
        image: as stored.
        intrinsics: in its pixels.
        image_shape: (height, width) wanted.

    Returns:
        The picture in [0, 1], float32, and its intrinsics in pixels. The principal point moves with
        the cut, by half a pixel more than in the official code where an odd number is cut off.
    """
    (height, width), (new_height, new_width) = image.shape[:2], image_shape
    factor = max(new_height / height, new_width / width)
    scaled_height, scaled_width = round(height * factor), round(width * factor)
    if (scaled_height, scaled_width) != (height, width):
        scaled = Image.fromarray(image).resize(
            (scaled_width, scaled_height), Image.Resampling.LANCZOS
        )
        image = np.asarray(scaled)
    top, left = (scaled_height - new_height) // 2, (scaled_width - new_width) // 2
    part = image[top : top + new_height, left : left + new_width].astype(np.float32) / 255
    moved = intrinsics * intrinsics.new_tensor(
        [[scaled_width / width], [scaled_height / height], [1.0]]
    )
    moved[0, 2] -= left
    moved[1, 2] -= top
    return torch.from_numpy(part).movedim(-1, 0).contiguous(), moved
