"""The one interface to all rasterisers, the settings they share, and the choice among them."""

from collections.abc import Callable
from contextlib import suppress
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
    """Draws Gaussians of all chains in all cameras at once, differentiable in every field.

    The engines say which gradients of the cameras they give; one that they do not give is an error.
    """

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
        non_finite: str = "raise",
    ) -> Rendering:
        """Composite front to back.

        Args:
            gaussians: with a leading chain axis (one scene a chain).
            cameras: all of one image shape.
            sort_depths: keys that order the Gaussians in every camera, near first, ties by index;
                None sorts by the camera z of the centres, as viewers do.
            pixels: flat indices into (view, height, width), a row a chain: only these are rendered,
                at proportional cost. None renders every pixel.
            non_finite: ``raise``, or ``nan``: a chain with a Gaussian that is not finite, or too
                large for its number type, gets NaN pictures and zero gradients, and the other
                chains are drawn as if nothing had happened.

        Returns:
            A rendering with axes (chain, view, height, width), or (chain, pixel) for chosen pixels.

        Raises:
            ValueError: a Gaussian is not finite (names the field and the first bad index) or too
                large, unless ``non_finite`` is ``nan``; or ``non_finite`` is neither.
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
        non_finite: str = "raise",
    ) -> Rendering:
        """See :meth:`Renderer.render`."""
        return reference.render(
            gaussians,
            cameras,
            self.settings,
            sort_depths=sort_depths,
            pixels=pixels,
            non_finite=non_finite,
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
        non_finite: str = "raise",
    ) -> Rendering:
        """See :meth:`Renderer.render`."""
        rendering = self.renderer.render(
            gaussians, cameras, sort_depths=sort_depths, pixels=pixels, non_finite=non_finite
        )
        height, width = cameras.image_shape
        pictures = rendering.alphas.numel() / (height * width)
        self.count.forward += pictures
        if torch.is_grad_enabled() and rendering.colors.requires_grad:
            self.count.differentiable += pictures
        return rendering


def _cpu(settings: RenderSettings) -> Renderer:
    from bayes_splat.rendering.cpu import CPURenderer  # late: loading numba takes a second

    return CPURenderer(settings)


def _cuda(settings: RenderSettings) -> Renderer:
    from bayes_splat.rendering.cuda import CUDARenderer  # late: gsplat may have to be built

    return CUDARenderer(settings)


def _auto(settings: RenderSettings) -> Renderer:
    if settings.cutoff == "alpha" and torch.cuda.is_available():
        with suppress(ConfigError):  # a GPU without gsplat's kernels
            return _cuda(settings)
    return _cpu(settings)


_ENGINES: dict[str, Callable[[RenderSettings], Renderer]] = {
    "auto": _auto,
    "cpu": _cpu,
    "cuda": _cuda,
    "reference": ReferenceRenderer,
}


def make_renderer(name: str = "auto", settings: RenderSettings | None = None) -> Renderer:
    """The renderer of that name; ``auto`` picks one that draws the same target fast.

    That is the GPU where there is one, gsplat's kernels load and the cutoff is gsplat's own,
    ``alpha``; else the compiled CPU engine. In particular the default cutoff, ``falloff``, goes to
    the CPU engine everywhere: gsplat cannot draw it, and ``renderer=cuda`` then runs the algorithm
    of the reference on the GPU, which has not been measured to be faster.

    Raises:
        ConfigError: for a name that does not exist; for ``cuda`` without a GPU or gsplat's kernels.
    """
    if name not in _ENGINES:
        raise ConfigError(f"renderer={name} does not exist; choose one of {', '.join(_ENGINES)}")
    return _ENGINES[name](settings or RenderSettings())
