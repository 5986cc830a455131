"""Names of the weights in the official checkpoints for those of our modules."""

import re

PREFIX = "encoder."
"""Of every encoder weight in a Lightning checkpoint."""

_RESNET = "backbone.resnet_backbone."

_RENAMED = (  # our pattern -> official, in this order
    (r"^backbone\.resnet\.model\.stages\.(\d+)\.", lambda m: f"{_RESNET}model.layer{int(m[1]) + 1}."),
    (r"^backbone\.resnet\.model\.", _RESNET + "model."),
    (r"^backbone\.resnet\.projections\.(\d+)\.", _RESNET + r"projections.layer\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
    (r"^backbone\.vit\.patch_embed\.", "backbone.dino.patch_embed.proj."),
    (r"^backbone\.vit\.", "backbone.dino."),
    (r"^(backbone\.dino\.blocks\.\d+)\.(qkv|proj)\.", r"\1.attn.\2."),
    (r"^(backbone\.dino\.blocks\.\d+)\.(fc\d)\.", r"\1.mlp.\2."),
    (r"^backbone\.class_mlp\.fc1\.", "backbone.global_token_mlp.0."),
    (r"^backbone\.class_mlp\.fc2\.", "backbone.global_token_mlp.2."),
    (r"^backbone\.patch_mlp\.fc1\.", "backbone.local_token_mlp.0."),
    (r"^backbone\.patch_mlp\.fc2\.", "backbone.local_token_mlp.2."),
    (r"^backbone_projection\.", "backbone_projection.1."),
    (r"^high_resolution_skip\.", "high_resolution_skip.0."),
    (r"^depth_head\.projection\.", "depth_predictor.projection.1."),
    (r"^gaussian_head\.projection\.", "to_gaussians.1."),
    (r"^epipolar\.depth_encoding\.", "epipolar.depth_encoding.1."),
    (r"^epipolar\.refinement\.", "epipolar.upscale_refinement."),
    (r"^epipolar\.layers\.(\d+)\.norm_query\.", r"epipolar.transformer.layers.\1.0.norm."),
    (r"^epipolar\.layers\.(\d+)\.norm_image\.", r"epipolar.transformer.layers.\1.1.norm."),
    (r"^epipolar\.layers\.(\d+)\.attention\.(q|kv)\.", r"epipolar.transformer.layers.\1.0.fn.to_\2."),
    (r"^epipolar\.layers\.(\d+)\.attention\.out\.", r"epipolar.transformer.layers.\1.0.fn.to_out.0."),
    (r"^epipolar\.layers\.(\d+)\.feed_forward\.0\.", r"epipolar.transformer.layers.\1.1.fn.layers.0."),
    # The official layer has a dropout in between.
    (r"^epipolar\.layers\.(\d+)\.feed_forward\.2\.", r"epipolar.transformer.layers.\1.1.fn.layers.3."),
    (
        r"^epipolar\.layers\.(\d+)\.image_attention\.",
        r"epipolar.transformer.layers.\1.1.fn.self_attention.",
    ),
    (r"\.self_attention\.position\.", ".self_attention.positional_encoding.1."),
    (r"\.self_attention\.patch_embed\.", ".self_attention.patch_embedder.0."),
    (r"\.self_attention\.blocks\.(\d+)\.norm1\.", r".self_attention.transformer.layers.\1.0.norm."),
    (r"\.self_attention\.blocks\.(\d+)\.norm2\.", r".self_attention.transformer.layers.\1.1.norm."),
    (
        r"\.self_attention\.blocks\.(\d+)\.attention\.qkv\.",
        r".self_attention.transformer.layers.\1.0.fn.to_qkv.",
    ),
    (
        r"\.self_attention\.blocks\.(\d+)\.attention\.out\.",
        r".self_attention.transformer.layers.\1.0.fn.to_out.0.",
    ),
    (r"\.self_attention\.blocks\.(\d+)\.fc1\.", r".self_attention.transformer.layers.\1.1.fn.net.0."),
    (r"\.self_attention\.blocks\.(\d+)\.fc2\.", r".self_attention.transformer.layers.\1.1.fn.net.3."),
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
