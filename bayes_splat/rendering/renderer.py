"""The one interface to all rasterisers, the settings they share, and the choice among them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat.errors import ConfigError
from bayes_splat.rendering import reference
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


class Renderer(Protocol):
    """Draws Gaussians of all chains in all cameras at once, differentiable in every field."""

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Rendering:
        """Composite front to back.

        Args:
            gaussians: with a leading chain axis (one scene a chain).
            cameras: all of one image shape.
            sort_depths: keys that order the Gaussians in every camera, near first, ties by index;
                None sorts by the camera z of the centres, as viewers do.
            pixels: flat indices into (view, height, width), a row a chain: only these are rendered,
                at proportional cost. None renders every pixel.

        Returns:
            A rendering with axes (chain, view, height, width), or (chain, pixel) for chosen pixels.
        """
        ...


@dataclass(frozen=True)
class ReferenceRenderer:
    """Plain vectorised PyTorch, float32 or float64: the specification of the faster engines."""

    settings: RenderSettings = field(default_factory=RenderSettings)

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Rendering:
        """See :meth:`Renderer.render`."""
        return reference.render(
            gaussians, cameras, self.settings, sort_depths=sort_depths, pixels=pixels
        )


@dataclass
class RenderCount:
    """How many pictures were drawn: one is one chain, one view, all of its pixels.

    Attributes:
        forward: pictures, counting chosen pixels by their share.
        differentiable: how many of them were drawn for a gradient.
    """

    forward: float = 0.0
    differentiable: float = 0.0


@dataclass(frozen=True)
class CountingRenderer:
    """Any renderer, with its pictures counted in ``count``."""

    renderer: Renderer
    count: RenderCount = field(default_factory=RenderCount)

    @property
    def settings(self) -> RenderSettings | None:
        """Those of the renderer inside, None where it has none."""
        return getattr(self.renderer, "settings", None)

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Rendering:
        """See :meth:`Renderer.render`."""
        rendering = self.renderer.render(gaussians, cameras, sort_depths=sort_depths, pixels=pixels)
        height, width = cameras.image_shape
        pictures = rendering.alphas.numel() / (height * width)
        self.count.forward += pictures
        if torch.is_grad_enabled() and rendering.colors.requires_grad:
            self.count.differentiable += pictures
        return rendering


def _cpu(settings: RenderSettings) -> Renderer:
    from bayes_splat.rendering.cpu import CPURenderer  # late: loading numba takes a second

    return CPURenderer(settings)


_ENGINES: dict[str, Callable[[RenderSettings], Renderer]] = {
    "auto": _cpu,
    "cpu": _cpu,
    "reference": ReferenceRenderer,
}


def make_renderer(name: str = "auto", settings: RenderSettings | None = None) -> Renderer:
    """The renderer of that name; ``auto`` picks the fastest one this machine can run.

    Raises:
        ConfigError: for a name that does not exist.
    """
    if name not in _ENGINES:
        raise ConfigError(f"renderer={name} does not exist; choose one of {', '.join(_ENGINES)}")
    return _ENGINES[name](settings or RenderSettings())
