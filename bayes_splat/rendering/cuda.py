"""The GPU engine: gsplat's kernels for its own cutoff, the reference's algorithm for ours."""

from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bayes_splat.rendering import cuda_gsplat, pair_statistics, reference
from bayes_splat.rendering.non_finite import require_choice
from bayes_splat.rendering.pair_statistics import OpacityStatistics
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


@dataclass(frozen=True)
class CUDARenderer:
    """Rasteriser for NVIDIA GPUs; differentiable in all fields of the Gaussians, not in cameras.

    The target never changes silently. With ``cutoff="alpha"`` gsplat draws, batched over chains and
    views. gsplat cannot draw the ``falloff`` cutoff: there the reference's list of pixel-Gaussian
    pairs is built and composited on the GPU, which is slower and takes memory in proportion to the
    pairs.

    Works in float32 on ``device``; inputs of other precisions and on other devices are converted
    and moved, and so are pictures and gradients. Sums are added with atomics, so that, unlike on a
    CPU, the last bits may differ from run to run.

    Attributes:
        settings: semantics of the picture.
        device: where to draw.

    Raises:
        ConfigError: no GPU, no kernels of gsplat, or settings that they do not have.
    """

    settings: RenderSettings = field(default_factory=RenderSettings)
    device: str = "cuda"

    def __post_init__(self) -> None:
        cuda_gsplat.require_supported(self.settings)
        cuda_gsplat.load_kernels()

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
        non_finite: str = "raise",
    ) -> Rendering:
        """See :meth:`Renderer.render`.

        Args:
            non_finite: ``raise``, or ``nan``: chains with a Gaussian that is not finite, or too
                large for float32, get NaN pictures and zero gradients.

        Raises:
            ValueError: a Gaussian is not finite (names the field and the first bad index) or too
                large, unless ``non_finite`` is ``nan``; or ``non_finite`` is neither.
        """
        require_choice(non_finite)
        home, dtype = gaussians.means.device, gaussians.means.dtype
        scene, cameras = self._here(gaussians), self._moved(cameras)
        chains, views, size = len(scene.means), len(cameras), len(scene)
        if sort_depths is not None:
            sort_depths = sort_depths.detach().to(self.device).expand(chains, views, size)
        if pixels is not None:
            pixels = _checked(pixels, views, cameras.image_shape).to(self.device).expand(chains, -1)
        bad = ~_is_finite(scene)
        if bool(bad.any()):
            if non_finite == "raise":
                reference.require_finite(scene)
            scene = _without(scene, bad)
        large = self._too_large(scene, cameras)
        if large is not None:
            if non_finite == "raise":
                _complain_of_size(large, scene)
            large = large.flatten(1).any(1)
            scene, bad = _without(scene, large), bad | large
        is_gsplat = self.settings.cutoff == "alpha" and chains * views > 0
        draw = cuda_gsplat.render if is_gsplat else reference.render
        pictures = draw(scene, cameras, self.settings, sort_depths=sort_depths, pixels=pixels)
        if bool(bad.any()):
            pictures = Rendering(*(torch.where(_like(bad, p), torch.nan, p) for p in pictures))
        return Rendering(*(p.to(home, dtype) for p in pictures))

    @torch.no_grad()
    def opacity_statistics(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        residuals: Float[Tensor, "chain view height width 3"],
        weights: Float[Tensor, "chain view height width"],
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        means: bool = False,
    ) -> OpacityStatistics:
        """Weighted sums over all pixels of all views, for every Gaussian, in one pass over pairs.

        Args and Raises: as of :func:`pair_statistics.measure`; ``means`` asks for the diagonal of
        the means, too.
        """
        found = pair_statistics.measure(
            self._here(gaussians),
            self._moved(cameras),
            self.settings,
            residuals.to(self.device, torch.float32),
            weights.to(self.device, torch.float32),
            sort_depths=None if sort_depths is None else sort_depths.to(self.device),
        )
        device = gaussians.means.device
        of_means = found.means.to(device) if means and found.means is not None else None
        return OpacityStatistics(found.curvature.to(device), found.slope.to(device), of_means)

    def _here(self, gaussians: Gaussians) -> Gaussians:
        return gaussians.to(torch.float32).to(torch.device(self.device))

    def _moved(self, cameras: Cameras) -> Cameras:
        here = cameras.to(torch.float32).to(torch.device(self.device))
        # gsplat's gradients of cameras mix chains.
        return replace(
            here, extrinsics=here.extrinsics.detach(), intrinsics=here.intrinsics.detach()
        )

    @torch.no_grad()
    def _too_large(
        self, scene: Gaussians, cameras: Cameras
    ) -> Bool[Tensor, "chain view gaussian"] | None:
        """Gaussians whose ellipse float32 cannot hold; None where there are none."""
        if not scene.scales.numel() or not len(cameras):
            return None
        # A standard deviation is at most this many pixels long, however near and far aside.
        matrices = cameras.intrinsics[:, :2].abs().sum((1, 2)).max()
        pixels = matrices + 2.0 * sum(cameras.image_shape)
        if bool(scene.scales.abs().max() * pixels < _FAR_FROM_OVERFLOW * self.settings.near_plane):
            return None
        projection = project(scene, cameras, self.settings)
        fits = torch.isfinite(projection.determinants2d)
        if self.settings.cutoff == "alpha":  # gsplat multiplies the variances
            xx, _, yy = projection.covariances2d
            fits &= torch.isfinite(xx * yy)
        return None if bool(fits.all()) else ~fits


_FAR_FROM_OVERFLOW = 1e8
"""Pixels whose fourth power float32 still holds with ease."""


def _is_finite(gaussians: Gaussians) -> Bool[Tensor, " chain"]:
    numbers = [getattr(gaussians, f.name).detach().flatten(1) for f in fields(gaussians)]
    return torch.stack([torch.isfinite(n).all(1) for n in numbers]).all(0)


def _without(gaussians: Gaussians, bad: Bool[Tensor, " chain"]) -> Gaussians:
    """With something transparent in place of the bad chains, to which no gradient flows."""
    neutral = {"scales": 1.0, "rotations": 0.5}
    named = {f.name: getattr(gaussians, f.name) for f in fields(gaussians)}
    return Gaussians(
        **{n: torch.where(_like(bad, v), neutral.get(n, 0.0), v) for n, v in named.items()}
    )


def _like(bad: Bool[Tensor, " chain"], values: Tensor) -> Tensor:
    return bad.reshape(-1, *(1 for _ in values.shape[1:]))


def _complain_of_size(large: Bool[Tensor, "chain view gaussian"], scene: Gaussians) -> None:
    chain, view, gaussian = torch.nonzero(large)[0].tolist()
    scales = scene.scales[chain, gaussian].tolist()
    raise ValueError(
        f"Gaussians.scales[{chain}, {gaussian}] is {scales}; "
        f"in view {view} it is too large for {scene.scales.dtype}"
    )


def _checked(pixels: Tensor, views: int, image_shape: tuple[int, int]) -> Tensor:
    """On a GPU an index out of range would end the process."""
    number = views * image_shape[0] * image_shape[1]
    if pixels.numel():
        low, high = (int(end) for end in pixels.aminmax())
        if low < 0 or high >= number:
            raise ValueError(
                f"pixels holds indices from {low} to {high}; they must lie in 0..{number - 1}"
            )
    return pixels
