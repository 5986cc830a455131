"""Weights on disk: safetensors, with the network's sizes and origin as metadata."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bayes_splat.errors import ModelError
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.models.small_encoder.sizes import Sizes

FORMAT = "bayes_splat.small_encoder"
VERSION = "1"

_REMEDY = "take proposal.checkpoint=null for the shipped weights, or train anew (docs/encoder.md)"


def save(encoder: SmallEncoder, path: Path, origin: dict[str, str] | None = None) -> None:
    """Write weights; ``origin`` says how they were made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "sizes": json.dumps(encoder.sizes._asdict()),
        **(origin or {}),
    }
    weights = {name: value.detach().contiguous() for name, value in encoder.state_dict().items()}
    partial = path.with_name(f".{path.name}.partial")
    save_file(weights, partial, metadata=metadata)
    partial.rename(path)


def load(path: Path | str) -> SmallEncoder:
    """The network of a file, in evaluation mode, without gradients.

    Raises:
        ModelError: the file is missing, broken, or not of this network and version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} cannot be read as safetensors ({reason}); {_REMEDY}") from error
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{path} says that it is of format {metadata.get('format')!r}, not {FORMAT!r}; {_REMEDY}"
        )
    if metadata.get("version") != VERSION:
        raise ModelError(
            f"{path} has weights of version {metadata.get('version')!r}, this program reads "
            f"{VERSION!r}; {_REMEDY}"
        )
    try:
        sizes = Sizes(**json.loads(metadata["sizes"]))
        with torch.device("meta"):
            encoder = SmallEncoder(sizes)
        encoder.load_state_dict(weights, strict=True, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} does not hold a small encoder ({reason}); {_REMEDY}") from error
    return encoder.float().eval().requires_grad_(False)


@cache
def shipped() -> SmallEncoder:
    """The network that comes with the package."""
    return load(Path(str(files("bayes_splat.models.small_encoder") / "weights.safetensors")))
