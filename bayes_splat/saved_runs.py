"""Runs on disk, of today or of other days, read back to be judged and compared."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bayes_splat import arviz_bridge, diagnostics, results
from bayes_splat.diagnostics import PixelDiagnostics, PixelGrid
from bayes_splat.errors import OutputError
from bayes_splat.unfinished import DRAWS, num_unfinished
from bayes_splat.verdict import Verdict, verdict

_GROUPS = ("predictions", "predictions_constant_data", "sample_stats", "constant_data")


class SavedRun(NamedTuple):
    """What a run's folder tells of its chains.

    Attributes:
        name: of the folder, or of its sampler.
        sampler: its name; "unknown" where the folder does not say.
        color, depth: renders at the grid's pixels, all chains.
        grid: the pixels.
        image_shape: (height, width) of the target views.
        view_names: of the target views.
        acceptance_rate: [chain draw]; NaN where it is not known.
        is_whole: chains that made all draws.
        num_diverging: steps after warmup, as a lower bound: a draw counts once.
        is_interrupted: stopped before its last draw.
        seconds: wall time of "warmup", "sampling" and "rest"; NaN where unknown.
        renders: pictures drawn before the first prediction; NaN where unknown.
        peak_memory: MB; NaN where unknown.
    """

    name: str
    sampler: str
    color: Float[np.ndarray, "chain draw pixel 3"]
    depth: Float[np.ndarray, "chain draw pixel"]
    grid: PixelGrid
    image_shape: tuple[int, int]
    view_names: tuple[str, ...]
    acceptance_rate: Float[np.ndarray, "chain draw"]
    is_whole: Bool[np.ndarray, " chain"]
    num_diverging: int
    is_interrupted: bool
    seconds: dict[str, float]
    renders: float
    peak_memory: float

    def judge(self) -> tuple[PixelDiagnostics, Verdict]:
        """Diagnostics of the whole chains, and the verdict."""
        found = diagnostics.diagnose_pixels(self.color[self.is_whole], self.depth[self.is_whole])
        return found, verdict(
            found,
            self.grid,
            self.image_shape,
            self.view_names,
            num_diverging=self.num_diverging,
            is_interrupted=self.is_interrupted,
            left_out=np.flatnonzero(~self.is_whole).tolist(),
            sampler=self.sampler,
        )


def load_run(folder: Path | str, name: str | None = None) -> SavedRun:
    """Read a run from the folder that ``bayes-splat reconstruct`` wrote.

    Args:
        folder: with posterior.nc, and as far as they are there run.json and config.yaml.
        name: to be shown; None: that of the folder.

    Raises:
        OutputError: there is no posterior.nc, or it is not one of ours.
    """
    place = Path(folder)
    if (place / DRAWS).is_dir() and not (place / "posterior.nc").is_file():
        if not num_unfinished(place):
            raise OutputError(
                f"{place} is a run that was stopped before its first draw; run it again."
            )
        raise OutputError(
            f"{place} is a run that was killed: bayes-splat finish {place} writes its results."
        )
    path = place / "posterior.nc"
    container = results.load(path, _GROUPS)
    missing = [group for group in _GROUPS if not arviz_bridge.has_group(container, group)]
    if missing:
        raise OutputError(
            f"{path} has no group {missing[0]}: give the folder of a run of bayes-splat."
        )
    renders, pixels, stats, constant = (arviz_bridge.group(container, name) for name in _GROUPS)
    about, record = arviz_bridge.attributes(container), _record(place)
    depth = renders["depth"].values
    missing_rate = np.full(depth.shape[:2], np.nan)
    seconds = {key: _number(value) for key, value in record.get("seconds", {}).items()}
    for phase in ("warmup", "sampling"):
        seconds.setdefault(phase, _number(about.get(f"seconds_{phase}")))
    is_whole = np.ones(len(depth), dtype=bool)
    if "stopped" in stats:
        is_whole = ~stats["stopped"].values[:, -1]
    return SavedRun(
        name=name or place.resolve().name,
        sampler=record.get("sampler") or _sampler(place / "config.yaml"),
        color=renders["color"].values,
        depth=depth,
        grid=PixelGrid(*(pixels[f"pixel_{key}"].values for key in PixelGrid._fields)),
        image_shape=(int(constant["target_height"]), int(constant["target_width"])),
        view_names=tuple(map(str, constant["target_view"].values)),
        acceptance_rate=stats["acceptance_rate"].values
        if "acceptance_rate" in stats
        else missing_rate,
        is_whole=is_whole,
        num_diverging=int(stats["diverging"].values.sum()) if "diverging" in stats else 0,
        is_interrupted=bool(about.get("is_interrupted", record.get("is_interrupted", False))),
        seconds=seconds,
        renders=_number(record.get("renders", {}).get("sampling", {}).get("forward")),
        peak_memory=_number(record.get("peak_memory")),
    )


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sampler(path: Path) -> str:
    """Its name, as ``config.yaml`` of every version has it."""
    try:
        found = re.search(r"^sampler:\s*\n\s+name:\s*(\w+)", path.read_text("utf-8"), re.M)
    except (OSError, UnicodeDecodeError):
        return "unknown"
    return found[1] if found else "unknown"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
