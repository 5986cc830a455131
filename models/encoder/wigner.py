"""Rotation of spherical-harmonics coefficients in the basis of the weights, that of e3nn.

The basis are real harmonics without the Condon-Shortley phase whose polar axis is y: with
(X, Y, Z) = (z, x, y) they are the ordinary ones of (X, Y, Z), so that band 1 is (x, y, z).
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import harmonics

_NUM_DIRECTIONS = 128


def basis(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch d_sh"]:
    """All harmonics up to a degree in unit directions."""
    values = harmonics.evaluate(degree, directions.roll(1, dims=-1))
    phase = [(-1.0) ** abs(m) for band in range(degree + 1) for m in range(-band, band + 1)]
    return values * torch.tensor(phase).to(values)


def rotation_of_band(
    band: int, rotations: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch order order"]:
    """D with Y(R d) = D Y(d) for the harmonics Y of one band.

    Solved from fixed directions, of which there are more than unknowns; exact to rounding for
    any rotation, unlike routes over Euler angles.
    """
    directions, inverse = _fixed_directions(band)
    directions, inverse = directions.to(rotations.device), inverse.to(rotations.device)
    turned = torch.einsum("...ij,nj->...ni", rotations.double(), directions)
    values = basis(band, turned)[..., band**2 :]
    return torch.einsum("...na,bn->...ab", values, inverse).to(rotations.dtype)


@cache
def _fixed_directions(band: int) -> tuple[Tensor, Tensor]:
    """Directions, and the pseudo-inverse of the band's values there."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(_NUM_DIRECTIONS, 3, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    return directions, torch.linalg.pinv(basis(band, directions)[:, band**2 :])


def rotate(
    coefficients: Float[Tensor, "*#batch d_sh"], rotations: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch d_sh"]:
    """Coefficients with every band multiplied by its D."""
    degree = harmonics.degree_of(coefficients.shape[-1])
    bands = [
        torch.einsum(
            "...ab,...b->...a",
            rotation_of_band(band, rotations),
            coefficients[..., band**2 : (band + 1) ** 2],
        )
        for band in range(degree + 1)
    ]
    return torch.cat(bands, dim=-1)
