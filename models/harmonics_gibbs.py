"""Exact draws of colours, one Gaussian after another.

Front-to-back compositing is linear in the colours: C = A + w c with w = o G T, c = 0.5 + Y h. So
under Normal noise and a Normal prior the coefficients h of a Gaussian are Normal given all else,
channel by channel. The mathematics and the kernel are those of ``rendering.cpu_color_sweep``.
"""

import math
from dataclasses import dataclass

import torch

from bayes_splat.models import blocks, colors
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel


@dataclass(frozen=True)
class HarmonicsGibbs:
    """Draws the ``harmonics`` of all Gaussians, of any degree, from their full conditionals.

    Works on lists of weights, compiled, whatever the renderer: results are those of its pictures to
    float32 rounding. Every Gaussian is visited once a step, in the order of their numbers.

    Attributes:
        model: must sample colours and render them without a clip, with the falloff cutoff.

    Raises:
        ValueError: colours are fixed; the model renders with another cutoff or clips colours, or it
            is not known how it renders.
    """

    model: SplatModel
    name: str = "harmonics"

    def __post_init__(self) -> None:
        block = type(self).__name__
        if self.model.config.colors != "sampled":
            raise ValueError(f"{block} needs colours to sample; use ModelConfig(colors='sampled')")
        settings = blocks.falloff_settings(self.model, block)
        if settings.least_color != -math.inf:
            raise ValueError(
                f"{block} needs pictures that are linear in the colours, but the model renders with"
                f" least_color={settings.least_color}; use colors.render_settings(model.config)"
            )

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """One exact draw of every Gaussian's colour in every chain."""
        from bayes_splat.rendering import cpu_color_sweep  # late: loading numba takes a second

        model, to = self.model.given(position), blocks.coordinates(self.model)
        depth, opacity = to.depth(position["depth"]), to.opacity(position["opacity"])
        noise = blocks.noise_per_view(model, to.noise_scale(position["noise_scale"]))
        # Pictures are taken over the background; coefficients are drawn as they stand there.
        shift = model.background_harmonics.double()
        harmonics, cameras = position["harmonics"] - shift, model.views.cameras
        drawn = cpu_color_sweep.sweep_colors(
            model.gaussians(depth, opacity),
            cameras,
            blocks.falloff_settings(model, type(self).__name__),
            harmonics=harmonics,
            sort_depths=model.sort_depths(depth, cameras),
            observed=blocks.photographed(model),
            precisions=1.0 / noise**2,
            prior_mean=model.proposal.harmonics.double() - shift,
            prior_scales=colors.prior_scales(harmonics.shape[-1], model.config.color_scale),
            normals=blocks.normals(generators, *harmonics.shape[1:]),
            threads=blocks.any_threads(model),
        )
        rate = torch.ones(len(depth), dtype=torch.float64)
        return {**position, "harmonics": drawn + shift}, None, blocks.block_info(rate)
