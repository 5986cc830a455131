"""From draws to the target views: pictures, renders at chosen pixels, the verdict and scores."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat import depth_error, diagnostics, error_law, metrics, remoteness, verdict
from bayes_splat.diagnostics import PixelDiagnostics, PixelGrid
from bayes_splat.discrepancy import Discrepancy, Pictures
from bayes_splat.draw_arrays import DrawArray
from bayes_splat.errors import ModelError
from bayes_splat.models import scene_sites
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.sampling import Draws
from bayes_splat.samplers.store import MemoryStore, Store
from bayes_splat.types import Cameras, Gaussians, Rendering, Views
from bayes_splat.uncertainty import (
    QUANTILES,
    Prediction,
    PredictionAccumulator,
    combine_channels,
)
from bayes_splat.verdict import Verdict

GRID_PIXELS = 1024
"""Target pixels, over all target views, whose chains are judged."""

MAP_PIXELS = 8192
"""Most target pixels in the R-hat maps."""


class PixelDraws(NamedTuple):
    """Renders of every draw at chosen target pixels, in memory or on disk.

    Attributes:
        grid: the pixels.
        renders: color [chain draw pixel 3]; depth, alpha [chain draw pixel]; float32, NaN where a
            chain had stopped or was not finite.
        chains: those that made all draws; pictures, tables and the verdict speak of these.
    """

    grid: PixelGrid
    renders: Mapping[str, Tensor]
    chains: list[int]

    def array(self, name: str, *, is_whole: bool = False) -> DrawArray:
        """The renders of that name, of all chains or of the whole ones."""
        return DrawArray(self.renders, name, self.chains if is_whole else None)

    def diagnose(self, *, is_map: bool = False) -> PixelDiagnostics:
        """Diagnostics of the whole chains, some pixels at a time; of a map, R-hat alone."""
        color, depth = (self.array(name, is_whole=True) for name in ("color", "depth"))
        return diagnostics.diagnose_in_parts(color, depth, is_map=is_map)


def predict(
    model: SplatModel,
    draws: Draws,
    targets: Views,
    store: Store | None = None,
    discrepancy: Discrepancy | None = None,
) -> tuple[Prediction, PixelDraws, PixelDraws]:
    """Render the target views for every draw, one at a time.

    Chains that were stopped on the way are left out of the maps, unless all were.

    Args:
        model, targets: what to render, and where.
        draws: with the sites depth, opacity and noise_scale.
        store: takes the renders at the grids' pixels; None: memory.
        discrepancy: error of pictures of new views, from ``held_out.learn``, with which goes that
            of depths; None: the noise scale of the draws, and the spread of their depths.

    Returns:
        The maps, and the renders of every draw at two fixed grids of pixels: the one that is
        judged, and a finer one for maps of R-hat.

    Raises:
        ModelError: not one draw is finite.
    """
    store = store or MemoryStore()
    if discrepancy is None:
        accumulator = PredictionAccumulator(targets.images)
    else:  # scores and quantiles will be those of the error
        accumulator = PredictionAccumulator(max_kept=1)
    height, width = targets.cameras.image_shape
    grids = {
        name: diagnostics.fixed_grid((height, width), len(targets), most)
        for name, most in (("judged", GRID_PIXELS), ("mapped", MAP_PIXELS))
    }
    is_used = used_chains(draws)
    is_empty = True
    for index in range(draws.num_draws):
        sites = scene_of(draws, index)
        noise = noise_of(draws, index)
        good = is_finite(sites) & noise.isfinite()
        rendering = None
        if good.any():
            with torch.no_grad():
                rendering = _render(model, sites, good, targets.cameras)
            used = is_used[good]
            if used.any():
                chosen = Rendering(*(values[used] for values in rendering))
                accumulator.add(chosen, noise[good & is_used])
                is_empty = False
        for name, grid in grids.items():
            store.append(name, _at_pixels(rendering, good, grid))
    if is_empty:
        raise ModelError(
            "no draw of any chain is finite: use a smaller step size or another sampler"
        )
    chains = draws.is_whole.nonzero()[:, 0].tolist()
    judged, mapped = (PixelDraws(grid, store.read(name), chains) for name, grid in grids.items())
    maps = accumulator.result()
    if discrepancy is not None:
        maps = _with_color_error(maps, model, targets, discrepancy)
        maps = _with_depth_error(maps, model, targets.cameras)
    return maps, judged, mapped


def pictures_of(maps: Prediction) -> Pictures:
    """What the draws show, summarised."""
    return Pictures(maps.mean, np.square(maps.epistemic_std), 1.0 - maps.alpha_mean)


def _with_color_error(
    maps: Prediction, model: SplatModel, targets: Views, discrepancy: Discrepancy
) -> Prediction:
    """The maps with what colours are wrong by: errors of the mean picture, by their law."""
    far = remoteness.of_views(model.views.cameras, targets.cameras)
    scale = np.sqrt(discrepancy.squared_scale(pictures_of(maps), far))
    std = error_law.std() * scale
    ratios = (targets.images.movedim(1, -1).double().numpy() - maps.mean) / scale
    return maps._replace(
        aleatoric_std=np.sqrt(np.maximum(np.square(std) - np.square(maps.epistemic_std), 0.0)),
        std=std,
        quantiles=np.stack([maps.mean + error_law.quantile(p) * scale for p in QUANTILES]),
        pit=error_law.cdf(ratios),
        nll=np.log(scale) - error_law.log_density(ratios),
    )


def _with_depth_error(maps: Prediction, model: SplatModel, cameras: Cameras) -> Prediction:
    """The maps with what depths are wrong by: the draws' own spread, and the error around each."""
    spread = maps.depth_epistemic_std
    of_proposal = depth_error.proposal_spread(model, cameras)
    error = depth_error.around(model, maps.depth_mean, spread, of_proposal)
    return maps._replace(depth_std=np.hypot(spread, error))


def used_chains(draws: Draws) -> Bool[Tensor, " chain"]:
    """Chains that pictures are made of: those that were not stopped, unless all were."""
    is_whole = draws.is_whole
    return is_whole if is_whole.any() else torch.ones_like(is_whole)


def spread_evenly(draws: Draws, is_used: Bool[Tensor, " chain"], most: int) -> list[int]:
    """Numbers of draws, evenly over each chain, so that the used chains have ``most`` in all."""
    each = max(1, most // max(1, int(is_used.sum())))
    chosen = np.linspace(0, draws.num_draws - 1, min(each, draws.num_draws)).round().astype(int)
    return [int(index) for index in np.unique(chosen)]


def noise_of(draws: Draws, index: int) -> Float[Tensor, " chain"]:
    """Noise of a view that was never photographed: root mean square over the context views'."""
    scale = draws.sites["noise_scale"][:, index].double()
    return scale.square().reshape(len(scale), -1).mean(-1).sqrt()


def scene_of(draws: Draws, index: int) -> dict[str, Tensor]:
    """What a draw says of the scene, every chain: the sites that pictures are made of, float64."""
    names = ["depth", "opacity", *(name for name in scene_sites.NAMES if name in draws.sites)]
    return {name: draws.sites[name][:, index].double() for name in names}


def is_finite(sites: dict[str, Tensor]) -> Bool[Tensor, " chain"]:
    """Chains whose scene is."""
    return torch.stack([v.isfinite().flatten(1).all(-1) for v in sites.values()]).all(0)


def _render(
    model: SplatModel, sites: dict[str, Tensor], chains: Tensor, cameras: Cameras
) -> Rendering:
    """Pictures of some chains."""
    chosen = {name: values[chains] for name, values in sites.items()}
    return model.given(chosen).render(chosen["depth"], chosen["opacity"], cameras)


def _at_pixels(rendering: Rendering | None, good: Tensor, grid: PixelGrid) -> dict[str, Tensor]:
    """Renders of the good chains at the grid, NaN in the others: color, depth, alpha."""
    record = {}
    for i, (name, axes) in enumerate((("color", (3,)), ("depth", ()), ("alpha", ()))):
        record[name] = torch.full((len(good), len(grid.view), *axes), torch.nan)
        if rendering is not None:
            record[name][good] = rendering[i][:, grid.view, grid.row, grid.column].float()
    return record


def judge(
    pixels: PixelDraws, targets: Views, draws: Draws, sampler: str = ""
) -> tuple[PixelDiagnostics, Verdict]:
    """Diagnostics of the whole chains at the grid of target pixels, and the verdict on the run."""
    found = pixels.diagnose()
    return found, verdict.verdict(
        found,
        pixels.grid,
        targets.cameras.image_shape,
        targets.names,
        num_diverging=int(draws.stats["diverging"].sum()),
        is_interrupted=draws.is_interrupted,
        left_out=(~draws.is_whole).nonzero()[:, 0].tolist(),
        sampler=sampler,
    )


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
    photos = photographs(targets)
    if photos is None or prediction.pit is None or prediction.nll is None:
        return scores
    truth = photos.transpose(0, 2, 3, 1)
    proposal = model.proposal
    mode = proposal.mode()[None].double(), proposal.opacities[None].double()
    own = model.given({"harmonics": proposal.harmonics})
    with torch.no_grad():
        plain = own.render(*mode, targets.cameras).colors[0].numpy()
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
    sites = scene_of(draws, -1)
    good = is_finite(sites)
    if not good.any():
        return float("nan")
    sites = {name: values[good] for name, values in sites.items()}
    model, depth, opacity = model.given(sites), sites["depth"], sites["opacity"]
    with torch.no_grad():
        ours = model.render(depth, opacity, targets.cameras).colors
        viewers = replace(model, config=replace(model.config, order="center"))
        theirs = viewers.render(depth, opacity, targets.cameras).colors
    return metrics.psnr(ours.numpy(), theirs.numpy())


def photographs(views: Views) -> np.ndarray | None:
    """Images of the views; None where there are none (a new view that nobody photographed)."""
    return None if bool(views.images.isnan().all()) else np.asarray(views.images.numpy())


def mean_scene(model: SplatModel, draws: Draws) -> Gaussians:
    """One scene for viewers: posterior median depth, mean of all else, of every Gaussian.

    Of an unknown number of Gaussians, those that are there in more than half of the draws, as they
    are in these: the median probability model (Barbieri & Berger 2004).
    """
    chains = draws.is_whole.nonzero()[:, 0].tolist() or None
    is_variable = "present" in draws.sites
    present = DrawArray(draws.sites, "present", chains) if is_variable else None

    def over_draws(name: str, summarise: Callable[[Tensor], Tensor]) -> Tensor:
        values, found = DrawArray(draws.sites, name, chains), []
        for part in values.column_ranges(2**20):
            every = values.columns(part)
            if present is not None:
                every = np.where(_holds(present, values, part), every, np.nan)
            found.append(summarise(torch.from_numpy(every).flatten(0, 1)))
        return torch.cat(found).reshape(1, *values.shape[2:]).float()

    depth = over_draws("depth", lambda every: every.nanmedian(0).values)
    means = {
        name: over_draws(name, lambda every: every.double().nanmean(0))
        for name in ("opacity", *scene_sites.NAMES)
        if name in draws.sites and name != "present"
    }
    scene = model.given(means).scene(depth, means["opacity"])
    kept = slice(None) if present is None else _is_mostly_present(present)
    return Gaussians(**{f.name: getattr(scene, f.name)[0][kept] for f in fields(scene)})


def _holds(present: DrawArray, values: DrawArray, part: slice) -> np.ndarray:
    """Whether the slots that columns of a site belong to hold a Gaussian: [chain draw column]."""
    columns = np.arange(values.num_columns)[part]
    slot = columns // (values.num_columns // present.num_columns)
    return np.asarray(present.columns(slice(slot[0], slot[-1] + 1))[..., slot - slot[0]] == 1)


def _is_mostly_present(present: DrawArray) -> Bool[Tensor, " gaussian"]:
    parts = present.column_ranges(2**20)
    shares = [present.columns(part).mean((0, 1), dtype=np.float64) for part in parts]
    return torch.from_numpy(np.concatenate(shares) > 0.5)
