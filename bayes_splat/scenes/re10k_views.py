"""Which frames of a video are seen and which are held out: pixelSplat's view samplers.

Each chooses by a key, a number of frames, a generator and how far training has come; the same
generator gives the same choice. The steps below are those of pixelSplat (Charatan et al. 2024).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from bayes_splat.errors import ConfigError, SceneError
from bayes_splat.scenes import re10k_chunks


class Unsuitable(SceneError):
    """A scene that pixelSplat passes over: too short, wide-angle, of another size, not moving."""


class Choice(NamedTuple):
    """Frames of one scene, as positions in its list.

    Attributes:
        context: seen.
        targets: held out; may be context frames too, as in pixelSplat.
    """

    context: tuple[int, ...]
    targets: tuple[int, ...]


class ViewSampler(Protocol):
    """Chooses frames."""

    def choose(self, key: str, num_frames: int, generator: torch.Generator, step: int) -> Choice:
        """Frames of the scene ``key``.

        Raises:
            SceneError: ``Unsuitable`` where the scene is to be passed over.
        """
        ...


@dataclass(frozen=True)
class BoundedViews:
    """For training: two context frames some way apart, targets between them.

    Attributes:
        num_context, num_targets: frames; further context frames lie between the first two.
        initial_gap, final_gap: least and most frames from the first to the last context frame at
            step 0 and from ``warm_up_steps`` on; linear in between, rounded down.
        warm_up_steps: over which the gap grows.
        min_distance: frames between a target and the outer context frames.
    """

    num_context: int = 2
    num_targets: int = 4
    initial_gap: tuple[int, int] = (25, 25)
    final_gap: tuple[int, int] = (45, 45)
    warm_up_steps: int = 150_000
    min_distance: int = 0

    def gap(self, step: int) -> tuple[int, int]:
        """Least and most frames between the outer context frames at a step."""
        if self.warm_up_steps <= 0:
            return self.final_gap
        share = min(1.0, step / self.warm_up_steps)
        least, most = (
            start + int((end - start) * share)
            for start, end in zip(self.initial_gap, self.final_gap, strict=True)
        )
        return least, most

    def choose(self, key: str, num_frames: int, generator: torch.Generator, step: int) -> Choice:
        """See ``ViewSampler``; targets are drawn with replacement, further context without."""
        least, most = self.gap(step)
        most = min(num_frames - 1, most)
        least = max(2 * self.min_distance, least)
        if most < least:
            raise Unsuitable(f"{key} has {num_frames} frames, too few for a gap of {least}")
        gap = _integers(least, most + 1, 1, generator)[0]
        left = _integers(0, num_frames - gap, 1, generator)[0]
        right = left + gap
        targets = _integers(
            left + self.min_distance, right + 1 - self.min_distance, self.num_targets, generator
        )
        extra = self.num_context - 2
        if extra > gap - 1:
            raise Unsuitable(f"{key}: a gap of {gap} has no room for {extra} more context frames")
        between = (
            torch.randperm(gap - 1, generator=generator)[:extra] if extra else torch.tensor([])
        )
        context = left, *(left + 1 + int(i) for i in between), right
        return Choice(context, targets)


@dataclass(frozen=True)
class ArbitraryViews:
    """Any frames: those named, or random ones, all different as far as there are enough.

    Attributes:
        num_context, num_targets: how many are drawn where none are named.
        context, targets: frames to take instead.
    """

    num_context: int = 2
    num_targets: int = 1
    context: tuple[int, ...] | None = None
    targets: tuple[int, ...] | None = None

    def choose(self, key: str, num_frames: int, generator: torch.Generator, step: int) -> Choice:
        """See ``ViewSampler``."""
        order = torch.randperm(num_frames, generator=generator).tolist()
        named = {*(self.context or ()), *(self.targets or ())}
        free = [frame for frame in order if frame not in named]
        count = 0 if self.context is not None else self.num_context
        context, rest = self.context or tuple(free[:count]), free[count:]
        targets = self.targets or tuple(rest[: self.num_targets])
        _require(key, Choice(context, targets), num_frames)
        if len(context) < 2 or not targets:
            raise Unsuitable(f"{key} has {num_frames} frames, too few to choose from")
        return Choice(context, targets)


@dataclass(frozen=True)
class EvaluationViews:
    """For testing: the frames that an evaluation index names.

    Attributes:
        index: key -> frames; None for scenes to be passed over.
        num_context: 2, or 3: the frame half-way between the two is added.
    """

    index: Mapping[str, Choice | None] = field(default_factory=dict)
    num_context: int = 2

    def __post_init__(self) -> None:
        if self.num_context not in (2, 3):
            raise ConfigError(f"num_context is {self.num_context} but must be 2 or 3")

    def choose(self, key: str, num_frames: int, generator: torch.Generator, step: int) -> Choice:
        """See ``ViewSampler``; nothing is random."""
        if key not in self.index:
            raise SceneError(
                f"the evaluation index has no scene {key}; give an index made for this data"
            )
        choice = self.index[key]
        if choice is None:
            raise Unsuitable(f"{key}: the evaluation index leaves this scene out")
        _require(key, choice, num_frames)
        if self.num_context == 3:
            left, right = choice.context[0], choice.context[-1]
            choice = choice._replace(context=(left, (left + right) // 2, right))
        return choice


def read_evaluation_index(path: Path) -> dict[str, Choice | None]:
    """An evaluation index: ``{key: null | {"context": [a, b], "target": [...], ...}}``.

    Raises:
        SceneError: the file is missing or malformed; names the scene and the value.
    """
    remedy = "take evaluation_index_re10k.json or evaluation_index_acid.json of pixelSplat's assets"
    table = re10k_chunks.read_json(path, remedy)
    return {key: _choice(value, f"{path}, scene {key}") for key, value in table.items()}


def _choice(value: object, where: str) -> Choice | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise SceneError(f"{where} is {value!r}; write null, or an object with context and target.")
    found = []
    for name, least in (("context", 2), ("target", 1)):
        frames = value.get(name)
        if not isinstance(frames, list) or not all(type(f) is int and f >= 0 for f in frames):
            raise SceneError(f"{where}: {name} is {frames!r}; write a list of frame numbers.")
        if len(frames) < least:
            raise SceneError(f"{where}: {name} is {frames}; name at least {least}.")
        found.append(tuple(frames))
    return Choice(*found)


def _require(key: str, choice: Choice, num_frames: int) -> None:
    last = max(*choice.context, *choice.targets, -1, -1)
    if last >= num_frames:
        raise SceneError(
            f"{key} has frames 0 to {num_frames - 1} but frame {last} is asked for; give an index "
            "or frames made for this data"
        )


def _integers(low: int, high: int, count: int, generator: torch.Generator) -> tuple[int, ...]:
    return tuple(torch.randint(low, high, (count,), generator=generator).tolist())
