"""The records that every room shares, with their axes, units and conventions fixed once.

Cameras follow OpenCV (x right, y down, z forward); ``extrinsics`` are camera-to-world;
``intrinsics`` are in pixels with the centre of the top-left pixel at (0.5, 0.5); quaternions are
wxyz; colours lie in [0, 1]; depth is camera z in scene units unless a name says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras that share one image shape.

    Attributes:
        extrinsics: camera-to-world, OpenCV axes, scene units.
        intrinsics: pixels.
        near, far: the range of camera z in which surfaces are looked for, scene units.
        image_shape: (height, width) in pixels.
    """

    extrinsics: Float[Tensor, "view 4 4"]
    intrinsics: Float[Tensor, "view 3 3"]
    near: Float[Tensor, " view"]
    far: Float[Tensor, " view"]
    image_shape: tuple[int, int]

    def __len__(self) -> int:
        return self.extrinsics.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int]) -> "Cameras":
        keep = [index] if isinstance(index, int) else index
        return replace(self, **{f: getattr(self, f)[keep] for f in _CAMERA_TENSORS})

    def to(self, target: torch.dtype | torch.device) -> "Cameras":
        """The same cameras with tensors of another dtype or on another device."""
        return replace(self, **{f: getattr(self, f).to(target) for f in _CAMERA_TENSORS})


_CAMERA_TENSORS = ("extrinsics", "intrinsics", "near", "far")


@dataclass(frozen=True)
class Views:
    """Photographs with their cameras.

    Attributes:
        cameras: one camera a photograph.
        images: in [0, 1]; a single-channel photograph is repeated over the three channels.
        names: a short name a view, for file names and plots.
        depths: true camera z in scene units, NaN where unknown; None where no view has any.
    """

    cameras: Cameras
    images: Float[Tensor, "view 3 height width"]
    names: tuple[str, ...]
    depths: Float[Tensor, "view height width"] | None = None

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: int | slice | Sequence[int]) -> "Views":
        keep = [index] if isinstance(index, int) else index
        numbers = range(len(self))[keep] if isinstance(keep, slice) else keep
        return Views(
            cameras=self.cameras[keep],
            images=self.images[keep],
            names=tuple(self.names[i] for i in numbers),
            depths=None if self.depths is None else self.depths[keep],
        )


def together(first: Views, second: Views) -> Views:
    """Views of both, which have one image shape; depths where both have them."""
    one, other = first.cameras, second.cameras
    cameras = Cameras(
        extrinsics=torch.cat([one.extrinsics, other.extrinsics]),
        intrinsics=torch.cat([one.intrinsics, other.intrinsics]),
        near=torch.cat([one.near, other.near]),
        far=torch.cat([one.far, other.far]),
        image_shape=one.image_shape,
    )
    depths = None
    if first.depths is not None and second.depths is not None:
        depths = torch.cat([first.depths, second.depths])
    images = torch.cat([first.images, second.images])
    return Views(cameras, images, (*first.names, *second.names), depths)


@dataclass(frozen=True)
class Gaussians:
    """A scene, or one scene a chain: any leading axes, then the Gaussians.

    Attributes:
        means: world coordinates.
        scales: standard deviations along the Gaussian's own axes, scene units, positive.
        rotations: unit quaternions wxyz, own axes to world.
        opacities: in (0, 1).
        harmonics: spherical-harmonics coefficients; colour = 0.5 + sum_k harmonics_k Y_k(view).
    """

    means: Float[Tensor, "*chain gaussian 3"]
    scales: Float[Tensor, "*chain gaussian 3"]
    rotations: Float[Tensor, "*chain gaussian 4"]
    opacities: Float[Tensor, "*chain gaussian"]
    harmonics: Float[Tensor, "*chain gaussian 3 d_sh"]

    def __len__(self) -> int:
        return self.opacities.shape[-1]

    def to(self, target: torch.dtype | torch.device) -> "Gaussians":
        """The same Gaussians with tensors of another dtype or on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(target) for f in fields(self)})


class Rendering(NamedTuple):
    """Pictures of Gaussians, one a (chain, view), over all pixels or over chosen ones.

    Attributes:
        colors: composited over black.
        depths: expected camera z of what was hit (alpha-normalised), scene units; 0 for nothing.
        alphas: accumulated opacity in [0, 1].
    """

    colors: Float[Tensor, "chain *pixel 3"]
    depths: Float[Tensor, "chain *pixel"]
    alphas: Float[Tensor, "chain *pixel"]
