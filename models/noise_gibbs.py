"""Exact draws of the noise scale: InverseGamma is conjugate to the variance of Normal noise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models import blocks, likelihood
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering import squared_errors


@dataclass(frozen=True)
class NoiseGibbs:
    """Draws ``noise_scale`` from its full conditional.

    Given the residuals r of n observed colours, noise_scale^2 is
    InverseGamma(a + n / 2, b + sum(r^2) / 2); n and the sum run over all views for a global scale
    and over each view for one a view.
    """

    model: SplatModel
    name: str = "noise_scale"

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """One exact draw in every chain."""
        to = blocks.coordinates(self.model)
        squares = squared_residuals(
            self.model, to.depth(position["depth"]), to.opacity(position["opacity"])
        )
        if self.model.config.noise == "global":
            squares = squares.sum(-1, keepdim=True)
        count = 3 * self.model.num_pixels / squares.shape[-1]
        concentration, rate = self.model.config.noise_prior
        gamma = torch.stack(
            [
                torch._standard_gamma(torch.full_like(row, concentration + 0.5 * count), generator)
                for row, generator in zip(squares, generators, strict=True)
            ]
        )
        noise_scale = torch.sqrt((rate + 0.5 * squares) / gamma)
        moved = noise_scale.reshape(position["noise_scale"].shape)
        accepted = torch.ones(len(moved), dtype=torch.float64)
        return (
            {**position, "noise_scale": to.noise_scale.inv(moved)},
            None,
            blocks.block_info(accepted),
        )


def squared_residuals(
    model: SplatModel,
    depth: Float[Tensor, "chain gaussian"],
    opacity: Float[Tensor, "chain gaussian"],
) -> Float[Tensor, "chain view"]:
    """Sum of squared colour differences to every context photograph, float64."""
    sums = likelihood.cell_sums(
        model.pictures(depth, opacity), model.photographs(), squared_errors.STRIP
    )
    return sums.sum(-1).sum(-1)
