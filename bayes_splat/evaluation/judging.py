"""One method on one scene: fit, predict, score; what comes out is rows, curves and maps."""

import math
import time
from typing import NamedTuple

import numpy as np
import torch

from bayes_splat import process_memory
from bayes_splat.diagnostics import PixelDiagnostics, has_converged, nan_extreme
from bayes_splat.evaluation import curves, predictive, scaling, scores, seen
from bayes_splat.evaluation.curves import Curves
from bayes_splat.evaluation.methods import Fitted, Method, Task, was_stopped
from bayes_splat.evaluation.scores import Maps, Truth
from bayes_splat.evaluation.seen import Seen
from bayes_splat.evaluation.tables import Row
from bayes_splat.rendering.renderer import RenderCount
from bayes_splat.types import Views

RAW, SCALED = "raw", "scaled"
"""The predictive distribution as it is, and with one scale fitted on context pixels."""


class Target(NamedTuple):
    """What methods are judged on.

    Attributes:
        views: cameras, photographs, names.
        truth: the same as arrays.
        seen: what of it the context views saw.
    """

    views: Views
    truth: Truth
    seen: Seen


class Judged(NamedTuple):
    """What an evaluation of one method on one scene leaves.

    Attributes:
        views: one row a scaling and target view.
        scene: one row a scaling, over all target views together.
        curves: by scaling.
        mean, std: pictures of the raw predictive distribution, for panels.
    """

    views: list[Row]
    scene: list[Row]
    curves: dict[str, Curves]
    mean: np.ndarray
    std: np.ndarray


def prepare(task: Task, views: Views) -> Target:
    """Photographs, depths and masks of the target views."""
    shape = (len(views), *views.cameras.image_shape)
    depths = np.full(shape, np.nan)
    if views.depths is not None:
        depths = views.depths.double().numpy()
    found = seen.find(task.model, views)
    colors = views.images.movedim(1, -1).double().numpy()
    cameras = task.context.cameras
    depth_range = float(cameras.far.max() - cameras.near.min())
    truth = Truth(colors, depths, found.is_outside, found.is_never_seen, depth_range)
    return Target(views, truth, found)


def judge(task: Task, method: Method, target: Target, scale_from: str) -> Judged:
    """Run a method and score it.

    Args:
        task: its ``count`` starts at zero.
        method: one of ``methods.METHODS``.
        target: views.
        scale_from: which context pixels the scale is fitted on, see ``scaling.CONTEXT_PIXELS``.

    Raises:
        KeyboardInterrupt: the user stopped a sampler.
    """
    process_memory.reset_peak()
    started = time.perf_counter()
    fitted = method(task)
    if was_stopped(fitted.draws, task.config.time_limit):
        raise KeyboardInterrupt
    cost = _cost(time.perf_counter() - started, task.count)
    started = time.perf_counter()
    record = predictive.predict(
        fitted.model,
        fitted.draws,
        target.views.cameras,
        task.max_components,
        discrepancy=fitted.discrepancy,
    )
    cost["predict_seconds"] = time.perf_counter() - started
    cost["components"] = float(len(record.means))
    cost["peak_memory"] = process_memory.peak_megabytes()
    cost |= _convergence(fitted, target, cost["seconds"])
    scale = 1.0  # what was learned from context pixels already is not scaled once more
    if fitted.discrepancy is None:
        pixels = scaling.CONTEXT_PIXELS[scale_from](fitted.model, fitted.draws, task.max_components)
        scale = scaling.fit_scale(*pixels)
    raw = scores.maps(record, target.truth)
    stretched = scores.stretched(raw, record, target.truth, scale)
    views: list[Row] = []
    scene: list[Row] = []
    drawn: dict[str, Curves] = {}
    for name, found, factor in ((RAW, raw, 1.0), (SCALED, stretched, scale)):
        shared: Row = {"scaling": name, "scale": factor, **cost}
        views += [{**row, **shared} for row in _view_rows(found, target)]
        scene.append({**scores.score(found, target.truth), **shared})
        if not np.isnan(target.truth.colors).all():
            drawn[name] = curves.curves(found, target.truth)
    return Judged(views, scene, drawn, raw.mean, raw.std)


def _view_rows(found: Maps, target: Target) -> list[Row]:
    return [
        {
            "view": name,
            "unseen_by": target.seen.source[i],
            "gap_degrees": float(target.seen.gap[i]),
            **scores.score(found.view(i), target.truth.view(i)),
        }
        for i, name in enumerate(target.views.names)
    ]


def _cost(seconds: float, count: RenderCount) -> dict[str, float]:
    return {
        "seconds": seconds,
        "renders": count.forward,
        "renders_with_gradient": count.differentiable,
    }


def _convergence(fitted: Fitted, target: Target, seconds: float) -> dict[str, float]:
    """R-hat and ESS at a grid of target pixels, for methods that run chains."""
    found = {
        "chains": float(fitted.draws.is_whole.sum()) if fitted.has_chains else math.nan,
        "draws": float(fitted.draws.num_draws),
        "is_optimised": math.nan if fitted.has_converged is None else float(fitted.has_converged),
    }
    if not fitted.has_chains:
        return found
    pixels = predictive.diagnose(fitted.model, fitted.draws, target.views.cameras)
    return found | _of_pixels(pixels, fitted.draws.seconds["sampling"] or seconds)


def _of_pixels(pixels: PixelDiagnostics, seconds: float) -> dict[str, float]:
    is_judged = pixels.is_judged
    rhat, ess = pixels.statistics.rhat[is_judged], pixels.statistics.ess_bulk[is_judged]
    passed = has_converged(pixels.statistics)[is_judged]
    least, median = nan_extreme(np.min, ess), nan_extreme(np.median, ess)
    return {
        "median_rhat": nan_extreme(np.median, rhat),
        "worst_rhat": nan_extreme(np.max, rhat),
        "least_ess": least,
        "median_ess": median,
        "least_ess_per_second": least / seconds,
        "median_ess_per_second": median / seconds,
        "converged_share": float(passed.mean()) if passed.size else math.nan,
    }


def set_threads(threads: int | None) -> None:
    """Threads of PyTorch, where the options name a number."""
    if threads is not None:
        torch.set_num_threads(threads)
