"""The CPU engine: the reference's pictures and gradients, compiled, many times faster.

Numbers are float32 throughout. Every sum has one fixed order, so results are the same bits for any
number of threads.
"""

from dataclasses import dataclass, field, replace
from typing import NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat.rendering import cpu_engine, reference
from bayes_splat.rendering import non_finite as non_finite_chains
from bayes_splat.rendering.cpu_autograd import (
    draw_world,
    flat,
    is_plain,
    pixel_rows,
    sort_keys,
    to_single,
    world_of,
)
from bayes_splat.rendering.pair_statistics import OpacityStatistics, diagonal_of_means
from bayes_splat.rendering.projection import project
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering


@dataclass(frozen=True)
class CPURenderer:
    """Compiled rasteriser for CPUs; differentiable in all fields of the Gaussians and in the
    cameras' extrinsics, not in their intrinsics.

    Works in float32; inputs of another precision are converted, and so are the pictures.

    Attributes:
        settings: semantics of the picture.
        num_threads: None takes as many as PyTorch does. Results do not depend on it.
    """

    settings: RenderSettings = field(default_factory=RenderSettings)
    num_threads: int | None = None

    def render(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
        pixels: Int[Tensor, "chain pixel"] | None = None,
        non_finite: str = "raise",
    ) -> Rendering:
        """See :meth:`Renderer.render`; too large is what float32 cannot hold."""
        non_finite_chains.require_choice(non_finite)
        dtype, single = gaussians.means.dtype, to_single(gaussians)

        def draw(chosen: Gaussians, keys: Tensor | None, places: Tensor | None) -> Rendering:
            request = self._request(chosen, cameras, keys, places)
            return draw_world(
                world_of(chosen, cameras, self.settings), cameras, request, None, dtype
            )

        try:
            return draw(single, sort_depths, pixels)
        except cpu_engine.NotFiniteError as found:
            if non_finite == "raise":
                self._complain(single, cameras)
            bad = torch.from_numpy(found.chains)
        return non_finite_chains.draw_good_chains(draw, bad, single, cameras, sort_depths, pixels)

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
        """Weighted sums over all pixels of all views, for every Gaussian; without gradient.

        Args:
            residuals: what is to be explained, photograph minus rendering for a likelihood.
            weights: of the pixels; one over the noise variance for a likelihood.
            means: whether the diagonal for the means is wanted too.

        Raises:
            ValueError: as :meth:`render` does.
        """
        single = to_single(gaussians)
        request = self._request(single, cameras, sort_depths, None)
        world = flat(world_of(single, cameras, self.settings))
        try:
            drawn = cpu_engine.draw(world, single.means.shape[0], request)
        except cpu_engine.NotFiniteError:
            self._complain(single, cameras)
        return _statistics(drawn, request, single, cameras, residuals, weights, means)

    def prepare(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        *,
        sort_depths: Float[Tensor, "chain view gaussian"] | None = None,
    ) -> "PreparedScene":
        """Project, list and sort once, for many pictures that differ in opacities and colours.

        Raises:
            ValueError: as :meth:`render` does; with the alpha cutoff, where the pixels that a
                Gaussian touches depend on its opacity; or means, scales, rotations or extrinsics
                require a gradient, which a prepared scene cannot give.
        """
        if self.settings.cutoff != "falloff":
            raise ValueError(
                f"prepare() needs cutoff='falloff', not {self.settings.cutoff!r}: there the pixels "
                "that a Gaussian touches depend on its opacity, so that nothing can be kept; use "
                "render()"
            )
        geometry = gaussians.means, gaussians.scales, gaussians.rotations, cameras.extrinsics
        if torch.is_grad_enabled() and any(t.requires_grad for t in geometry):
            raise ValueError(
                "prepare() keeps means, scales, rotations and extrinsics as they are and gives "
                "them no gradient; detach() them, or use render()"
            )
        single = to_single(gaussians)
        request = self._request(single, cameras, sort_depths, None)
        try:
            splats = cpu_engine.prepare(
                flat(world_of(single, cameras, self.settings)),
                single.means.shape[0],
                request,
            )
        except cpu_engine.NotFiniteError:
            self._complain(single, cameras)
        return PreparedScene(single, cameras, request, splats, gaussians.means.dtype)

    def _request(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        sort_depths: Tensor | None,
        pixels: Tensor | None,
    ) -> cpu_engine.Request:
        if cameras.intrinsics.requires_grad:
            raise ValueError(
                "Cameras.intrinsics requires a gradient, which the CPU engine does not give; "
                "detach() it, or use the reference renderer"
            )
        (chains, size), views = gaussians.opacities.shape, len(cameras)
        return cpu_engine.Request(
            settings=self.settings,
            threads=self.num_threads or torch.get_num_threads(),
            cameras=cpu_engine.pack_cameras(cameras),
            image_shape=cameras.image_shape,
            is_plain=is_plain(gaussians, self.settings),
            keys=None if sort_depths is None else sort_keys(sort_depths, (chains, views, size)),
            pixels=None if pixels is None else pixel_rows(pixels, chains),
        )

    @torch.no_grad()
    def _complain(self, gaussians: Gaussians, cameras: Cameras) -> NoReturn:
        """Say what is not finite, in the words of the reference."""
        reference.require_finite(gaussians)
        projection = project(gaussians, cameras.to(torch.float32), self.settings)
        reference.require_finite_ellipses(gaussians, projection)
        raise ValueError(
            "the projection of some Gaussian is too large for float32; bring the scene's units or "
            "the cameras nearer to one"
        )


@dataclass(frozen=True)
class PreparedScene:
    """Gaussians whose geometry is projected, listed and sorted, waiting for their paint.

    Pictures are the same bits as those of :meth:`CPURenderer.render`. Made by
    :meth:`CPURenderer.prepare`.
    """

    gaussians: Gaussians
    cameras: Cameras
    request: cpu_engine.Request
    splats: cpu_engine.Splats
    dtype: torch.dtype

    def render(
        self,
        opacities: Float[Tensor, "chain gaussian"],
        harmonics: Float[Tensor, "chain gaussian 3 d_sh"],
    ) -> Rendering:
        """Pictures of the scene with these opacities and colours, differentiable in both.

        Raises:
            ValueError: something is not finite, or the harmonics are of another degree than those
                that the scene was prepared with.
        """
        scene = self._painted(opacities, harmonics)
        world = world_of(scene, self.cameras, self.request.settings)
        try:
            return draw_world(world, self.cameras, self.request, self.splats, self.dtype)
        except cpu_engine.NotFiniteError:
            self._complain(scene)

    def opacity_statistics(
        self,
        opacities: Float[Tensor, "chain gaussian"],
        harmonics: Float[Tensor, "chain gaussian 3 d_sh"],
        residuals: Float[Tensor, "chain view height width 3"],
        weights: Float[Tensor, "chain view height width"],
        *,
        means: bool = False,
    ) -> OpacityStatistics:
        """See :meth:`CPURenderer.opacity_statistics`; raises as :meth:`render`."""
        scene = self._painted(opacities, harmonics)
        world = flat(world_of(scene, self.cameras, self.request.settings))
        try:
            drawn = cpu_engine.draw_prepared(self.splats, world, scene.means.shape[0], self.request)
        except cpu_engine.NotFiniteError:
            self._complain(scene)
        return _statistics(drawn, self.request, scene, self.cameras, residuals, weights, means)

    def _painted(self, opacities: Tensor, harmonics: Tensor) -> Gaussians:
        if harmonics.shape[-1] != self.gaussians.harmonics.shape[-1]:
            raise ValueError(
                f"harmonics has {harmonics.shape[-1]} coefficients; the scene was prepared with "
                f"{self.gaussians.harmonics.shape[-1]}"
            )
        return to_single(replace(self.gaussians, opacities=opacities, harmonics=harmonics))

    def _complain(self, scene: Gaussians) -> NoReturn:
        reference.require_finite(scene)
        raise ValueError("the colours of some Gaussian are too large for float32")


@torch.no_grad()
def _statistics(
    drawn: cpu_engine.Drawn,
    request: cpu_engine.Request,
    gaussians: Gaussians,
    cameras: Cameras,
    residuals: Tensor,
    weights: Tensor,
    means: bool,
) -> OpacityStatistics:
    opacities = gaussians.opacities.contiguous()
    curvature, slope, moments = cpu_engine.measure(
        drawn,
        request,
        opacities.numpy().reshape(-1),
        *flat((residuals.float(), weights.float())),
        with_means=means,
    )
    shape = gaussians.opacities.shape
    of_means = None
    if means:
        by_view = torch.from_numpy(moments).reshape(shape[0], len(cameras), shape[1], 3)
        of_means = _means_diagonal(by_view, gaussians, cameras, request.settings)
    return OpacityStatistics(
        torch.from_numpy(curvature).reshape(shape), torch.from_numpy(slope).reshape(shape), of_means
    )


def _means_diagonal(
    moments: Float[Tensor, "chain view gaussian 3"],
    gaussians: Gaussians,
    cameras: Cameras,
    settings: RenderSettings,
) -> Float[Tensor, "chain gaussian 3"]:
    """From the sums of b.b (dx^2, dx dy, dy^2) of splats, see ``cpu_statistics.measure_tiles``."""
    xx, xy, yy = moments.unbind(-1)
    single = cameras.to(torch.float32)
    projection = project(gaussians, single, settings)
    a, b, c = (
        sign * projection.covariances2d[i] / projection.determinants2d
        for i, sign in ((2, 1.0), (1, -1.0), (0, 1.0))
    )
    # With the conic Q and an offset d, the exponent's derivative in the splat's position is Q d.
    of_x = a * a * xx + 2.0 * a * b * xy + b * b * yy
    of_both = a * b * xx + (a * c + b * b) * xy + b * c * yy
    of_y = b * b * xx + 2.0 * b * c * xy + c * c * yy
    return diagonal_of_means(of_x, of_both, of_y, gaussians, single, settings)
