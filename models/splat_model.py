"""The Pyro model: Gaussians on the rays of context pixels, photographs with Normal noise.

The model is an ordinary Pyro function; Pyro's NUTS and our kernels sample the very same one. It
broadcasts over one leading chain axis.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyro
import torch
from einops import rearrange
from jaxtyping import Float, Int
from pyro.distributions import TorchDistribution
from torch import Tensor

from bayes_splat.models import (
    background,
    closed_energy,
    colors,
    likelihood,
    presence,
    priors,
    smoothness,
)
from bayes_splat.models.likelihood import PhotographNoise
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.scanlines import Lines, ScanlineDepth
from bayes_splat.models.scene_sites import SceneSites
from bayes_splat.models.settings import MARKOV_PRIORS, WEAK_NOISE_PRIOR, ModelConfig
from bayes_splat.models.smoothness import Smoothness
from bayes_splat.models.transition_prior import TransitionPrior
from bayes_splat.rendering.renderer import Renderer
from bayes_splat.types import Cameras, Gaussians, Rendering, Views


@dataclass(frozen=True)
class SplatModel:
    """The joint density of depths, opacities, noise and the context photographs.

    Attributes:
        proposal: rays, buckets, shapes and colours of the Gaussians.
        views: the context photographs.
        renderer: with the falloff cutoff, so that the picture is affine in each opacity; see
            ``colors.render_settings`` for sampled colours.
        config: priors and order.
        held: what :meth:`given` has filled in.
        background: colour [3] behind all Gaussians; None: black. The renderer must then not clip
            colours (``colors.render_settings``): it is given what colours have over the background.
        photographs_of_rays: the photographs that the Gaussians are born in, which a smooth prior
            takes its contrast from; None: those that are observed.
    """

    proposal: DepthProposal
    views: Views
    renderer: Renderer
    config: ModelConfig = field(default_factory=ModelConfig)
    held: SceneSites = field(default_factory=SceneSites)
    background: Float[Tensor, " 3"] | None = None
    photographs_of_rays: Float[Tensor, "view 3 height width"] | None = None

    @property
    def num_views(self) -> int:
        """How many context views are observed."""
        return len(self.views)

    @property
    def num_pixels(self) -> int:
        """Observed pixels over all views."""
        height, width = self.views.cameras.image_shape
        return self.num_views * height * width

    @cached_property
    def smoothness(self) -> Smoothness | None:
        """What couples the depths of neighbouring pixels a priori; None where nothing does.

        Raises:
            ValueError: a pixel has no Gaussian, or more than one.
        """
        if self.config.prior != "smooth":
            return None
        images = self.views.images if self.photographs_of_rays is None else self.photographs_of_rays
        smoothness.check_rays(len(self.proposal), images)
        return smoothness.contrast_weights(images, self.config.smoothness, self.config.contrast)

    def given(self, sites: Mapping[str, Tensor]) -> "SplatModel":
        """The model with the scene's sites other than depths and opacities filled in.

        Pictures of a position are those of the model given that position. Depths may then have
        several rows a chain (candidates of a move); those of a chain lie side by side.

        Args:
            sites: values [chain, ...], or a position: these sites are their own coordinates.

        Returns:
            The model itself where there are no such sites.
        """
        held = SceneSites.of(sites)
        if all(value is None for value in held):
            return self
        # Copied, not made anew: what has been computed once stays known.
        filled = copy.copy(self)
        object.__setattr__(filled, "held", held)
        return filled

    def depth_prior(
        self, log_transition: Float[Tensor, "*chain bucket bucket"] | None = None
    ) -> TorchDistribution:
        """Prior of every Gaussian's depth; a Markov prior is one given the transitions.

        Raises:
            ValueError: the prior is Markov and there are no transitions.
        """
        if not self.is_markov:
            return self.depth_prior_inside()
        if log_transition is None:
            raise ValueError(f"prior={self.config.prior!r} is a prior given log_transition only")
        return ScanlineDepth(self.proposal, self.lines, log_transition)

    def depth_prior_inside(self) -> TorchDistribution:
        """The prior up to a factor that depends on the buckets alone; its support is the same."""
        if self.config.prior == "proposal":
            return priors.ProposalDepth(self.proposal)
        return priors.UniformDisparity(self.proposal.near, self.proposal.far)

    def depth_prior_log_ratio(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        candidate: Float[Tensor, "*chain gaussian"],
    ) -> Float[Tensor, "*chain gaussian"]:
        """Log prior of each candidate depth over that of the present one, all others held.

        With a smooth prior these are ratios of a joint move only if no two neighbours move. A
        Markov prior has its own: ``ScanlineDepth.log_ratio_of_single``.

        Raises:
            ValueError: the prior is Markov.
        """
        prior = self.depth_prior()
        ratio: Tensor = prior.log_prob(candidate) - prior.log_prob(depth)
        if self.smoothness is None:
            return ratio
        ends = self.proposal.relative_disparity(depth), self.proposal.relative_disparity(candidate)
        return ratio + smoothness.local_log_prior_ratio(self.smoothness, *ends)

    @property
    def is_markov(self) -> bool:
        """Whether buckets follow each other along scanlines."""
        return self.config.prior in MARKOV_PRIORS

    @cached_property
    def lines(self) -> Lines:
        """The scanlines of all context views."""
        return Lines.of(self.num_views, self.views.cameras.image_shape, self.config.scanlines)

    @cached_property
    def transitions(self) -> TransitionPrior:
        """What rules the scanlines under a Markov prior."""
        return TransitionPrior.of(self.config, self.proposal.num_buckets)

    @property
    def is_variable(self) -> bool:
        """Whether slots may be empty: the number of Gaussians is unknown."""
        return self.config.count == "variable"

    def inclusion_prior(self) -> TorchDistribution:
        """Prior of the probability that a slot holds a Gaussian (``presence``)."""
        return presence.inclusion_prior(*self.config.count_prior)

    def opacity_prior(self) -> priors.StretchedBeta:
        """Prior of one opacity."""
        return priors.opacity_prior(*self.config.opacity_prior)

    def harmonics_prior(self) -> TorchDistribution:
        """Prior of the colours, batch [gaussian]."""
        return colors.prior(self.proposal, self.config.color_scale)

    def noise_prior(self) -> priors.NoiseScale:
        """Prior of one noise scale."""
        return priors.noise_prior(*self.noise_concentration)

    @property
    def noise_concentration(self) -> tuple[float, float]:
        """Concentration and rate of the InverseGamma prior of the squared noise."""
        concentration, rate = self.config.noise_prior or WEAK_NOISE_PRIOR
        return concentration, rate

    def __call__(self, pixels: Int[Tensor, "chain pixel"] | None = None) -> None:
        """Run the model; ``pixels`` (flat over view, height, width) restricts the likelihood.

        The likelihood of chosen pixels is scaled up by their share, so that its expectation over
        uniformly chosen pixels is the full one.
        """
        log_transition = self.transitions.sample() if self.is_markov else None
        inclusion = pyro.sample("inclusion", self.inclusion_prior()) if self.is_variable else None
        others = {}  # the sites that :meth:`given` fills in
        # Under a Markov prior the terms of a plate of Gaussians are conditional ones.
        with pyro.plate("gaussian", len(self.proposal), dim=-1):
            depth = pyro.sample("depth", self.depth_prior(log_transition))
            opacity = pyro.sample("opacity", self.opacity_prior())
            if self.config.colors == "sampled":
                others["harmonics"] = pyro.sample("harmonics", self.harmonics_prior())
            if inclusion is not None:
                others["present"] = pyro.sample("present", presence.Presence(inclusion))
        if self.smoothness is not None:
            coupling = smoothness.energy(self.smoothness, self.proposal.relative_disparity(depth))
            # An axis of the plates after the axis of the chains, as the sites have.
            pyro.factor("smoothness", -(coupling[..., None] if depth.ndim > 1 else coupling))
        if self.config.noise == "per_view":
            with pyro.plate("view", self.num_views, dim=-1):
                noise_scale = pyro.sample("noise_scale", self.noise_prior())
        else:
            noise_scale = pyro.sample("noise_scale", self.noise_prior())
        image = self.given(others).likelihood(depth, opacity, noise_scale, pixels)
        observed = self.photographs(pixels)
        if observed.ndim > len(image.event_shape):  # every chain has its own
            observed = observed.unsqueeze(1) if image.batch_shape else observed.squeeze(0)
        chosen = self.num_pixels if pixels is None else pixels.shape[-1]
        with pyro.poutine.scale(scale=self.num_pixels / chosen):
            pyro.sample("image", image, obs=observed)

    def likelihood(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        opacity: Float[Tensor, "*chain gaussian"],
        noise_scale: Float[Tensor, "..."],
        pixels: Int[Tensor, "*chain pixel"] | None = None,
    ) -> PhotographNoise:
        """What the photographs, or chosen pixels of them, are drawn from.

        Its batch has an axis of the plates after the axis of the chains, as the sites have.
        """
        batch = (*depth.shape[:-1], 1) if depth.ndim > 1 else ()
        if self.config.noise == "global":
            noise_scale = noise_scale[..., None]
        elif batch:
            noise_scale = noise_scale.unsqueeze(-2)
        noise_scale = noise_scale.expand(*noise_scale.shape[:-1], self.num_views)
        pictures = self.pictures(depth, opacity, pixels, non_finite="nan")
        pictures = pictures.reshape(*batch, *pictures.shape[1:])
        if pixels is None:
            return PhotographNoise(pictures, noise_scale)
        view = self._view_of(pixels).reshape(*batch, -1)
        return PhotographNoise(pictures, noise_scale, view)

    def potential_energy(self, position: Mapping[str, Tensor]) -> Float[Tensor, " chain"] | None:
        """What ``PyroTarget`` takes in place of a trace, see ``closed_energy``."""
        return closed_energy.potential_energy(self, position)

    def cell_energies(
        self, values: Mapping[str, Tensor], cell: int
    ) -> Float[Tensor, "chain view rows columns"]:
        """Minus the log likelihood by cells of the context photographs, float64, differentiable.

        The sum over all cells is minus the log likelihood, normalising constant included. A chain
        whose pictures are not finite has NaN there.

        Args:
            values: of the sites, [chain, ...].
            cell: side of a cell, pixels; those at the right and lower edge may be smaller.
        """
        noise_scale = values["noise_scale"].reshape(len(values["depth"]), -1)
        return likelihood.cell_energies(
            self.given(values).pictures(values["depth"], values["opacity"], non_finite="nan"),
            self.photographs(),
            noise_scale.expand(-1, self.num_views),
            cell,
        )

    def photographs(
        self, pixels: Int[Tensor, "*chain pixel"] | None = None
    ) -> Float[Tensor, "*picture 3"]:
        """Photographed colours over the background, [view height width 3] or [*chain pixel 3]."""
        return self._images if pixels is None else self._images.reshape(-1, 3)[pixels]

    @cached_property
    def _images(self) -> Tensor:
        images = rearrange(self.views.images, "view c h w -> view h w c").contiguous()
        return background.over(images, self.background)

    def predict_pixels(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        opacity: Float[Tensor, "*chain gaussian"],
        pixels: Int[Tensor, "chain pixel"] | None = None,
    ) -> Float[Tensor, "*chain pixel 3"]:
        """Rendered colours of the context pixels in float64, flat over (view, height, width)."""
        seen = self.pictures(depth, opacity, pixels)
        if pixels is None:
            seen = rearrange(seen, "chain view h w c -> chain (view h w) c")
        return seen.reshape(*depth.shape[:-1], *seen.shape[1:]).double()

    def pictures(
        self,
        depth: Float[Tensor, "*chain gaussian"],
        opacity: Float[Tensor, "*chain gaussian"],
        pixels: Int[Tensor, "chain pixel"] | None = None,
        *,
        non_finite: str = "raise",
    ) -> Float[Tensor, "chain *picture 3"]:
        """Colours over the background in the renderer's precision; one chain axis, always."""
        batched = depth.reshape(-1, depth.shape[-1]), opacity.reshape(-1, opacity.shape[-1])
        return self._rendering(*batched, self.views.cameras, pixels, non_finite=non_finite).colors

    def observed(
        self, pixels: Int[Tensor, "chain pixel"] | None = None
    ) -> tuple[Float[Tensor, "*chain pixel 3"], Int[Tensor, "*chain pixel"]]:
        """Photographed colours over the background, float64, and the view of every pixel."""
        observed = rearrange(self.views.images, "view c h w -> (view h w) c").double()
        observed = background.over(observed, self.background)
        if pixels is None:
            pixels = torch.arange(self.num_pixels, device=observed.device)
        return observed[pixels], self._view_of(pixels)

    def _view_of(self, pixels: Tensor) -> Tensor:
        height, width = self.views.cameras.image_shape
        return torch.div(pixels, height * width, rounding_mode="floor")

    def gaussians(
        self, depth: Float[Tensor, "chain gaussian"], opacity: Float[Tensor, "chain gaussian"]
    ) -> Gaussians:
        """What is composited: the scene of every chain, or of several rows a chain.

        In the renderer's precision; colours are those over the background.

        Raises:
            ValueError: colours are sampled and not given.
        """
        scene = self.scene(depth, opacity)
        if self.background is None:
            return scene
        return replace(scene, harmonics=scene.harmonics - self.background_harmonics)

    def scene(
        self, depth: Float[Tensor, "chain gaussian"], opacity: Float[Tensor, "chain gaussian"]
    ) -> Gaussians:
        """The same with the Gaussians' own colours, as viewers want them.

        Raises:
            ValueError: colours are sampled and not given.
        """
        if self.config.colors == "sampled" and self.held.harmonics is None:
            raise ValueError("colours are sampled: take pictures of model.given(position)")
        opacity = opacity.to(self.proposal.harmonics.dtype)
        return self.held.fill(self.proposal.gaussians(depth, opacity))

    @cached_property
    def background_harmonics(self) -> Float[Tensor, "3 d_sh"]:
        """What the background takes off every Gaussian's coefficients; 0 over black."""
        return background.harmonics(self.background, self.proposal.harmonics)

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
        *,
        non_finite: str = "raise",
    ) -> Rendering:
        """Pictures of a position in any cameras: likelihood and predictions both use this.

        Args:
            depth, opacity: values of the sites.
            cameras: of the wanted pictures.
            pixels: as in :meth:`Renderer.render`.
            non_finite: of a chain with Gaussians that are not finite: ``raise``, or ``nan`` for
                pictures of NaN.
        """
        rendering = self._rendering(depth, opacity, cameras, pixels, non_finite=non_finite)
        return background.put_behind(rendering, self.background)

    def _rendering(
        self,
        depth: Tensor,
        opacity: Tensor,
        cameras: Cameras,
        pixels: Tensor | None = None,
        *,
        non_finite: str = "raise",
    ) -> Rendering:
        """Pictures over the background."""
        return self.renderer.render(
            self.gaussians(depth, opacity),
            cameras,
            sort_depths=self.sort_depths(depth, cameras),
            pixels=pixels,
            non_finite=non_finite,
        )
