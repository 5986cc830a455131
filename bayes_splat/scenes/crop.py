"""Resize and crop photographs, moving their intrinsics along.

Pixel centres lie at +0.5, so a picture of width w covers [0, w] and scaling it to w' maps the
coordinate u to u * w' / w: focal length and principal point scale alike, with no half-pixel terms.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def fit_shape(image_shape: tuple[int, int], resolution: int | None) -> tuple[int, int]:
    """The (height, width) with the same aspect whose long side has ``resolution`` pixels.

    None keeps the shape. The short side is rounded and at least one pixel.
    """
    if resolution is None:
        return image_shape
    scale = resolution / max(image_shape)
    height, width = (max(1, int(side * scale + 0.5)) for side in image_shape)
    return height, width


def is_same_aspect(shape: tuple[int, int], other: tuple[int, int], tolerance: float = 0.5) -> bool:
    """Whether one shape is the other scaled, up to ``tolerance`` pixels of the smaller one."""
    small, large = sorted((shape, other), key=max)
    scale = max(small) / max(large)
    return all(abs(a - b * scale) <= tolerance for a, b in zip(small, large, strict=True))


def scale_intrinsics(
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_shape: tuple[int, int],
    new_shape: tuple[int, int],
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics (pixels) of a picture of ``image_shape`` after scaling it to ``new_shape``."""
    (height, width), (new_height, new_width) = image_shape, new_shape
    rows = [[new_width / width], [new_height / height], [1.0]]
    return intrinsics * intrinsics.new_tensor(rows)


def resize(
    images: Float[Tensor, "*batch channel height width"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, "*batch channel h w"], Float[Tensor, "*batch 3 3"]]:
    """Scale pictures to ``image_shape`` (height, width) and their intrinsics with them.

    Antialiased bicubic in floating point, so 16-bit photographs keep their precision; the slight
    overshoot at edges is clamped to [0, 1]. The two axes may scale differently.
    """
    old_shape = (images.shape[-2], images.shape[-1])
    if old_shape == image_shape:
        return images, intrinsics
    flat = images.reshape(-1, *images.shape[-3:])
    small = functional.interpolate(
        flat, image_shape, mode="bicubic", antialias=True, align_corners=False
    )
    scaled = small.clamp(0, 1).reshape(*images.shape[:-2], *image_shape)
    return scaled, scale_intrinsics(intrinsics, old_shape, image_shape)


def resize_depths(
    depths: Float[Tensor, "*batch height width"], image_shape: tuple[int, int]
) -> Float[Tensor, "*batch h w"]:
    """Scale depth maps by picking the nearest pixel, so that no depth is ever averaged.

    Mixing would invent surfaces between foreground and background and spread NaN (unknown).
    """
    rows, columns = (
        (2 * torch.arange(new, device=depths.device) + 1) * old // (2 * new)  # centre: (i + 0.5)
        for old, new in zip(depths.shape[-2:], image_shape, strict=True)
    )
    return depths[..., rows[:, None], columns]


def crop(
    images: Float[Tensor, "*batch channel height width"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    corner: tuple[int, int],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, "*batch channel h w"], Float[Tensor, "*batch 3 3"]]:
    """Cut out ``image_shape`` pixels whose top-left pixel is ``corner`` = (row, column).

    Raises:
        ValueError: the cut does not lie inside the pictures.
    """
    (top, left), (height, width) = corner, image_shape
    full_height, full_width = images.shape[-2:]
    if min(top, left) < 0 or min(height, width) < 1:
        raise ValueError(f"cannot cut {image_shape} pixels at {corner}")
    if top + height > full_height or left + width > full_width:
        raise ValueError(
            f"a cut of {image_shape} pixels at {corner} leaves the picture of "
            f"{(full_height, full_width)} pixels"
        )
    moved = intrinsics.clone()
    moved[..., :2, 2] -= intrinsics.new_tensor([left, top])
    return images[..., top : top + height, left : left + width], moved


def center_crop(
    images: Float[Tensor, "*batch channel height width"],
    intrinsics: Float[Tensor, "*batch 3 3"],
    image_shape: tuple[int, int],
) -> tuple[Float[Tensor, "*batch channel h w"], Float[Tensor, "*batch 3 3"]]:
    """Cut ``image_shape`` pixels out of the middle (the odd pixel goes to the bottom and right)."""
    top = (images.shape[-2] - image_shape[0]) // 2
    left = (images.shape[-1] - image_shape[1]) // 2
    return crop(images, intrinsics, (top, left), image_shape)
