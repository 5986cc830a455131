"""Exact draws of the probability that a slot holds a Gaussian: Beta is conjugate to the count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import biject_to

from bayes_splat.models import blocks
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel


@dataclass(frozen=True)
class InclusionGibbs:
    """Draws ``inclusion`` from its full conditional.

    With k of S slots holding a Gaussian it is Beta(a + k, b + S - k).

    Raises:
        ValueError: the number of Gaussians is fixed.
    """

    model: SplatModel
    name: str = "inclusion"

    def __post_init__(self) -> None:
        refuse_fixed(self.model, type(self).__name__)

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """One exact draw in every chain."""
        a, b = self.model.config.count_prior
        present = position["present"]
        count = (present > 0.5).sum(-1).double()
        shapes = torch.stack([a + count, b + present.shape[-1] - count], dim=-1)
        gamma = torch.stack(
            [
                torch._standard_gamma(row, generator)
                for row, generator in zip(shapes, generators, strict=True)
            ]
        )
        # A tiny shape's draw may be rounded to zero.
        gamma = gamma.clamp_min(torch.finfo(torch.float64).tiny)
        to = biject_to(self.model.inclusion_prior().support)
        inclusion = (gamma[:, 0] / gamma.sum(-1)).clamp(_LEAST, 1.0 - _LEAST)
        moved: Tensor = to.inv(inclusion)
        info = blocks.block_info(torch.ones(len(count), dtype=torch.float64))
        return {**position, "inclusion": moved}, None, info


_LEAST = torch.finfo(torch.float64).eps
"""How close an inclusion comes to 0 and 1."""


def refuse_fixed(model: SplatModel, block: str) -> None:
    """For blocks that change which slots hold a Gaussian.

    Raises:
        ValueError: all slots do.
    """
    if not model.is_variable:
        raise ValueError(
            f"{block} needs an unknown number of Gaussians; use ModelConfig(count='variable')"
        )


def starting_values(
    generators: Generators, num_slots: int, prior: Sequence[float]
) -> dict[str, Tensor]:
    """Where chains start: every slot of even chains holds a Gaussian, a random half of odd ones.

    ``inclusion`` starts at its mean given that.
    """
    present = (blocks.uniforms(generators, num_slots) < 0.5).double()
    present[::2] = 1.0
    a, b = prior
    return {"present": present, "inclusion": (a + present.sum(-1)) / (a + b + num_slots)}


def readable(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Site values with opacity 0 in empty slots, ``present`` as 0 or 1, and ``num_gaussians``."""
    present = values["present"]
    return {
        **values,
        "opacity": values["opacity"] * present,
        "present": present.to(torch.int8),
        "num_gaussians": present.sum(-1).long(),
    }
