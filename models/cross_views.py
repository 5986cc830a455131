"""Every context photograph explained by the Gaussians of the other photographs alone.

A Gaussian is born at a pixel of a photograph, with that pixel's colour, so its own photograph says
nothing of how wrong pictures of new views are. Here each context view v is held out: the model of
``held_out(model, v)`` has the Gaussians of the other views and observes photograph v only. It is a
splat model like any other, and its posterior tells how well photographs predict each other: what
leave-one-view-out cross-validation tells (Stone 1974), without a look at the proposal.
"""

from dataclasses import fields, replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import MARKOV_PRIORS
from bayes_splat.models.splat_model import SplatModel


def held_out(model: SplatModel, view: int) -> SplatModel:
    """The model of one context photograph, seen from the Gaussians of all others.

    Colours and the number of Gaussians are fixed, and a Markov prior becomes the smooth one.

    Args:
        model: of all context photographs; not more than one Gaussian a pixel.
        view: the one that is held out.

    Raises:
        ValueError: there is no other view.
    """
    if model.num_views < 2:
        raise ValueError("there is one context view, and no other to predict it from; take two")
    others = [other for other in range(model.num_views) if other != view]
    images = model.views.images
    config = model.config
    return SplatModel(
        proposal=of_views(model.proposal, others),
        views=model.views[[view]],
        renderer=model.renderer,
        config=replace(
            config,
            prior="smooth" if config.prior in MARKOV_PRIORS else config.prior,
            count="fixed",
            colors="fixed",
            noise="global",
        ),
        background=model.background,
        photographs_of_rays=images[..., others, :, :, :],
    )


def of_views(proposal: DepthProposal, views: list[int]) -> DepthProposal:
    """The Gaussians that are born in some of the views, and these views' cameras."""
    each = len(proposal) // len(proposal.cameras)
    rows = torch.cat([torch.arange(each) + view * each for view in views])
    parts = {f.name: getattr(proposal, f.name) for f in fields(proposal)}
    chosen = {name: part[rows] for name, part in parts.items() if name != "cameras"}
    return DepthProposal(**chosen, cameras=proposal.cameras[views])


def without(
    opacity: Float[Tensor, "chain gaussian"], view: int, num_views: int
) -> Float[Tensor, "chain gaussian"]:
    """The opacities with those of the Gaussians born in one view at zero.

    Args:
        opacity: of Gaussians that run over (view, pixel).
        view: the one whose Gaussians let all light through.
        num_views: in which they are born.
    """
    each = opacity.shape[1] // num_views
    is_left_out = torch.arange(opacity.shape[1], device=opacity.device) // each == view
    return torch.where(is_left_out, torch.zeros_like(opacity), opacity)


def photograph(model: SplatModel) -> Float[Tensor, "height width 3"]:
    """The photograph that a held-out model observes, colours in [0, 1]."""
    return rearrange(model.views.images[0], "c h w -> h w c")
