"""Weights of the small encoder on disk, with the network's sizes and origin as metadata."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from bayes_splat.errors import ModelError
from bayes_splat.models import weight_files
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.models.small_encoder.sizes import Sizes

FORMAT = "bayes_splat.small_encoder"


def save(encoder: SmallEncoder, path: Path, origin: Mapping[str, str] | None = None) -> None:
    """Write weights; ``origin`` says how they were made."""
    metadata = {"sizes": json.dumps(encoder.sizes._asdict()), **(origin or {})}
    weight_files.write(path, FORMAT, encoder.state_dict(), metadata)


def load(path: Path | str) -> SmallEncoder:
    """The network of a file, in evaluation mode, without gradients.

    Raises:
        ModelError: the file is missing, broken, or not of this network and version.
    """
    file = weight_files.read(path)
    try:
        if file.format != FORMAT:
            raise ValueError(f"its format is {file.format}")
        sizes = Sizes(**json.loads(file.metadata["sizes"]))
        with torch.device("meta"):
            encoder = SmallEncoder(sizes)
        encoder.load_state_dict(file.weights, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} does not hold a small encoder ({reason}); {weight_files.REMEDY}"
        ) from error
    return encoder.float().eval().requires_grad_(False)


@cache
def shipped() -> SmallEncoder:
    """The network that comes with the package."""
    return load(Path(str(files("bayes_splat.models.small_encoder") / "weights.safetensors")))
