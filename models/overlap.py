"""Views that see nothing in common tell no depth."""

from collections.abc import Sequence

from jaxtyping import Bool
from torch import Tensor

from bayes_splat.errors import ModelError

LEAST = 0.05
"""Share of a view's rays that some other view must see."""


def require_overlap(
    seen: Sequence[Bool[Tensor, "height width"]], names: Sequence[str], least: float = LEAST
) -> None:
    """Refuse views of which one stands alone.

    Args:
        seen: for every view, which pixels' rays fall into another picture at some depth.
        names: of the views.
        least: share of its rays that another must see.

    Raises:
        ModelError: naming the view and its share.
    """
    for rays, name in zip(seen, names, strict=True):
        share = float(rays.double().mean())
        if share < least:
            raise ModelError(
                f"context view {name!r} shares only {share:.0%} of its rays with the other context "
                f"views (at least {least:.0%} needed); choose views that overlap, or check "
                "the poses and near/far"
            )
