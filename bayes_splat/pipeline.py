"""The main job, told once from top to bottom: photographs in, draws, pictures and verdict out."""

import json
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from bayes_splat import (
    arviz_bridge,
    diagnostics,
    export,
    metrics,
    report,
    results,
    site_table,
    view_choice,
)
from bayes_splat.config import RunConfig
from bayes_splat.diagnostics import PixelDiagnostics, PixelGrid, Verdict
from bayes_splat.files import atomic_path, output_error
from bayes_splat.inference import sample_posterior
from bayes_splat.models import plane_sweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer, make_renderer
from bayes_splat.samplers.sampling import Draws
from bayes_splat.types import Gaussians, Views
from bayes_splat.uncertainty import Prediction, PredictionAccumulator, combine_channels


class Progress(Protocol):
    """Who is told how far the job has come."""

    def update(self, phase: str, step: int, total: int, info: Any, seconds: float) -> None:
        """After every step of the sampler."""
        ...

    def message(self, text: str) -> None:
        """Between the steps of the job."""
        ...


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
        text: the five lines, the verdict and the place of the results.
        out: folder of the results.
        is_interrupted: stopped before its last draw; what it had is in ``out``.
        scores: the numbers, as in ``run.json``.
    """

    text: str
    out: Path
    is_interrupted: bool
    scores: dict[str, Any]


class PixelDraws(NamedTuple):
    """Renders of every draw at chosen target pixels.

    Attributes:
        grid: the pixels.
        color: [chain draw pixel 3]; depth, alpha: [chain draw pixel]; float32.
    """

    grid: PixelGrid
    color: np.ndarray
    depth: np.ndarray
    alpha: np.ndarray


GRID_PIXELS = 1024
"""Target pixels, over all target views, whose chains are judged."""

MAP_PIXELS = 8192
"""Most target pixels in the R-hat maps."""

CHECKPOINT = "draws.partial.npz"
"""Written about once a minute while chains run; gone once the results are complete."""


def reconstruct(config: RunConfig, composed: str, progress: Progress) -> RunSummary:
    """Run the main job and write its results.

    Args:
        config: the checked options.
        composed: the composed configuration as YAML, saved beside the results.
        progress: told what happens.

    Raises:
        BayesSplatError: anything about the input that the user can mend.
    """
    started = time.perf_counter()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    context, targets = view_choice.load_views(config)
    out = _output_folder(config)
    _write_text(out / "config.yaml", composed)

    progress.message(f"proposing depths for {len(context)} views by {config.proposal.name}")
    proposal = plane_sweep.propose(context, config.proposal)
    renderer = CountingRenderer(make_renderer(config.renderer.name))
    model = SplatModel(proposal, context, renderer, config.model)
    progress.message(
        f"sampling {len(proposal)} Gaussians in {config.chains} chains by {config.sampler.name}"
    )
    draws = sample_posterior(
        model,
        config.sampler,
        chains=config.chains,
        draws=config.draws,
        warmup=config.warmup,
        thinning=config.thinning,
        seed=config.seed,
        time_limit=config.time_limit,
        progress=progress,
        checkpoint=lambda found: _save_checkpoint(out / CHECKPOINT, found),
    )
    counted = {"sampling": vars(renderer.count).copy()}
    if not draws.stats:
        raise KeyboardInterrupt  # before the first draw: there is nothing to keep

    progress.message(f"rendering {len(targets)} target views for every draw")
    prediction, pixels, mapped = predict(model, draws, targets)
    counted["all"] = vars(renderer.count).copy()
    judged, verdict = judge(pixels, targets, draws)
    scores = score(model, draws, prediction, judged, targets)
    seconds = time.perf_counter() - started
    run = {
        "seed": config.seed,
        "versions": _versions(),
        "seconds": {**draws.seconds, "rest": seconds - sum(draws.seconds.values())},
        "num_chains": judged.num_chains,
        "num_draws": judged.num_draws,
        "renders": counted,
        "scores": scores,
        "verdict": verdict.sentence,
        "is_converged": verdict.is_converged,
        "is_interrupted": draws.is_interrupted,
        "threads": torch.get_num_threads(),
    }
    # The summary first, the largest file last: a full disk then costs the least.
    _write_text(out / "run.json", json.dumps(_without_nan(run), indent=2))
    _write(out, model, draws, prediction, pixels, mapped, judged, targets, config.seed)
    (out / CHECKPOINT).unlink(missing_ok=True)
    text = report.summary_text(
        prediction, judged, verdict, out=out, seconds=seconds, images=_photographs(targets)
    )
    return RunSummary(text, out, draws.is_interrupted, scores)


def predict(
    model: SplatModel, draws: Draws, targets: Views
) -> tuple[Prediction, PixelDraws, PixelDraws]:
    """Render the target views for every draw, one at a time.

    Returns:
        The maps, and the renders of every draw at two fixed grids of pixels: the one that is
        judged, and a finer one for maps of R-hat.
    """
    accumulator = PredictionAccumulator(targets.images)
    height, width = targets.cameras.image_shape
    grids = [
        diagnostics.fixed_grid((height, width), len(targets), most)
        for most in (GRID_PIXELS, MAP_PIXELS)
    ]
    kept: list[list[tuple[torch.Tensor, ...]]] = [[], []]
    for index in range(draws.sites["depth"].shape[1]):
        depth, opacity, noise_scale = (
            draws.sites[name][:, index].double() for name in ("depth", "opacity", "noise_scale")
        )
        with torch.no_grad():
            rendering = model.render(depth, opacity, targets.cameras)
        # A view that was never photographed gets the context views' mean noise variance.
        noise = noise_scale.square().reshape(len(depth), -1).mean(-1).sqrt()
        accumulator.add(rendering, noise)
        for grid, rows in zip(grids, kept, strict=True):
            rows.append(tuple(v[:, grid.view, grid.row, grid.column] for v in rendering))
    judged, mapped = (
        PixelDraws(grid, *(torch.stack(v, dim=1).float().numpy() for v in zip(*rows, strict=True)))
        for grid, rows in zip(grids, kept, strict=True)
    )
    return accumulator.result(), judged, mapped


def judge(pixels: PixelDraws, targets: Views, draws: Draws) -> tuple[PixelDiagnostics, Verdict]:
    """Diagnostics at the grid of target pixels, and the verdict on the run."""
    found = diagnostics.diagnose_pixels(pixels.color, pixels.depth)
    verdict = diagnostics.verdict(
        found,
        pixels.grid,
        targets.cameras.image_shape,
        targets.names,
        num_diverging=int(draws.stats["diverging"].sum()),
        is_interrupted=draws.is_interrupted,
    )
    return found, verdict


def score(
    model: SplatModel,
    draws: Draws,
    prediction: Prediction,
    judged: PixelDiagnostics,
    targets: Views,
) -> dict[str, Any]:
    """The figures of merit on the target views.

    How far chains have converged; by how many dB pictures change in the order of viewers, who sort
    by centres; and where the targets were photographed, per view: PSNR (dB) of the mean and of the
    proposal's mode, AUSE and the value of a random order, Spearman of error and spread of draws;
    over all views: coverage of the 90 % interval and NLL (nats a channel).
    """
    judged_rhat = judged.statistics.rhat[judged.is_judged]
    passed = diagnostics.has_converged(judged.statistics)[judged.is_judged]
    scores = {
        "worst_rhat": judged.worst_rhat,
        "least_ess": judged.least_ess,
        "median_rhat": diagnostics.nan_extreme(np.median, judged_rhat),
        "median_ess": diagnostics.nan_extreme(
            np.median, judged.statistics.ess_bulk[judged.is_judged]
        ),
        "converged_share": float(passed.mean()) if passed.size else 0.0,
        "psnr_between_orders": _psnr_between_orders(model, draws, targets),
    }
    photographs = _photographs(targets)
    if photographs is None or prediction.pit is None or prediction.nll is None:
        return scores
    truth = photographs.transpose(0, 2, 3, 1)
    proposal = model.proposal
    mode = proposal.mode()[None].double(), proposal.opacities[None].double()
    with torch.no_grad():
        plain = model.render(*mode, targets.cameras).colors[0].numpy()
    error = np.abs(prediction.mean - truth).mean(-1)
    std = combine_channels(prediction.std)
    spread = combine_channels(prediction.epistemic_std)
    return scores | {
        "psnr": [metrics.psnr(a, b) for a, b in zip(prediction.mean, truth, strict=True)],
        "psnr_of_mode": [metrics.psnr(a, b) for a, b in zip(plain, truth, strict=True)],
        "coverage_90": metrics.coverage_from_pit(prediction.pit, 0.9),
        "ause_mae": [metrics.ause(e, s) for e, s in zip(error, std, strict=True)],
        "random_ause_mae": [metrics.random_ause(e) for e in error],
        "spearman": [metrics.spearman(e, s) for e, s in zip(error, spread, strict=True)],
        "nll": float(np.nanmean(prediction.nll)),
    }


def _psnr_between_orders(model: SplatModel, draws: Draws, targets: Views) -> float:
    """PSNR of the last draws' pictures in the model's order against the order of centres."""
    depth, opacity = (draws.sites[name][:, -1].double() for name in ("depth", "opacity"))
    with torch.no_grad():
        ours = model.render(depth, opacity, targets.cameras).colors
        theirs = model.renderer.render(model.gaussians(depth, opacity), targets.cameras).colors
    return metrics.psnr(ours.numpy(), theirs.numpy())


def _write(
    out: Path,
    model: SplatModel,
    draws: Draws,
    prediction: Prediction,
    pixels: PixelDraws,
    mapped: PixelDraws,
    judged: PixelDiagnostics,
    targets: Views,
    seed: int,
) -> None:
    """Pictures, tables, the scene and the draws."""
    sites = {name: values.numpy() for name, values in draws.sites.items()}
    site_table.write_table(out / "summary.csv", site_table.site_table(sites, judged))
    export.write_ply(out / "scene.ply", mean_scene(model, draws))
    shape = (len(targets), *targets.cameras.image_shape)
    found = diagnostics.diagnose_pixels(mapped.color, mapped.depth, summarise=diagnostics.only_rhat)
    report.write_targets(
        out,
        targets.names,
        prediction,
        images=_photographs(targets),
        rhat=diagnostics.rhat_map(found, mapped.grid, shape),
    )
    results.save(to_arviz(model, draws, pixels, targets, seed=seed), out / "posterior.nc")


def to_arviz(
    model: SplatModel, draws: Draws, pixels: PixelDraws, targets: Views, *, seed: int = 0
) -> arviz_bridge.Container:
    """Draws, statistics, data and rendered target pixels as ArviZ groups."""
    return results.build(
        sites=draws.sites,
        stats=draws.stats,
        warmup_stats=draws.warmup_stats,
        context=model.views,
        targets=targets,
        grid=pixels.grid,
        color=pixels.color,
        depth=pixels.depth,
        alpha=pixels.alpha,
        constants={
            "mode_depth": (("gaussian",), model.proposal.mode().numpy()),
            "bucket_probabilities": (
                ("gaussian", "bucket"),
                model.proposal.probabilities.numpy(),
            ),
            "seed": ((), seed),
        },
    )


def mean_scene(model: SplatModel, draws: Draws) -> Gaussians:
    """One scene for viewers: posterior median depth and mean opacity of every Gaussian."""
    depth = draws.sites["depth"].flatten(0, 1).median(0).values
    opacity = draws.sites["opacity"].flatten(0, 1).mean(0)
    return model.proposal.gaussians(depth, opacity)


def _output_folder(config: RunConfig) -> Path:
    if config.out is not None:
        out = Path(config.out)
    else:
        name = Path(config.scene).resolve().name if config.scene != "demo" else "demo"
        out = Path("outputs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    return out


def _save_checkpoint(path: Path, draws: Draws) -> None:
    arrays = {name: values.numpy() for name, values in {**draws.sites, **draws.stats}.items()}
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _photographs(views: Views) -> np.ndarray | None:
    """Images of the views; None where there are none (a new view that nobody photographed)."""
    return None if bool(views.images.isnan().all()) else np.asarray(views.images.numpy())


def _versions() -> dict[str, str]:
    names = ("bayes-splat", "torch", "pyro-ppl", "arviz", "gsplat", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
