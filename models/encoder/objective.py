"""What pixelSplat's encoder is trained for: pictures of its Gaussians from other views.

Depths are drawn from the bucket distributions, and a drawn Gaussian's opacity is the probability of
its bucket: that is how gradients reach the distribution (Charatan et al. 2024, section 4.3).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayes_splat.models.encoder import border, propose
from bayes_splat.models.encoder.architecture import EncoderSizes
from bayes_splat.models.photometric import Perceptual, photometric_loss
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.scenes.examples import Example


@dataclass(frozen=True)
class PixelSplatObjective:
    """An ``Objective`` of ``training``.

    Attributes:
        renderer: differentiable.
        weight: of the loss.
        perceptual, perceptual_weight: see ``photometric_loss``.
        is_half: bfloat16 in all but geometry.
    """

    renderer: Renderer
    weight: float = 1.0
    perceptual: Perceptual | None = None
    perceptual_weight: float = 0.0
    is_half: bool = False

    def __call__(
        self, model: nn.Module, example: Example, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one example; depths are drawn with the generator."""
        inner: Any = getattr(model, "module", model)  # several GPUs wrap it
        sizes: EncoderSizes = inner.sizes
        context, frame = border.to_context(example.context, sizes.patch_multiple)
        _, views, _, height, width = context.images.shape
        uniforms = torch.rand(
            1, views, height * width, sizes.gaussians_per_pixel, generator=generator
        )
        output = model(context, uniforms.to(context.images), half=self.is_half)
        scene = propose.to_gaussians(propose.Encoded(context, frame, output), example.context)
        loss, figures = photometric_loss(
            scene, example.targets, self.renderer, self.perceptual, self.perceptual_weight
        )
        return self.weight * loss, figures
