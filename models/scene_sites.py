"""Sites of a scene that only some models sample: everything but depths and opacities."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from bayes_splat.types import Gaussians


class SceneSites(NamedTuple):
    """Their values, with a leading chain axis; None where the model does not sample them.

    Attributes:
        harmonics: colours, in place of the proposal's.
        present: 1 where a slot holds a Gaussian, 0 where it is empty and shows nothing.
    """

    harmonics: Float[Tensor, "chain gaussian 3 d_sh"] | None = None
    present: Float[Tensor, "chain gaussian"] | None = None

    @staticmethod
    def of(sites: Mapping[str, Tensor]) -> "SceneSites":
        """Those among values of sites [chain, ...], or [...] of a single chain."""
        harmonics = sites.get("harmonics")
        if harmonics is not None:
            harmonics = harmonics.reshape(-1, *harmonics.shape[-3:])
        present = sites.get("present")
        if present is not None:
            present = present.reshape(-1, present.shape[-1])
        return SceneSites(harmonics, present)

    def fill(self, scene: Gaussians) -> Gaussians:
        """A scene [row, ...] with these values in place, in its own precision.

        Rows may be several a chain (candidates of a move); those of a chain lie side by side.
        """
        if self.harmonics is not None:
            scene = replace(scene, harmonics=_rows_of(self.harmonics, scene.harmonics))
        if self.present is not None:
            shown = scene.opacities * _rows_of(self.present, scene.opacities)
            scene = replace(scene, opacities=shown)
        return scene


def _rows_of(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).repeat_interleave(len(like) // len(values), dim=0)


NAMES = SceneSites._fields
