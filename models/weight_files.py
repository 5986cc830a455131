"""Weights in safetensors files, with metadata that says which network they are of.

Nothing in such a file can be executed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bayes_splat.errors import ModelError

SUFFIX = ".safetensors"

VERSION = "1"

REMEDY = "take proposal.checkpoint=null for the shipped weights, or train anew (bayes-splat train)"


class WeightFile(NamedTuple):
    """What a file holds.

    Attributes:
        format: which network.
        metadata: all that the file says of itself.
        weights: by name.
    """

    format: str
    metadata: dict[str, str]
    weights: dict[str, Tensor]


def write(
    path: Path, kind: str, weights: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a file; an interruption leaves the earlier one.

    Args:
        path: of the file.
        kind: its format.
        weights, metadata: the content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in weights.items()},
        partial,
        metadata={"format": kind, "version": VERSION, **metadata},
    )
    partial.replace(path)


def read(path: Path | str) -> WeightFile:
    """Everything in a file.

    Raises:
        ModelError: the file is missing or broken, or not one of ours of this version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} cannot be read as safetensors ({reason}); {REMEDY}") from error
    if not metadata.get("format", "").startswith("bayes_splat."):
        raise ModelError(f"{path} does not say that it holds weights of bayes_splat; {REMEDY}")
    if metadata.get("version") != VERSION:
        raise ModelError(
            f"{path} is of version {metadata.get('version')!r}, this program reads {VERSION!r}; "
            f"{REMEDY}"
        )
    return WeightFile(metadata["format"], metadata, weights)


def kind(path: Path | str) -> str:
    """The format that a file says it has.

    Raises:
        ModelError: as ``read``.
    """
    return read(path).format
