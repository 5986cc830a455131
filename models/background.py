"""A colour behind all Gaussians, b: pictures are C + T b, T the light that gets through.

Compositing is linear in the colours and the weights of all Gaussians and T sum to one, so that

    C + T b = b + sum of weight * (colour - b).

What is composited, and compared with photographs, are colours *over* the background, less b: the
renderer's own pictures then stay over black, and every exact move holds as it is. Without a
background (None) all of this is the identity, to the bit.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.harmonics import ZEROTH
from bayes_splat.types import Rendering


def over(
    colors: Float[Tensor, "*picture 3"], background: Float[Tensor, " 3"] | None
) -> Float[Tensor, "*picture 3"]:
    """What colours have over the background."""
    return colors if background is None else colors - background.to(colors)


def harmonics(
    background: Float[Tensor, " 3"] | None, like: Float[Tensor, "gaussian 3 d_sh"]
) -> Float[Tensor, "3 d_sh"]:
    """What the background takes off the coefficients of every Gaussian: the same from all sides.

    Args:
        background: colour.
        like: coefficients that it is taken off, for their degree and type.
    """
    taken = torch.zeros_like(like[0])
    if background is not None:
        taken[:, 0] = background.to(taken) / ZEROTH
    return taken


def put_behind(rendering: Rendering, background: Float[Tensor, " 3"] | None) -> Rendering:
    """Pictures with their own colours, of pictures that are over the background."""
    if background is None:
        return rendering
    return rendering._replace(colors=rendering.colors + background.to(rendering.colors))
