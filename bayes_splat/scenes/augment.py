"""Changes of a scene's photographs and cameras that keep every depth true.

Mirror images and a swap of the axes turn the world with the picture; crops move the principal
point; colours change as lenses, lamps and cameras change them; near and far are guessed anew.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bayes_splat.types import Cameras, Views

Change: TypeAlias = Callable[[Tensor], Tensor]


def mirrored(views: Views) -> Views:
    """Left and right exchanged, in the pictures and in the world."""
    cameras = views.cameras
    lens = cameras.intrinsics.clone()
    lens[:, 0, 2] = cameras.image_shape[1] - lens[:, 0, 2]
    lens[:, 0, 1] = -lens[:, 0, 1]
    flip = torch.tensor([-1.0, 1.0, 1.0, 1.0], dtype=cameras.extrinsics.dtype)
    poses = flip[:, None] * cameras.extrinsics * flip
    return _remade(views, replace(cameras, extrinsics=poses, intrinsics=lens), lambda x: x.flip(-1))


def transposed(views: Views) -> Views:
    """Rows and columns exchanged, x and y of the world likewise; pixels must have no skew."""
    cameras = views.cameras
    order, lens_order = [1, 0, 2, 3], [1, 0, 2]
    height, width = cameras.image_shape
    turned = replace(
        cameras,
        extrinsics=cameras.extrinsics[:, order][:, :, order],
        intrinsics=cameras.intrinsics[:, lens_order][:, :, lens_order],
        image_shape=(width, height),
    )
    return _remade(views, turned, lambda x: x.transpose(-1, -2).contiguous())


def cropped(views: Views, top: int, left: int, image_shape: tuple[int, int]) -> Views:
    """A window of every picture."""
    cameras = views.cameras
    height, width = image_shape
    lens = cameras.intrinsics.clone()
    lens[:, 0, 2] -= left
    lens[:, 1, 2] -= top
    return _remade(
        views,
        replace(cameras, intrinsics=lens, image_shape=image_shape),
        lambda x: x[..., top : top + height, left : left + width].contiguous(),
    )


def _remade(views: Views, cameras: Cameras, change: Change) -> Views:
    depths = None if views.depths is None else change(views.depths)
    return Views(cameras, change(views.images), views.names, depths)


def augmented(views: Views, generator: np.random.Generator) -> Views:
    """A random one of all these changes, of all views together.

    Args:
        views: with exact depths; the range of depths is found in them.
        generator: of every choice.
    """
    if generator.uniform() < 0.5:
        views = mirrored(views)
    if generator.uniform() < 0.25:
        views = transposed(views)
    height, width = views.cameras.image_shape
    if height * width > 48 * 48 and generator.uniform() < 0.7:
        shape = _shorter(height, generator), _shorter(width, generator)
        top = int(generator.integers(0, height - shape[0] + 1))
        left = int(generator.integers(0, width - shape[1] + 1))
        views = cropped(views, top, left, shape)
    if generator.uniform() < 0.5:
        views = _ranged(views, generator)
    return replace(views, images=_recolored(views.images, generator))


def _shorter(length: int, generator: np.random.Generator) -> int:
    """A side of at least 40 pixels, if there are so many; multiples of 8 are quick to learn on."""
    least = 40 // 8
    most = max(length // 8, least)
    return min(8 * int(generator.integers(least, most + 1)), length)


def _ranged(views: Views, generator: np.random.Generator) -> Views:
    """Another guess of near and far, mostly wider, common to all views."""
    assert views.depths is not None
    cameras = views.cameras
    near = float(views.depths.min()) * float(np.exp(-generator.exponential(0.3)) * 0.99)
    far = float(views.depths.max()) * float(np.exp(generator.exponential(0.5)) * 1.01)
    guess = replace(
        cameras, near=torch.full_like(cameras.near, near), far=torch.full_like(cameras.far, far)
    )
    return replace(views, cameras=guess)


def _recolored(
    images: Float[Tensor, "view 3 height width"], generator: np.random.Generator
) -> Float[Tensor, "view 3 height width"]:
    """Other paints, lamps, exposures, sharpness and noise."""
    if generator.uniform() < 0.5:  # the same for all views: tone curve and mixed channels
        images = images.clamp_min(1e-4) ** float(np.exp(generator.uniform(-0.7, 0.5)))
        mix = np.eye(3) + generator.normal(size=(3, 3)) * 0.15
        mix /= mix.sum(1, keepdims=True)
        images = torch.einsum("ij,vjhw->vihw", torch.from_numpy(mix).float(), images)
    if generator.uniform() < 0.1:
        images = images.mean(1, keepdim=True).expand_as(images)
    if generator.uniform() < 0.4:  # of every view by itself
        spread = 0.1 * generator.uniform()
        gains = (
            generator.normal(size=(len(images), 1)) + generator.normal(size=(len(images), 3)) / 3
        )
        images = images * torch.from_numpy(np.exp(spread * gains)).float()[..., None, None]
    if generator.uniform() < 0.2:
        images = _blurred(images, float(generator.uniform(0.05, 0.3)))
    if generator.uniform() < 0.3:
        noise = generator.standard_normal(images.shape, dtype=np.float32)
        images = images + float(generator.uniform(0, 0.03)) * torch.from_numpy(noise)
    return images.clamp(0, 1)


def _blurred(images: Tensor, share: float) -> Tensor:
    """Each pixel mixed with its neighbours."""
    line = torch.tensor([share / 2, 1 - share, share / 2])
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel, groups=3)
