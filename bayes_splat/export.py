"""Gaussians as the PLY file that 3D Gaussian Splatting viewers open.

The layout is that of Kerbl et al. 2023 (3D Gaussian Splatting for Real-Time Radiance Field
Rendering). One vertex a Gaussian, float32, binary little endian: x y z, normals of zero,
f_dc_0..2 (degree 0), f_rest_* (higher degrees: all of red, then green, then blue), opacity as a
logit, scale_0..2 as natural logarithms, rot_0..3 as a unit quaternion wxyz from own axes to world.
Viewers and ``Gaussians`` agree on colour = 0.5 + sum_k harmonics_k Y_k, so coefficients are written
unchanged.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from bayes_splat.errors import OutputError, SceneError
from bayes_splat.files import atomic_path
from bayes_splat.types import Gaussians

_OPACITY_MARGIN = 1e-6
"""Opacities are kept this far from 0 and 1, where the logit is infinite."""


def write_ply(path: Path | str, gaussians: Gaussians) -> None:
    """Write one scene; the file appears complete or not at all.

    Args:
        path: the file; missing folders are made.
        gaussians: without chain axis. Quaternions are normalised, opacities kept 1e-6 away from 0
            and 1.

    Raises:
        ValueError: there is a leading chain axis.
        OutputError: a Gaussian is not finite (or has a scale that is not positive, an opacity
            outside [0, 1], a zero quaternion), or the file cannot be written.
    """
    if gaussians.opacities.ndim != 1:
        raise ValueError(
            f"write_ply takes one scene, but the opacities have shape "
            f"{tuple(gaussians.opacities.shape)}; choose one chain"
        )
    columns = _columns(gaussians)
    values = torch.cat(list(columns.values()), dim=1)
    broken = (~values.isfinite()).any(dim=1).nonzero()
    if len(broken) > 0:
        index = int(broken[0])
        names = [name for name, column in columns.items() if not column[index].isfinite().all()]
        raise OutputError(
            f"{path}: Gaussian {index} has no finite {names[0]}; leave such Gaussians out (they "
            "point to a diverged chain)."
        )
    labels = _labels(gaussians.harmonics.shape[-1])
    vertices = np.empty(len(gaussians), dtype=[(label, "<f4") for label in labels])
    for label, column in zip(labels, values.T.numpy(), strict=True):
        vertices[label] = column
    ply = PlyData([PlyElement.describe(vertices, "vertex")], text=False, byte_order="<")
    with atomic_path(path) as partial, partial.open("wb") as stream:
        ply.write(stream)


def read_ply(path: Path | str) -> Gaussians:
    """Read what ``write_ply`` or a 3D Gaussian Splatting trainer wrote, as float32.

    Raises:
        SceneError: the file is missing, not a PLY file, or lacks a column.
    """
    try:
        vertices = PlyData.read(str(path))["vertex"]
    except (OSError, PlyParseError, KeyError, ValueError) as error:
        raise SceneError(
            f"{path} is not a readable PLY file ({error}); export it again."
        ) from error
    present = {column.name for column in vertices.properties}
    num_rest = sum(name.startswith("f_rest_") for name in present)
    labels = _labels(1 + num_rest // 3)
    missing = [label for label in labels if label not in present and label not in _NORMALS]
    if missing or num_rest % 3:
        raise SceneError(
            f"{path} lacks the column {missing[0] if missing else f'f_rest_{num_rest}'}; give a "
            "file in the 3D Gaussian Splatting layout."
        )

    def take(*names: str) -> Tensor:
        picked = [np.asarray(vertices[name]).astype(np.float32) for name in names]
        return torch.from_numpy(np.stack(picked, axis=-1))

    rest = [label for label in labels if label.startswith("f_rest_")]
    harmonics = take("f_dc_0", "f_dc_1", "f_dc_2")[..., None]
    if rest:
        higher = take(*rest).reshape(len(harmonics), 3, -1)
        harmonics = torch.cat([harmonics, higher], dim=-1)
    return Gaussians(
        means=take("x", "y", "z"),
        scales=take("scale_0", "scale_1", "scale_2").exp(),
        rotations=torch.nn.functional.normalize(take("rot_0", "rot_1", "rot_2", "rot_3"), dim=-1),
        opacities=take("opacity")[:, 0].sigmoid(),
        harmonics=harmonics,
    )


_NORMALS = ("nx", "ny", "nz")


def _labels(d_sh: int) -> list[str]:
    """Column names in the order of the file."""
    return [
        *("x", "y", "z"),
        *_NORMALS,
        *(f"f_dc_{channel}" for channel in range(3)),
        *(f"f_rest_{number}" for number in range(3 * (d_sh - 1))),
        "opacity",
        *(f"scale_{axis}" for axis in range(3)),
        *(f"rot_{part}" for part in range(4)),
    ]


def _columns(gaussians: Gaussians) -> dict[str, Float[Tensor, "gaussian column"]]:
    """What goes into the file in its order; not finite wherever a Gaussian makes no sense.

    The transforms run in float64, then everything is rounded to float32 once.
    """
    one = gaussians.to(torch.device("cpu")).to(torch.float64)
    opacities = one.opacities.where((one.opacities >= 0) & (one.opacities <= 1), torch.nan)
    columns = {
        "mean": one.means,
        "normal": torch.zeros_like(one.means),
        "harmonics of degree 0": one.harmonics[..., 0],
        "harmonics": one.harmonics[..., 1:].flatten(1),
        "opacity": opacities.clamp(_OPACITY_MARGIN, 1 - _OPACITY_MARGIN).logit()[:, None],
        "log scale": one.scales.log(),
        "rotation": one.rotations / one.rotations.norm(dim=-1, keepdim=True),
    }
    return {name: column.detach().float() for name, column in columns.items()}
