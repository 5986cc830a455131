"""Real spherical harmonics in the 3DGS convention, to degree 4.

Order within a band l is m = -l..l with the signs that 3DGS viewers and gsplat use (band 1 is
proportional to -y, z, -x), so that coefficients go into a PLY unchanged. The polynomials are the
real harmonics of Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), written from their
definition through associated Legendre functions.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 4


def degree_of(d_sh: int) -> int:
    """Degree L with (L + 1)^2 coefficients.

    Raises:
        ValueError: if ``d_sh`` is not 1, 4, 9, 16 or 25.
    """
    degree = math.isqrt(d_sh) - 1
    if (degree + 1) ** 2 != d_sh or not 0 <= degree <= MAX_DEGREE:
        raise ValueError(f"d_sh is {d_sh}; spherical harmonics have 1, 4, 9, 16 or 25 coefficients")
    return degree


@cache
def _normalisation(band: int, order: int) -> float:
    ratio = math.factorial(band - order) / math.factorial(band + order)
    scale = math.sqrt((2 * band + 1) / (4 * math.pi) * ratio)
    return scale if order == 0 else math.sqrt(2.0) * scale


def evaluate(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch d_sh"]:
    """Values of all harmonics up to ``degree`` in unit directions.

    Args:
        degree: 0 to 4.
        directions: unit vectors from the camera centre to the Gaussian, world axes.
    """
    x, y, z = directions.unbind(-1)
    # sin^m(theta) times cos(m phi) and sin(m phi): real and imaginary parts of (x + iy)^m.
    cosines, sines = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        cosines, sines = (
            [*cosines, cosines[-1] * x - sines[-1] * y],
            [*sines, sines[-1] * x + cosines[-1] * y],
        )
    legendre = _legendre_over_sine(degree, z)
    values = []
    for band in range(degree + 1):
        for order in range(-band, band + 1):
            m = abs(order)
            angular = sines[m] if order < 0 else cosines[m]
            values.append(_normalisation(band, m) * legendre[band, m] * angular)
    return torch.stack(values, dim=-1)


def _legendre_over_sine(degree: int, z: Tensor) -> dict[tuple[int, int], Tensor]:
    """Associated Legendre P_l^m(z) / sin^m(theta), Condon-Shortley phase included."""
    table = {(0, 0): torch.ones_like(z)}
    for m in range(1, degree + 1):
        table[m, m] = -(2 * m - 1) * table[m - 1, m - 1]
    for m in range(degree):
        table[m + 1, m] = (2 * m + 1) * z * table[m, m]
    for m in range(degree + 1):
        for band in range(m + 2, degree + 1):
            upper = (2 * band - 1) * z * table[band - 1, m] - (band + m - 1) * table[band - 2, m]
            table[band, m] = upper / (band - m)
    return table


def to_colors(
    harmonics: Float[Tensor, "*#batch 3 d_sh"],
    directions: Float[Tensor, "*#batch 3"],
    least: float = 0.0,
) -> Float[Tensor, "*#batch 3"]:
    """Colours seen along unit directions: 0.5 + sum_k c_k Y_k, clipped at 0 as gsplat does.

    ``least`` is where they are clipped; at -inf they are linear in the coefficients.
    """
    basis = evaluate(degree_of(harmonics.shape[-1]), directions)
    return (0.5 + (harmonics * basis[..., None, :]).sum(-1)).clamp_min(least)


ZEROTH = 0.5 / math.sqrt(math.pi)
"""Y_0, the constant harmonic: a plain colour is ``0.5 + ZEROTH * harmonics[..., 0]``."""


def plain_colors(
    harmonics: Float[Tensor, "*batch 3 1"], least: float = 0.0
) -> Float[Tensor, "*batch 3"]:
    """Colours of degree 0, the same from every side; see :func:`to_colors`."""
    return (0.5 + ZEROTH * harmonics[..., 0]).clamp_min(least)


def from_colors(colors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 1"]:
    """Degree-0 coefficients that show ``colors`` from every side."""
    return ((colors - 0.5) / ZEROTH)[..., None]
