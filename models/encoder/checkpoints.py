"""Official checkpoints in, an encoder with their weights out.

Nothing in a file is ever executed: PyTorch's restricted unpickler reads it, and objects of classes
that it does not know (Lightning's and Hydra's, beside the weights) become empty stand-ins.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayes_splat.errors import ModelError
from bayes_splat.models import weight_files
from bayes_splat.models.encoder import official_keys
from bayes_splat.models.encoder.architecture import read_sizes
from bayes_splat.models.encoder.encoder import PixelSplatEncoder

FORMAT = "bayes_splat.pixelsplat"
"""What a file of our own training says it is."""

_SHOWN = 8  # keys in an error; more would bury the sentence


def load_pixelsplat_checkpoint(path: Path | str) -> PixelSplatEncoder:
    """The encoder of an official Lightning ``.ckpt``: re10k, acid, three views, first release.

    Which variant it is, is read off the weights. The weights stay in the file, mapped into memory,
    until they are used.

    Args:
        path: of the file; ``models/README.md`` says where to get one.

    Returns:
        In evaluation mode, without gradients.

    Raises:
        ModelError: the file is missing, broken or no such checkpoint; or weights are missing,
            unexpected or of another shape, each by its official name.
    """
    return from_official_weights(_encoder_weights(Path(path)), str(path))


def load_checkpoint(path: Path | str) -> PixelSplatEncoder:
    """The encoder of an official ``.ckpt``, or of a ``.safetensors`` of our own training.

    Raises:
        ModelError: as ``load_pixelsplat_checkpoint`` and ``weight_files.read``.
    """
    if Path(path).suffix != weight_files.SUFFIX:
        return load_pixelsplat_checkpoint(path)
    file = weight_files.read(path)
    if file.format != FORMAT:
        raise ModelError(f"{path} is of format {file.format}, not {FORMAT}; {weight_files.REMEDY}")
    return from_official_weights(file.weights, str(path))


def save_checkpoint(
    encoder: PixelSplatEncoder, path: Path, origin: Mapping[str, str] | None = None
) -> None:
    """Write an encoder that was trained here, weights by official key.

    Args:
        encoder: what to keep.
        path: ends in ``.safetensors``.
        origin: how it was made.
    """
    has_vit = encoder.sizes.vit is not None
    weights = {
        official_keys.official_key(name, has_vit=has_vit): value
        for name, value in encoder.state_dict().items()
    }
    weight_files.write(path, FORMAT, weights, origin or {})


def from_official_weights(weights: Mapping[str, Tensor], source: str) -> PixelSplatEncoder:
    """The encoder with these weights; they are not copied.

    Args:
        weights: by official key, without ``encoder.``.
        source: what errors call them.

    Raises:
        ModelError: as ``load_pixelsplat_checkpoint``.
    """
    try:
        sizes = read_sizes({key: tuple(value.shape) for key, value in weights.items()})
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    with torch.device("meta"):
        encoder = PixelSplatEncoder(sizes)
    empty = encoder.state_dict()
    official = {
        name: official_keys.official_key(name, has_vit=sizes.vit is not None) for name in empty
    }
    _require_same(weights, {official[name]: value for name, value in empty.items()}, source)
    found = {name: weights[key].detach() for name, key in official.items()}
    encoder.load_state_dict(found, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def _require_same(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    problems = []
    if missing := [key for key in wanted if key not in weights]:
        problems.append(f"{len(missing)} missing ({_listed(missing)})")
    extra = [key for key in weights if key not in wanted and not official_keys.is_unused(key)]
    if extra:
        problems.append(f"{len(extra)} unexpected ({_listed(extra)})")
    misshapen = [
        f"{key} is {tuple(weights[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in weights and weights[key].shape != value.shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({_listed(misshapen)})")
    if problems:
        raise ModelError(
            f"{source} does not fit a pixelSplat encoder, of its weights {'; '.join(problems)}; "
            "models/README.md says which files do"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _encoder_weights(path: Path) -> dict[str, Tensor]:
    """Weights by official key; everything else of the file is dropped."""
    content = _read(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise ModelError(
            f"{path} has no state_dict, so it is no Lightning checkpoint; models/README.md says "
            "where the official files are"
        )
    start = len(official_keys.PREFIX)
    weights = {
        key[start:]: value
        for key, value in state.items()
        if isinstance(key, str)
        and key.startswith(official_keys.PREFIX)
        and isinstance(value, Tensor)
    }
    if not weights:
        raise ModelError(
            f"{path} has no weights whose names begin with {official_keys.PREFIX!r}; it is not a "
            "checkpoint of pixelSplat"
        )
    return weights


def _read(path: Path) -> Any:
    try:
        strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        # Stand-ins for all of them, named as the file names them.
        known: list[Any] = [_StandIn, *((_StandIn, name) for name in strange)]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} does not exist; models/README.md says where the official files are"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path} cannot be read safely as a checkpoint ({reason}); download it again, and "
            "trust no file that asks for more"
        ) from error


class _StandIn:
    """Takes the place of any class or function that a file names, and does nothing."""

    def __new__(cls, *arguments: object, **named: object) -> "_StandIn":
        return super().__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass
