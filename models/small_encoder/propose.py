"""What the small encoder says of photographs, as a ``DepthProposal``.

Depths are the network's; colours and sizes of the Gaussians are those of the pixels, as with the
plane sweep, so that prior and likelihood are the same and only starts and moves differ.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from bayes_splat.errors import ConfigError, ModelError
from bayes_splat.models import devices
from bayes_splat.models.encoder.rebin import rebin
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.overlap import require_overlap
from bayes_splat.models.pixel_gaussians import pixel_gaussians
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.small_encoder import weights
from bayes_splat.models.small_encoder.network import Output, SmallEncoder
from bayes_splat.models.small_encoder.sweep import seen_by_others
from bayes_splat.types import Views

_OPACITIES = 0.1, 0.99  # starting values stay inside: lower ones would hide a pixel for long


def propose(views: Views, config: EncoderConfig) -> DepthProposal:
    """Depth distributions for every pixel of two or more context views.

    Args:
        views: the context views; their cameras' near and far are the range.
        config: settings; ``checkpoint`` null takes the shipped weights.

    Raises:
        ConfigError: an option that this encoder does not have, or ``device=cuda`` without a GPU.
        ModelError: fewer than two views, views that do not overlap, or a file that does not hold
            a small encoder.
    """
    encoder = load(config)
    return to_proposal(encode(views, encoder, config), views, config)


def load(config: EncoderConfig) -> SmallEncoder:
    """The network that the settings ask for.

    Raises:
        ConfigError: an option that this encoder does not have.
        ModelError: as ``weights.load``.
    """
    unfit = {
        "range=encoder": config.range == "encoder",
        "appearance=encoder": config.appearance == "encoder",
        "half=true": config.half,
        "compile=true": config.compile,
    }
    if given := [name for name, is_given in unfit.items() if is_given]:
        raise ConfigError(
            f"proposal.{given[0]} is for pixelSplat checkpoints (proposal.checkpoint=<file>.ckpt); "
            "the small encoder does not have it: leave it out"
        )
    return weights.shipped() if config.checkpoint is None else weights.load(config.checkpoint)


def encode(views: Views, encoder: SmallEncoder, config: EncoderConfig | None = None) -> Output:
    """Show photographs to the network; what it says is on the CPU, the same bits every time.

    Raises:
        ConfigError: ``device=cuda`` without a GPU.
        ModelError: fewer than two views, or views that do not overlap.
    """
    if len(views) < 2:
        raise ModelError(
            f"context has {len(views)} view, but the encoder compares at least 2 photographs; "
            "give context=[0,1] or a split with two"
        )
    device = devices.chosen((config or EncoderConfig()).device)
    with torch.no_grad(), devices.one_thread():
        require_overlap(seen_by_others(views.cameras), views.names)
        there = Views(views.cameras.to(device), views.images.to(device), views.names)
        output = encoder.to(device)(there)
    return Output(*(part.cpu() for part in output))


def to_proposal(output: Output, views: Views, config: EncoderConfig) -> DepthProposal:
    """The proposal that the network's answer stands for."""
    probabilities = _rows(output.logits).softmax(-1)
    offsets = _rows(output.offsets).sigmoid()
    if config.num_buckets != probabilities.shape[-1]:
        cameras = views.cameras
        num_pixels = cameras.image_shape[0] * cameras.image_shape[1]
        near, far = (
            end.double().repeat_interleave(num_pixels) for end in (cameras.near, cameras.far)
        )
        probabilities, offsets = rebin(
            probabilities, offsets, (near, far), (near, far), config.num_buckets
        )
    floor = config.floor / probabilities.shape[-1]
    return pixel_gaussians(
        views,
        probabilities=(1.0 - config.floor) * probabilities + floor,
        offsets=_towards_the_mean(probabilities, offsets),
        opacities=output.opacities.flatten().sigmoid().clamp(*_OPACITIES),
        footprint=config.footprint,
        sharpening=config.sharpening,
    )


def _towards_the_mean(
    probabilities: Float[Tensor, "gaussian bucket"], offsets: Float[Tensor, "gaussian bucket"]
) -> Float[Tensor, "gaussian bucket"]:
    """Move the mode, inside its bucket, to where the mean of the whole distribution is nearest.

    If the most probable bucket is the wrong one, that costs least there. The places in all other
    buckets stay.
    """
    number = torch.arange(probabilities.shape[-1], device=offsets.device)
    mean = (probabilities * (number + offsets)).sum(-1, keepdim=True)
    best = probabilities.argmax(-1, keepdim=True)
    return offsets.scatter(-1, best, (mean - best).clamp(0.0, 1.0))


def _rows(
    volume: Float[Tensor, "view bucket height width"],
) -> Float[Tensor, "gaussian bucket"]:
    return rearrange(volume, "view bucket h w -> (view h w) bucket").contiguous()
