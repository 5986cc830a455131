"""Names of the weights in the official checkpoints for those of our modules."""

import re

PREFIX = "encoder."
"""Of every encoder weight in a Lightning checkpoint."""

_RESNET = "backbone.resnet_backbone."
_LAYER, _OFFICIAL_LAYER = r"^epipolar\.layers\.(\d+)\.", r"epipolar.transformer.layers.\1."
_BLOCK, _OFFICIAL_BLOCK = r"(\.self_attention)\.blocks\.(\d+)\.", r"\1.transformer.layers.\2."
_VIT_BLOCK = r"^(backbone\.dino\.blocks\.\d+)\."

_RENAMED = (  # our pattern -> official, one after the other
    (r"^backbone\.resnet\.model\.stages\.", _RESNET + "model.layer"),
    (r"^backbone\.resnet\.model\.", _RESNET + "model."),
    (r"^backbone\.resnet\.projections\.", _RESNET + "projections.layer"),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"^backbone\.vit\.patch_embed\.", "backbone.dino.patch_embed.proj."),
    (r"^backbone\.vit\.", "backbone.dino."),
    (_VIT_BLOCK + r"(qkv|proj)\.", r"\1.attn.\2."),
    (_VIT_BLOCK + r"(fc\d)\.", r"\1.mlp.\2."),
    (r"^backbone\.class_mlp\.", "backbone.global_token_mlp."),
    (r"^backbone\.patch_mlp\.", "backbone.local_token_mlp."),
    (r"(_token_mlp)\.fc1\.", r"\1.0."),
    (r"(_token_mlp)\.fc2\.", r"\1.2."),
    (r"^backbone_projection\.", "backbone_projection.1."),
    (r"^high_resolution_skip\.", "high_resolution_skip.0."),
    (r"^depth_head\.projection\.", "depth_predictor.projection.1."),
    (r"^gaussian_head\.projection\.", "to_gaussians.1."),
    (r"^epipolar\.depth_encoding\.", "epipolar.depth_encoding.1."),
    (r"^epipolar\.refinement\.", "epipolar.upscale_refinement."),
    (_LAYER + r"norm_query\.", _OFFICIAL_LAYER + "0.norm."),
    (_LAYER + r"norm_image\.", _OFFICIAL_LAYER + "1.norm."),
    (_LAYER + r"attention\.(q|kv)\.", _OFFICIAL_LAYER + r"0.fn.to_\2."),
    (_LAYER + r"attention\.out\.", _OFFICIAL_LAYER + "0.fn.to_out.0."),
    (_LAYER + r"feed_forward\.0\.", _OFFICIAL_LAYER + "1.fn.layers.0."),
    (_LAYER + r"feed_forward\.2\.", _OFFICIAL_LAYER + "1.fn.layers.3."),  # after a dropout
    (_LAYER + r"image_attention\.", _OFFICIAL_LAYER + "1.fn.self_attention."),
    (r"(\.self_attention)\.position\.", r"\1.positional_encoding.1."),
    (r"(\.self_attention)\.patch_embed\.", r"\1.patch_embedder.0."),
    (_BLOCK + r"norm1\.", _OFFICIAL_BLOCK + "0.norm."),
    (_BLOCK + r"norm2\.", _OFFICIAL_BLOCK + "1.norm."),
    (_BLOCK + r"attention\.qkv\.", _OFFICIAL_BLOCK + "0.fn.to_qkv."),
    (_BLOCK + r"attention\.out\.", _OFFICIAL_BLOCK + "0.fn.to_out.0."),
    (_BLOCK + r"fc1\.", _OFFICIAL_BLOCK + "1.fn.net.0."),
    (_BLOCK + r"fc2\.", _OFFICIAL_BLOCK + "1.fn.net.3."),
    (r"^epipolar\.", "epipolar_transformer."),
)

_UNUSED = re.compile(
    # Stages that no projection reads, and the classifier of a residual network.
    r"backbone\.(resnet_backbone\.)?model\.(layer\d+|fc)\."
)


def official_key(name: str, *, has_vit: bool) -> str:
    """The official name of one of our weights, without ``encoder.``.

    Args:
        name: as in ``PixelSplatEncoder().state_dict()``.
        has_vit: whether there is a vision transformer beside the residual network.
    """
    for pattern, official in _RENAMED:
        name = re.sub(pattern, official, name)
    return name if has_vit else name.replace(_RESNET, "backbone.")


def is_unused(key: str) -> bool:
    """Whether an official weight that our encoder has no place for is one that nobody uses."""
    return _UNUSED.match(key) is not None
