"""The Pyro model: Gaussians on the rays of context pixels, photographs with Normal noise.

The model is an ordinary Pyro function; Pyro's NUTS and our kernels sample the very same one. It
broadcasts over one leading chain axis.
"""

from dataclasses import dataclass, field

import pyro
import torch
from einops import rearrange
from jaxtyping import Float, Int
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor

from bayes_splat.models import priors
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.types import Cameras, Gaussians, Rendering, Views


@dataclass(frozen=True)
class SplatModel:
    """The joint density of depths, opacities, noise and the context photographs.

    Attributes:
        proposal: rays, buckets, shapes and colours of the Gaussians.
        views: the context photographs.
        renderer: with the falloff cutoff, so that the picture is affine in each opacity.
        config: priors and order.
    """

    proposal: DepthProposal
    views: Views
    renderer: Renderer
    config: ModelConfig = field(default_factory=ModelConfig)

    @property
    def num_views(self) -> int:
        """How many context views are observed."""
        return len(self.views)

    @property
    def num_pixels(self) -> int:
        """Observed pixels over all views."""
        height, width = self.views.cameras.image_shape
        return self.num_views * height * width

    def depth_prior(self) -> TorchDistribution:
        """Prior of every Gaussian's depth."""
        if self.config.prior == "proposal":
            return priors.ProposalDepth(self.proposal)
        return priors.UniformDisparity(self.proposal.near, self.proposal.far)

    def opacity_prior(self) -> TorchDistribution:
        """Prior of one opacity."""
        return priors.opacity_prior(*self.config.opacity_prior)

    def noise_prior(self) -> TorchDistribution:
        """Prior of one noise scale."""
        return priors.noise_prior(*self.config.noise_prior)

    def __call__(self, pixels: Int[Tensor, "chain pixel"] | None = None) -> None:
        """Run the model; ``pixels`` (flat over view, height, width) restricts the likelihood.

        The likelihood of chosen pixels is scaled up by their share, so that its expectation over
        uniformly chosen pixels is the full one.
        """
        with pyro.plate("gaussian", len(self.proposal), dim=-1):
            depth = pyro.sample("depth", self.depth_prior())
            opacity = pyro.sample("opacity", self.opacity_prior())
        if self.config.noise == "per_view":
            with pyro.plate("view", self.num_views, dim=-1):
                noise_scale = pyro.sample("noise_scale", self.noise_prior())
        else:
            noise_scale = pyro.sample("noise_scale", self.noise_prior())
        colors = self.predict_pixels(depth, opacity, pixels)
        observed, view = self.observed(pixels)
        if self.config.noise == "per_view":
            index = view.expand(*noise_scale.shape[:-1], view.shape[-1])
            noise_scale = noise_scale.expand(*index.shape[:-1], -1).gather(-1, index)
        chosen = observed.shape[-2]
        with (
            pyro.poutine.scale(scale=self.num_pixels / chosen),
            pyro.plate("pixel", chosen, dim=-1),
        ):
            pyro.sample(
                "image",
                Normal(colors, noise_scale[..., None], validate_args=False).to_event(1),
                obs=observed,
            )

    def predict_pixels(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        opacity: Float[Tensor, "*chain gaussian"],
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Float[Tensor, "*chain pixel 3"]:
        """Rendered colours of the context pixels in float64, flat over (view, height, width)."""
        batched = depth.reshape(-1, depth.shape[-1]), opacity.reshape(-1, opacity.shape[-1])
        rendering = self.render(*batched, self.views.cameras, pixels)
        colors = rendering.colors
        if pixels is None:
            colors = rearrange(colors, "chain view h w c -> chain (view h w) c")
        return colors.reshape(*depth.shape[:-1], *colors.shape[1:]).double()

    def observed(
        self, pixels: Int[Tensor, "chain pixel"] | None = None
    ) -> tuple[Float[Tensor, "*chain pixel 3"], Int[Tensor, "*chain pixel"]]:
        """Photographed colours in float64 and the view of every pixel."""
        height, width = self.views.cameras.image_shape
        colors = rearrange(self.views.images, "view c h w -> (view h w) c").double()
        if pixels is None:
            pixels = torch.arange(self.num_pixels, device=colors.device)
        return colors[pixels], torch.div(pixels, height * width, rounding_mode="floor")

    def gaussians(
        self, depth: Float[Tensor, "chain gaussian"], opacity: Float[Tensor, "chain gaussian"]
    ) -> Gaussians:
        """The scene of every chain, in the renderer's precision."""
        dtype = self.proposal.harmonics.dtype
        return self.proposal.gaussians(depth.to(dtype), opacity.to(dtype))

    def sort_depths(
        self, depth: Float[Tensor, "chain gaussian"], cameras: Cameras
    ) -> Float[Tensor, "chain view gaussian"] | None:
        """Keys of the depth order in every camera; None for the order of centres."""
        if self.config.order == "center":
            return None
        return self.proposal.sort_depths(depth, cameras)

    def render(
        self,
        depth: Float[Tensor, "chain gaussian"],
        opacity: Float[Tensor, "chain gaussian"],
        cameras: Cameras,
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Rendering:
        """Pictures of a position in any cameras: likelihood and predictions both use this."""
        return self.renderer.render(
            self.gaussians(depth, opacity),
            cameras,
            sort_depths=self.sort_depths(depth, cameras),
            pixels=pixels,
        )
