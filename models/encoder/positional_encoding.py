"""Numbers as waves of doubling frequency (Mildenhall et al. 2020, equation 4)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def positional_encoding(
    values: Float[Tensor, "*batch dim"], num_octaves: int
) -> Float[Tensor, "*batch wave"]:
    """sin and cos of 2 pi 2^f x for every number and octave f = 0, 1, ...

    The cosine is a sine shifted by pi / 2, as in the code that trained the weights: the highest
    waves make rounding visible, so the order of operations is part of the function.

    Args:
        values: of order one.
        num_octaves: frequencies a number.

    Returns:
        ``2 * dim * num_octaves`` waves, ordered (dim, octave, phase).
    """
    octave = torch.arange(num_octaves, dtype=values.dtype, device=values.device)
    frequency = 2.0 * math.pi * 2.0**octave
    phase = torch.tensor([0.0, 0.5 * math.pi], dtype=values.dtype, device=values.device)
    angles = (values[..., None] * frequency)[..., None] + phase
    return angles.sin().flatten(-3)
