"""The official encoder's numbers, and the weights that they were made with.

The weights are made from their names alone, so that they need not be stored.
"""

import json
import math
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.models.encoder.rays import Context

ROOT = Path(__file__).parents[1]
GOLDEN = Path(os.environ.get("BAYES_SPLAT_GOLDEN", ROOT / "../shared/golden")).resolve()

needed = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"no numbers in {GOLDEN}; set BAYES_SPLAT_GOLDEN"
)
"""Mark of tests that read the official numbers."""


@cache
def read(name: str) -> dict[str, Any]:
    """One of the files; nobody may change what it gives."""
    content: dict[str, Any] = torch.load(GOLDEN / name, weights_only=True)
    return content


def pair() -> dict[str, dict[str, Tensor]]:
    """The 64 x 64 pair: inputs, intermediates, outputs_deterministic."""
    square: dict[str, dict[str, Tensor]] = read("pixelsplat_encoder.pt")["square_64x64"]
    return square


def context() -> Context:
    """What the official encoder was given."""
    inputs = pair()["inputs"]
    names = ("image", "extrinsics", "intrinsics", "near", "far")
    return Context(*(inputs[name] for name in names))


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Official key -> shape of the whole re10k encoder."""
    listed = json.loads((GOLDEN / "pixelsplat_state_shapes.json").read_text("utf-8"))
    return {key: tuple(entry["shape"]) for key, entry in listed.items()}


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight that the recipe makes of a name."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode("utf-8")))
    n = torch.randn(shape, generator=generator)
    if leaf == "running_mean":
        return 0.1 * n
    if leaf == "running_var":
        return 1 + 0.1 * n.abs()
    if leaf in ("cls_token", "pos_embed"):
        return 0.2 * n
    if leaf == "bias":
        return 0.1 * n
    if len(shape) == 1:
        return 1 + 0.1 * n
    return n / math.sqrt(n.numel() / shape[0])
