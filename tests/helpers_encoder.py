"""Encoders small enough to be made in every test, with weights and files as the official ones."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayes_splat.models.encoder import official_keys
from bayes_splat.models.encoder.architecture import (
    EncoderSizes,
    EpipolarSizes,
    ImageAttentionSizes,
    ResNetSizes,
    ViTSizes,
)
from bayes_splat.models.encoder.checkpoints import from_official_weights
from bayes_splat.models.encoder.encoder import PixelSplatEncoder
from bayes_splat.models.encoder.rays import Context
from tests import helpers_golden as golden

EPIPOLAR = EpipolarSizes(
    d_head=6,
    num_octaves=4,
    image_attention=ImageAttentionSizes(num_octaves=2, d_token=12, d_head=5, d_mlp=20),
)
SMALL = EncoderSizes(
    vit=ViTSizes(dim=64, depth=2, heads=1, d_mlp=40, grid=4),
    resnet=ResNetSizes(blocks=(1, 2, 1), planes=8),
    d_backbone=24,
    d_feature=16,
    epipolar=EPIPOLAR,
    num_buckets=8,
)
VARIANTS = {
    "re10k and acid": SMALL,
    "first release": replace(SMALL, epipolar=replace(EPIPOLAR, d_conv_feed_forward=10)),
    "three views": replace(SMALL, epipolar=replace(EPIPOLAR, num_view_embeddings=3)),
    "no depth encoding": replace(SMALL, epipolar=replace(EPIPOLAR, num_octaves=0)),
    "no epipolar transformer": replace(SMALL, epipolar=None),
    "no probabilistic sampling": replace(SMALL, num_buckets=1, gaussians_per_pixel=1),
    "residual network alone": replace(
        SMALL, vit=None, resnet=ResNetSizes((1, 1, 1, 1), 8, is_normalised_by_batch=False)
    ),
}


@cache
def official_shapes(sizes: EncoderSizes) -> dict[str, tuple[int, ...]]:
    """Official key -> shape of an encoder."""
    with torch.device("meta"):
        empty = PixelSplatEncoder(sizes).state_dict()
    has_vit = sizes.vit is not None
    return {
        official_keys.official_key(name, has_vit=has_vit): tuple(value.shape)
        for name, value in empty.items()
    }


def official_weights(sizes: EncoderSizes = SMALL) -> dict[str, Tensor]:
    """Weights of the golden recipe, by official key."""
    return {key: golden.weight(key, shape) for key, shape in official_shapes(sizes).items()}


def encoder(sizes: EncoderSizes = SMALL) -> PixelSplatEncoder:
    """An encoder with those weights."""
    return from_official_weights(official_weights(sizes), "a test")


def write_checkpoint(path: Path, sizes: EncoderSizes = SMALL, **more: Any) -> Path:
    """A file as Lightning writes it."""
    state = {official_keys.PREFIX + key: value for key, value in official_weights(sizes).items()}
    torch.save({"state_dict": state, "global_step": 7, "optimizer_states": [{}], **more}, path)
    return path


def context(num_views: int = 2, shape: tuple[int, int] = (32, 48), seed: int = 0) -> Context:
    """Random pictures from cameras that stand side by side and look almost the same way."""
    generator = torch.Generator().manual_seed(seed)
    extrinsics = torch.eye(4).repeat(1, num_views, 1, 1)
    angle = 0.05 * torch.arange(num_views)
    extrinsics[0, :, 0, 0] = extrinsics[0, :, 2, 2] = angle.cos()
    extrinsics[0, :, 2, 0] = angle.sin()
    extrinsics[0, :, 0, 2] = -angle.sin()
    extrinsics[0, :, 0, 3] = torch.arange(num_views) / (num_views - 1)
    intrinsics = torch.tensor([[0.9, 0.0, 0.5], [0.0, 1.1, 0.48], [0.0, 0.0, 1.0]])
    return Context(
        images=torch.rand(1, num_views, 3, *shape, generator=generator),
        extrinsics=extrinsics,
        intrinsics=intrinsics.repeat(1, num_views, 1, 1),
        near=torch.full((1, num_views), 0.6),
        far=torch.full((1, num_views), 60.0),
    )
