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
    """

    harmonics: Float[Tensor, "chain gaussian 3 d_sh"] | None = None

    @staticmethod
    def of(sites: Mapping[str, Tensor]) -> "SceneSites":
        """Those among values of sites [chain, ...], or [...] of a single chain."""
        harmonics = sites.get("harmonics")
        if harmonics is not None:
            harmonics = harmonics.reshape(-1, *harmonics.shape[-3:])
        return SceneSites(harmonics)

    def fill(self, scene: Gaussians) -> Gaussians:
        """A scene [row, ...] with these values in place, in its own precision.

        Rows may be several a chain (candidates of a move); those of a chain lie side by side.
        """
        if self.harmonics is None:
            return scene
        rows = len(scene.opacities) // len(self.harmonics)
        harmonics = self.harmonics.to(scene.harmonics.dtype).repeat_interleave(rows, dim=0)
        return replace(scene, harmonics=harmonics)


NAMES = SceneSites._fields
