"""Colours as the official renderer shows them, in our harmonics.

The renderer that trained the weights evaluates bands 0 to 3 in a basis that is e3nn's at
(-x, y, -z), with z where y is meant in coefficient 14. The flip does not commute with the rotation
that the encoder applies, so its "rotated" coefficients are no rotation of what is seen. The weights
have learned all this. Every function of that basis is a polynomial of degree 3 in the direction, so
our harmonics can show the very same colours.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat import harmonics
from bayes_splat.models.encoder import wigner

_RENDERED = 16  # coefficients of bands 0 to 3; the renderer ignores band 4
_DEGREE = 3
_FLAWED = 14
_NUM_DIRECTIONS = 256


def basis(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 16"]:
    """Values of the official renderer's harmonics in unit directions."""
    flipped = directions * torch.tensor([-1.0, 1.0, -1.0]).to(directions)
    values = wigner.basis(_DEGREE, flipped).clone()
    x, _, z = directions.unbind(-1)
    values[..., _FLAWED] = _flawed_constant() * z * (z * z - x * x)
    return values


@cache
def _flawed_constant() -> float:
    """The factor of y (z^2 - x^2) in harmonic 14."""
    direction = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    x, y, z = direction.tolist()
    value = wigner.basis(_DEGREE, direction * torch.tensor([-1.0, 1.0, -1.0]).double())[_FLAWED]
    constant: float = float(value) / (y * (z * z - x * x))
    return constant


def to_ours(
    coefficients: Float[Tensor, "*batch d_sh"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "*batch d_ours"]:
    """Coefficients that show the same colours in our basis and world.

    Args:
        coefficients: official, of degree 0 to 4.
        rotation: from the encoder's world axes to ours.

    Returns:
        1, 4, 9 or 16 coefficients.
    """
    used = min(coefficients.shape[-1], _RENDERED)
    # The flaw mixes band 3 with band 1, so all bands are fitted together.
    change = _change_of_basis(rotation.double().cpu())[:used, :used]
    return coefficients[..., :used] @ change.to(coefficients)


def _change_of_basis(rotation: Tensor) -> Float[Tensor, "16 16"]:
    """C with (official basis at R^T d) = C (our basis at d)."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(_NUM_DIRECTIONS, 3, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    ours = harmonics.evaluate(_DEGREE, directions)
    theirs = basis(directions @ rotation)
    found: Tensor = torch.linalg.lstsq(ours, theirs).solution
    return found.mT
