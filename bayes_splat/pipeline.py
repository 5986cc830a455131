"""The main job, told once from top to bottom: photographs in, draws, pictures and verdict out."""

import json
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch

from bayes_splat import (
    arviz_bridge,
    diagnostics,
    export,
    held_out,
    report,
    results,
    site_table,
    view_choice,
)
from bayes_splat.config import RunConfig, load_saved
from bayes_splat.diagnostics import PixelDiagnostics
from bayes_splat.discrepancy import TERMS
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.errors import ConfigError, ModelError
from bayes_splat.files import atomic_path, output_error, writable_folder
from bayes_splat.held_out import HeldOut
from bayes_splat.inference import sample_posterior
from bayes_splat.models import proposals, scene_sites
from bayes_splat.models.assembly import assemble
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.predictions import PixelDraws, judge, mean_scene, photographs, predict, score
from bayes_splat.rendering.renderer import CountingRenderer
from bayes_splat.samplers.failures import Action, FailurePolicy, StepError
from bayes_splat.samplers.sampling import Draws
from bayes_splat.samplers.store import DiskStore, Store
from bayes_splat.types import Views
from bayes_splat.uncertainty import Prediction
from bayes_splat.unfinished import DRAWS, refuse_to_overwrite, remedy, unfinished_draws

SITES = ("depth", "opacity", "noise_scale", "present")
"""What pictures are made of; ``present`` with model.count=variable only."""

BESIDE = ("inclusion", "num_gaussians", "transition", "layers", "num_layers")
"""What is drawn beside that with model.count=variable and under Markov priors."""


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


class _Job(NamedTuple):
    """What is the same before and after sampling."""

    config: RunConfig
    out: Path
    targets: Views
    model: SplatModel
    learned: HeldOut | None
    renderer: CountingRenderer
    started: float


def reconstruct(config: RunConfig, composed: str, progress: Progress) -> RunSummary:
    """Run the main job and write its results.

    Args:
        config: the checked options.
        composed: the composed configuration as YAML, saved beside the results.
        progress: told what happens.

    Raises:
        BayesSplatError: anything about the input that the user can mend.
    """
    if config.out is not None:
        refuse_to_overwrite(Path(config.out))
    job = _prepare(config, progress)
    _write_text(job.out / "config.yaml", composed)
    progress.message(
        f"sampling {len(job.model.proposal)} Gaussians in {config.chains} chains by "
        f"{config.sampler.name}"
    )
    try:
        with DiskStore(job.out / DRAWS) as store:
            draws = sample_posterior(
                job.model,
                config.sampler,
                chains=config.chains,
                draws=config.draws,
                warmup=config.num_warmup,
                thinning=config.thinning,
                seed=config.seed,
                time_limit=config.time_limit,
                sampling_limit=config.sampling_limit,
                progress=progress,
                store=store,
                dtype=getattr(torch, config.save_dtype),
                on_failure=FailurePolicy(cast(Action, config.on_failure)),
                report=lambda failure: progress.message(str(failure)),
            )
            if not draws.num_draws:
                raise KeyboardInterrupt  # before the first draw: there is nothing to keep
            return _finish_or_tell(job, draws, store, progress)
    except StepError as error:
        raise ModelError(f"{error}; {remedy(job.out)}") from error
    except OSError as error:
        raise output_error(error.filename or job.out / DRAWS, error) from error


def finish(folder: Path | str, progress: Progress) -> RunSummary:
    """Write the results of a run that was killed, from the draws that it left on disk.

    Args:
        folder: its ``out``.
        progress: told what happens.

    Raises:
        OutputError: there are no draws.
        BayesSplatError: as ``reconstruct``.
    """
    out = Path(folder)
    draws = unfinished_draws(out)
    config, _ = load_saved(out / "config.yaml")
    job = _prepare(replace(config, out=str(out)), progress)
    progress.message(f"found {draws.num_draws} draws of {len(draws.is_whole)} chains")
    with DiskStore(out / DRAWS / "pixels") as store:
        return _finish_or_tell(job, draws, store, progress)


def _finish_or_tell(job: _Job, draws: Draws, store: Store, progress: Progress) -> RunSummary:
    """Everything after sampling; an interruption says what is left to be done."""
    try:
        return _finish(job, draws, store, progress)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted while results were written; bayes-splat finish {job.out} writes them"
        ) from error


def _prepare(config: RunConfig, progress: Progress) -> _Job:
    """Photographs, proposal and model."""
    started = time.perf_counter()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    context, targets = view_choice.load_views(config)
    out = _output_folder(config)
    progress.message(f"proposing depths for {len(context)} views by {config.proposal.name}")
    proposal = proposals.propose(context, config.proposal)
    model = assemble(proposal, context, config.model, config.renderer.name)
    _check_saved_sites(config.save)
    learned = None
    if config.model.noise_prior is None:
        try:
            learned = held_out.learn(model, seed=config.seed, tell=progress.message)
        except StepError as error:
            raise ModelError(
                f"context views cannot be predicted: {error}; {remedy(out)}"
            ) from error
        model = learned.model
    renderer = cast(CountingRenderer, model.renderer)
    return _Job(config, out, targets, model, learned, renderer, started)


def _finish(job: _Job, draws: Draws, store: Store, progress: Progress) -> RunSummary:
    """Everything after sampling."""
    config, out, targets = job.config, job.out, job.targets
    counted = {"sampling": vars(job.renderer.count).copy()}
    peak = peak_memory()
    progress.message(f"rendering {len(targets)} target views for every draw")
    discrepancy = None if job.learned is None else job.learned.discrepancy
    prediction, pixels, mapped = predict(job.model, draws, targets, store, discrepancy)
    counted["all"] = vars(job.renderer.count).copy()
    judged, found = judge(pixels, targets, draws, job.config.sampler.name)
    scores = score(job.model, draws, prediction, judged, targets)
    seconds = time.perf_counter() - job.started
    sampling = {name: value for name, value in draws.seconds.items() if np.isfinite(value)}
    run = {
        "sampler": config.sampler.name,
        "seed": config.seed,
        "versions": _versions(),
        "seconds": {**draws.seconds, "rest": seconds - sum(sampling.values())},
        "num_chains": judged.num_chains,
        "num_draws": judged.num_draws,
        "renders": counted,
        "peak_memory": peak,
        "scores": scores,
        "held_out": _learned(job.learned),
        "failures": [str(failure) for failure in draws.failures],
        "verdict": found.sentence,
        "advice": found.advice,
        "is_converged": found.is_converged,
        "is_interrupted": draws.is_interrupted,
        "threads": torch.get_num_threads(),
    }
    # The summary first, the largest file last: a full disk then costs the least.
    _write_text(out / "run.json", json.dumps(_without_nan(run), indent=2))
    _write(job, draws, prediction, pixels, mapped, judged)
    shutil.rmtree(out / DRAWS, ignore_errors=True)
    text = report.summary_text(
        prediction, judged, found, out=out, seconds=seconds, images=photographs(targets)
    )
    return RunSummary(text, out, draws.is_interrupted, scores)


def _write(
    job: _Job,
    draws: Draws,
    prediction: Prediction,
    pixels: PixelDraws,
    mapped: PixelDraws,
    judged: PixelDiagnostics,
) -> None:
    """Pictures, tables, the scene and the draws."""
    out, targets = job.out, job.targets
    sites = {name: DrawArray(draws.sites, name, pixels.chains) for name in draws.sites}
    site_table.write_table(out / "summary.csv", site_table.site_table(sites, judged))
    export.write_ply(out / "scene.ply", mean_scene(job.model, draws))
    shape = (len(targets), *targets.cameras.image_shape)
    report.write_targets(
        out,
        targets.names,
        prediction,
        images=photographs(targets),
        rhat=diagnostics.rhat_map(mapped.diagnose(is_map=True), mapped.grid, shape),
    )
    parts = _parts(job.model, draws, pixels, targets, job.config.save, job.config.seed)
    results.write(out / "posterior.nc", **parts)


def to_arviz(
    model: SplatModel, draws: Draws, pixels: PixelDraws, targets: Views, *, seed: int = 0
) -> arviz_bridge.Container:
    """Draws, statistics, data and rendered target pixels as ArviZ groups, in memory."""
    return results.build(**_parts(model, draws, pixels, targets, ["all"], seed))


def _parts(
    model: SplatModel,
    draws: Draws,
    pixels: PixelDraws,
    targets: Views,
    save: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """What goes into ``posterior.nc``."""
    kept = [name for name in draws.sites if name in save or "all" in save]
    return {
        "sites": {name: DrawArray(draws.sites, name) for name in kept},
        "stats": dict(draws.stats),
        "warmup_stats": dict(draws.warmup_stats),
        "context": model.views,
        "targets": targets,
        "grid": pixels.grid,
        **{name: pixels.array(name) for name in ("color", "depth", "alpha")},
        "constants": {
            "mode_depth": (("gaussian",), model.proposal.mode().numpy()),
            "bucket_probabilities": (
                ("gaussian", "bucket"),
                model.proposal.probabilities.numpy(),
            ),
            "seed": ((), seed),
        },
        "attrs": {
            "is_interrupted": draws.is_interrupted,
            "failures": "; ".join(map(str, draws.failures)),
            **{f"seconds_{name}": value for name, value in draws.seconds.items()},
        },
    }


def peak_memory() -> float | None:
    """Most main memory that this process has held so far, in MB; None where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _check_saved_sites(save: Sequence[str]) -> None:
    sites = list(dict.fromkeys([*SITES, *scene_sites.NAMES, *BESIDE]))
    known = [*sites, "all", "none"]
    unknown = [name for name in save if name not in known]
    if unknown or (len(save) > 1 and {"all", "none"} & set(save)):
        raise ConfigError(
            f"save is {list(save)} but must be all, none, or a list out of {', '.join(sites)}"
        )


def _output_folder(config: RunConfig) -> Path:
    if config.out is not None:
        out = Path(config.out)
    else:
        name = Path(config.scene).resolve().name if config.scene != "demo" else "demo"
        out = Path("outputs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    return writable_folder(out)


def _learned(learned: HeldOut | None) -> dict[str, Any] | None:
    """What held-out context views taught, for ``run.json``."""
    if learned is None:
        return None
    found = learned.discrepancy
    return {
        "noise_scale": learned.noise_scale,
        "together": learned.together,
        **dict(zip(TERMS, found.coefficients, strict=True)),
        "color_variance": found.color_variance,
        "smooth_share": found.smooth_share,
    }


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


def _versions() -> dict[str, str]:
    names = ("bayes-splat", "torch", "pyro-ppl", "arviz", "gsplat", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
