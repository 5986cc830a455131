"""The numbers of one method on one view, or on all views of a scene together."""

from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from bayes_splat import calibration_metrics, image_metrics, metrics, mixtures
from bayes_splat.evaluation.predictive import Predictive
from bayes_splat.uncertainty import combine_channels

Scores: TypeAlias = dict[str, float]
"""A number each; NaN where it cannot be said."""

COVERAGES = (50, 80, 90, 95)
"""Central intervals whose coverage is reported, per cent."""

STRAYS = 0.01
"""Share of a uniform distribution over the range of depths in the density of ``depth_nll``: depths
are wrong by whole surfaces, and one such pixel would otherwise rule the mean."""

_WIDTH_LEVEL = 0.9
_SURFACE = 0.5  # alpha above which a pixel shows a surface


class Truth(NamedTuple):
    """What target views really show.

    Attributes:
        colors: photographs in [0, 1].
        depths: camera z, scene units; NaN where unknown.
        is_outside, is_never_seen: see ``seen``.
        depth_range: far minus near, scene units.
    """

    colors: Float[np.ndarray, "view height width 3"]
    depths: Float[np.ndarray, "view height width"]
    is_outside: Bool[np.ndarray, "view height width"]
    is_never_seen: Bool[np.ndarray, "view height width"]
    depth_range: float

    def view(self, index: int) -> "Truth":
        """One view of it."""
        part = slice(index, index + 1)
        return Truth(
            colors=self.colors[part],
            depths=self.depths[part],
            is_outside=self.is_outside[part],
            is_never_seen=self.is_never_seen[part],
            depth_range=self.depth_range,
        )


class Maps(NamedTuple):
    """Pixel by pixel, what scores and figures are made of.

    Attributes:
        mean, std: of the mixture.
        spread: the epistemic part: standard deviation over draws.
        pit, nll, crps: at the photograph.
        distance: mean distance between two draws of the mixture.
        low, median, high: 5, 50 and 95 % quantiles.
        depth_mean, depth_std: of the mixture of depths.
        depth_pit, depth_nll: at the true depth, the latter with ``STRAYS``.
        alphas: mean accumulated opacity.
    """

    mean: Float[np.ndarray, "view height width 3"]
    spread: Float[np.ndarray, "view height width 3"]
    std: Float[np.ndarray, "view height width 3"]
    pit: Float[np.ndarray, "view height width 3"]
    nll: Float[np.ndarray, "view height width 3"]
    crps: Float[np.ndarray, "view height width 3"]
    distance: Float[np.ndarray, "view height width 3"]
    low: Float[np.ndarray, "view height width 3"]
    median: Float[np.ndarray, "view height width 3"]
    high: Float[np.ndarray, "view height width 3"]
    depth_mean: Float[np.ndarray, "view height width"]
    depth_std: Float[np.ndarray, "view height width"]
    depth_pit: Float[np.ndarray, "view height width"]
    depth_nll: Float[np.ndarray, "view height width"]
    alphas: Float[np.ndarray, "view height width"]

    def view(self, index: int) -> "Maps":
        """One view of them."""
        return Maps(*(values[index : index + 1] for values in self))


def maps(record: Predictive, truth: Truth) -> Maps:
    """Evaluate the mixture everywhere."""
    means, stds, colors = record.means, record.stds, truth.colors
    tails = 0.5 * (1 - _WIDTH_LEVEL)
    low, median, high = mixtures.quantiles(means, stds, (tails, 0.5, 1 - tails))
    distance = mixtures.distance_within(means, stds)
    depth_stds = np.where(np.isnan(record.depth_stds), 1, record.depth_stds)
    return Maps(
        mean=mixtures.mean(means),
        spread=record.spread.astype(np.float64),
        std=mixtures.std(means, stds),
        pit=mixtures.pit(means, stds, colors),
        nll=mixtures.nll(means, stds, colors),
        crps=mixtures.distance_to(means, stds, colors) - 0.5 * distance,
        distance=distance,
        low=low,
        median=median,
        high=high,
        depth_mean=mixtures.mean(record.depths),
        depth_std=mixtures.std(record.depths, depth_stds),
        depth_pit=mixtures.pit(record.depths, depth_stds, truth.depths),
        depth_nll=_with_strays(
            mixtures.nll(record.depths, depth_stds, truth.depths), truth.depth_range
        ),
        alphas=record.alphas.astype(np.float64),
    )


def stretched(found: Maps, record: Predictive, truth: Truth, factor: float) -> Maps:
    """``maps`` of ``record.scaled(factor)``, from those of the record itself.

    What the mixture has without the observation grows as its scale does.
    """
    wide = record.scaled(factor)
    distance = factor * found.distance
    low, median, high = (
        found.mean + factor * (q - found.mean) for q in (found.low, found.median, found.high)
    )
    return found._replace(
        spread=factor * found.spread,
        std=factor * found.std,
        pit=mixtures.pit(wide.means, wide.stds, truth.colors),
        nll=mixtures.nll(wide.means, wide.stds, truth.colors),
        crps=mixtures.distance_to(wide.means, wide.stds, truth.colors) - 0.5 * distance,
        distance=distance,
        low=low,
        median=median,
        high=high,
    )


def score(found: Maps, truth: Truth) -> Scores:
    """All numbers over the views given.

    Errors and standard deviations of a pixel are means, and root mean squares, over its channels.
    Without any photograph there are only those of depth.
    """
    if np.isnan(truth.colors).all():
        return _depth(found, truth)
    return {
        **_picture(found, truth),
        **_ranking(found, truth),
        **_intervals(found, truth),
        **_unseen(found, truth),
        **_depth(found, truth),
    }


def _with_strays(nll: np.ndarray, depth_range: float) -> np.ndarray:
    """Minus the log density once a small share of it is spread over all depths."""
    uniform = np.log(STRAYS / depth_range)
    known = ~np.isnan(nll)
    found = np.full_like(nll, np.nan)
    found[known] = -np.logaddexp(np.log1p(-STRAYS) - nll[known], uniform)
    return found


def _picture(found: Maps, truth: Truth) -> Scores:
    pairs = list(zip(found.mean, truth.colors, strict=True))
    is_large = min(found.mean.shape[1:3]) >= image_metrics.WINDOW
    ssim = [image_metrics.ssim(*pair) for pair in pairs] if is_large else []
    measure = _find_lpips().measure
    lpips = [measure(*pair) for pair in pairs] if measure is not None else []
    return {
        "psnr": metrics.psnr(found.mean, truth.colors),
        "ssim": float(np.mean(ssim)) if ssim else float("nan"),
        "lpips": float(np.mean(lpips)) if lpips else float("nan"),
        "mae": float(np.nanmean(np.abs(found.mean - truth.colors))),
        "nll": float(np.nanmean(found.nll)),
        "crps": float(np.nanmean(found.crps)),
    }


@cache
def _find_lpips() -> image_metrics.Lpips:
    return image_metrics.find_lpips()


def _ranking(found: Maps, truth: Truth) -> Scores:
    error = np.abs(found.mean - truth.colors).mean(-1)
    std, spread = combine_channels(found.std), combine_channels(found.spread)
    on_surface = np.where(found.alphas > _SURFACE, error, np.nan)
    return {
        "ause_mae": metrics.ause(error, std),
        "random_ause_mae": metrics.random_ause(error),
        "ause_rmse": metrics.ause(error, std, "rmse"),
        "random_ause_rmse": metrics.random_ause(error, "rmse"),
        "spearman": metrics.spearman(error, std),
        "spearman_surface": metrics.spearman(on_surface, std),
        "explained_share": calibration_metrics.explained_share(
            spread, combine_channels(found.mean - truth.colors)
        ),
    }


def _intervals(found: Maps, truth: Truth) -> Scores:
    inside = calibration_metrics.is_inside(found.pit, _WIDTH_LEVEL)
    width = calibration_metrics.width_at_coverage(
        found.low, found.median, found.high, truth.colors, _WIDTH_LEVEL
    )
    constant = calibration_metrics.constant_width(found.median, truth.colors, _WIDTH_LEVEL)
    return {
        **{f"coverage_{n}": metrics.coverage_from_pit(found.pit, n / 100) for n in COVERAGES},
        "ece": metrics.expected_calibration_error(found.pit),
        "patch_coverage_90": calibration_metrics.event_coverage(inside),
        "view_coverage_90": calibration_metrics.event_coverage(inside, region=None),
        "width_90": float(np.nanmean(found.high - found.low)),
        "matched_width_90": width,
        "relative_width_90": width / constant if constant > 0 else float("nan"),
    }


def _unseen(found: Maps, truth: Truth) -> Scores:
    std = combine_channels(found.std)
    return {
        "outside_pixels": float(truth.is_outside.sum()),
        "auroc_outside": calibration_metrics.auroc(std, truth.is_outside),
        "never_seen_pixels": float(truth.is_never_seen.sum()),
        "auroc_never_seen": calibration_metrics.auroc(std, truth.is_never_seen),
    }


def _depth(found: Maps, truth: Truth) -> Scores:
    names = (
        *("depth_abs_rel", "depth_inliers", "depth_ause", "random_depth_ause", "depth_spearman"),
        *("depth_coverage_90", "depth_nll"),
    )
    if np.isnan(found.depth_nll).all():
        return dict.fromkeys(names, float("nan"))
    error = np.abs(found.depth_mean - truth.depths)
    numbers = (
        metrics.absolute_relative_error(found.depth_mean, truth.depths),
        metrics.depth_inliers(found.depth_mean, truth.depths),
        metrics.ause(error, found.depth_std),
        metrics.random_ause(np.where(np.isnan(found.depth_std), np.nan, error)),
        metrics.spearman(error, found.depth_std),
        metrics.coverage_from_pit(found.depth_pit, 0.9),
        float(np.nanmean(found.depth_nll)),
    )
    return dict(zip(names, numbers, strict=True))
