"""A small encoder that is smaller still, and scenes for it."""

from functools import cache
from pathlib import Path

import torch

from bayes_splat.models.small_encoder import weights
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.models.small_encoder.sizes import TINY
from bayes_splat.scenes.procedural import ProceduralOptions, procedural_scene
from bayes_splat.types import Views


def tiny_encoder(seed: int = 0) -> SmallEncoder:
    """No weight is zero, so that every part has its say."""
    torch.manual_seed(seed)
    encoder = SmallEncoder(TINY)
    with torch.no_grad():
        for parameter in encoder.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.normal_(0.0, 1.0 if fan == 1 else (1.5 / fan) ** 0.5)
    return encoder.eval().requires_grad_(False)


def tiny_file(folder: Path) -> Path:
    """Its weights on disk."""
    path = folder / "tiny.safetensors"
    weights.save(tiny_encoder(), path, {"steps": "0"})
    return path


@cache
def scene(width: int = 24, height: int = 16, num_views: int = 3, seed: int = 1) -> Views:
    """Views of a random scene with true depths."""
    options = ProceduralOptions(aspect=height / width, num_objects=(2, 4), samples=1)
    views = procedural_scene(seed, "test", width, num_views, options)
    assert views.cameras.image_shape == (height, width)
    return views
