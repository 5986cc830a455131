"""What becomes of chains that hold numbers no picture can be drawn of: an error, or NaN pictures.

A chain's pictures do not depend on the other chains, so that a bad chain is simply left out: the
others keep their bits, its own gradients are exactly zero, and nothing is indexed by its numbers.
"""

from collections.abc import Callable
from dataclasses import fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.types import Cameras, Gaussians, Rendering

CHOICES = ("raise", "nan")

DrawChains = Callable[[Gaussians, Tensor | None, Tensor | None], Rendering]
"""From Gaussians, sort_depths and pixels of some chains to their pictures."""


def require_choice(non_finite: str) -> None:
    """Raises ValueError for anything that is not one of ``CHOICES``."""
    if non_finite not in CHOICES:
        raise ValueError(f"non_finite is {non_finite!r}; it must be one of {', '.join(CHOICES)}")


def draw_good_chains(
    draw: DrawChains,
    bad: Bool[Tensor, " chain"],
    gaussians: Gaussians,
    cameras: Cameras,
    sort_depths: Float[Tensor, "chain view gaussian"] | None,
    pixels: Int[Tensor, "chain pixel"] | None,
) -> Rendering:
    """Draw the chains that are not bad; the pictures of the others are NaN."""
    chains, size = gaussians.opacities.shape
    good = torch.nonzero(~bad).flatten()
    named = {f.name: getattr(gaussians, f.name).index_select(0, good) for f in fields(Gaussians)}
    if sort_depths is not None:
        sort_depths = sort_depths.expand(chains, len(cameras), size)[good]
    if pixels is not None:
        pixels = pixels.expand(chains, -1)[good]
    if not len(good):
        # Sums of nothing: zero, and their gradient is zero whatever comes back.
        nothing = torch.stack([values.sum() for values in named.values()]).sum()
        place = (len(cameras), *cameras.image_shape) if pixels is None else pixels.shape[1:]
        shapes = (chains, *place, 3), (chains, *place), (chains, *place)
        return Rendering(*(nothing.new_full(shape, torch.nan) + nothing for shape in shapes))
    drawn = draw(Gaussians(**named), sort_depths, pixels)
    return Rendering(
        *(p.new_full((chains, *p.shape[1:]), torch.nan).index_copy(0, good, p) for p in drawn)
    )
