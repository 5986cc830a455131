"""Has the run converged: numbers on rendered target pixels and on sites, maps, and one sentence.

Single Gaussians are not identified (swap two and the picture stays), so the verdict is taken on
rendered colours and depths at a fixed grid of target pixels; tables of sites stand beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from bayes_splat import convergence

MAX_RHAT = 1.05
"""A colour or depth has converged if its R-hat is below this ..."""
MIN_ESS = 100.0
"""... and its bulk effective sample size above this;"""
MIN_SHARE = 0.9
"""and a run has converged if at least this share of them has."""
MODES_RHAT = 1.2
"""From here on more of the same draws will not help: the chains give different answers."""
MIN_DRAWS = 4
"""Fewer draws a chain than this have neither R-hat nor effective sample size."""

_REGIONS = (
    ("upper left", "upper centre", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower centre", "lower right"),
)


class PixelGrid(NamedTuple):
    """Chosen pixels of the target views, in reading order."""

    view: Int[np.ndarray, " pixel"]
    row: Int[np.ndarray, " pixel"]
    column: Int[np.ndarray, " pixel"]


class Statistics(NamedTuple):
    """Of each of many quantities, over all draws of all chains; NaN where it cannot be said.

    Attributes:
        mean, std: of the draws.
        low, high: their 5 % and 95 % quantiles.
        mcse_mean, ess_bulk, ess_tail, rhat: as in ``convergence``.
    """

    mean: Float[np.ndarray, " *quantity"]
    std: Float[np.ndarray, " *quantity"]
    low: Float[np.ndarray, " *quantity"]
    high: Float[np.ndarray, " *quantity"]
    mcse_mean: Float[np.ndarray, " *quantity"]
    ess_bulk: Float[np.ndarray, " *quantity"]
    ess_tail: Float[np.ndarray, " *quantity"]
    rhat: Float[np.ndarray, " *quantity"]


class PixelDiagnostics(NamedTuple):
    """Statistics of rendered quantities at chosen target pixels.

    Attributes:
        quantities: names of the last axis: red, green, blue, depth, and alpha if it was given.
        statistics: [pixel quantity] each.
        is_constant: the quantity has one value in all draws of all chains.
        is_covered: some draw of some chain shows something at the pixel.
        num_chains, num_draws: of the run (draws are a chain's).
    """

    quantities: tuple[str, ...]
    statistics: Statistics
    is_constant: Bool[np.ndarray, "pixel quantity"]
    is_covered: Bool[np.ndarray, " pixel"]
    num_chains: int
    num_draws: int

    @property
    def is_judged(self) -> Bool[np.ndarray, "pixel quantity"]:
        """Colours and depths that count in the verdict.

        Constant ones do not: there is nothing to be uncertain about where no Gaussian is seen. But
        where something is seen and neither colours nor depth ever moved, no chain did, and that
        counts (and fails).
        """
        is_stuck = self.is_covered & self.is_constant.all(1)
        judged = ~self.is_constant | is_stuck[:, None]
        return np.asarray(judged & np.array([name != "alpha" for name in self.quantities]))

    @property
    def worst_rhat(self) -> float:
        """Greatest R-hat of the judged colours and depths; NaN if there is none."""
        return nan_extreme(np.max, self.statistics.rhat[self.is_judged])

    @property
    def least_ess(self) -> float:
        """Least bulk effective sample size of the judged colours and depths; NaN if none."""
        return nan_extreme(np.min, self.statistics.ess_bulk[self.is_judged])


class Verdict(NamedTuple):
    """Whether to believe the run, and one sentence that says why (not) and what to do."""

    is_converged: bool
    sentence: str


def fixed_grid(image_shape: tuple[int, int], num_views: int, max_pixels: int = 1024) -> PixelGrid:
    """Pixels spread evenly over the rows and columns of every view; the same at every call.

    Args:
        image_shape: (height, width).
        num_views: target views.
        max_pixels: most pixels of all views together; every view gets at least one.
    """
    height, width = image_shape
    each = max(1, max_pixels // num_views)
    spacing = max(1.0, np.sqrt(height * width / each))
    num_rows = min(height, max(1, int(height / spacing)), each)
    num_columns = min(width, max(1, each // num_rows))
    rows = ((np.arange(num_rows) + 0.5) * height / num_rows).astype(np.int64)
    columns = ((np.arange(num_columns) + 0.5) * width / num_columns).astype(np.int64)
    view, row, column = np.meshgrid(np.arange(num_views), rows, columns, indexing="ij")
    return PixelGrid(view.ravel(), row.ravel(), column.ravel())


def statistics(draws: Shaped[np.ndarray, "chain draw *quantity"]) -> Statistics:
    """All that is reported of a quantity, for many at once."""
    values = np.asarray(draws, dtype=np.float64)
    if values.shape[1] == 0:
        return Statistics(*[np.full(values.shape[2:], np.nan) for _ in Statistics._fields])
    low, high = np.quantile(values, (0.05, 0.95), axis=(0, 1))
    return Statistics(
        mean=values.mean((0, 1)),
        std=values.std((0, 1)),
        low=np.asarray(low),
        high=np.asarray(high),
        mcse_mean=convergence.mcse_mean(values),
        ess_bulk=convergence.ess_bulk(values),
        ess_tail=convergence.ess_tail(values),
        rhat=convergence.rhat(values),
    )


def only_rhat(draws: Shaped[np.ndarray, "chain draw *quantity"]) -> Statistics:
    """R-hat alone, the rest NaN: all that a map of R-hat needs, at a part of the time."""
    unknown = np.full(draws.shape[2:], np.nan)
    others = {name: unknown for name in Statistics._fields if name != "rhat"}
    return Statistics(**others, rhat=convergence.rhat(draws))


def diagnose_pixels(
    color: Float[np.ndarray, "chain draw pixel 3"],
    depth: Float[np.ndarray, "chain draw pixel"],
    alpha: Float[np.ndarray, "chain draw pixel"] | None = None,
    *,
    summarise: Callable[[np.ndarray], Statistics] = statistics,
) -> PixelDiagnostics:
    """Statistics of the renders at chosen target pixels: ``statistics``, or ``only_rhat``.

    Chains that stand still at different values get R-hat infinity; a quantity with one value in all
    draws gets NaN and is marked as constant.
    """
    parts = [color, depth[..., None]] + ([] if alpha is None else [alpha[..., None]])
    values = np.concatenate(parts, axis=-1)
    num_chains, num_draws, num_pixels = values.shape[:3]
    if num_draws == 0:
        is_constant = np.zeros((num_pixels, values.shape[-1]), dtype=bool)
    else:
        is_constant = np.asarray(np.ptp(values, axis=(0, 1)) == 0)
    return PixelDiagnostics(
        quantities=("red", "green", "blue", "depth", "alpha")[: values.shape[-1]],
        statistics=summarise(values),
        is_constant=is_constant,
        is_covered=np.asarray((values != 0).any((0, 1, 3))),
        num_chains=num_chains,
        num_draws=num_draws,
    )


def rhat_map(
    pixels: PixelDiagnostics, grid: PixelGrid, shape: tuple[int, int, int]
) -> Float[np.ndarray, "view height width"]:
    """The worst R-hat of the judged colours and depth of each pixel; NaN outside the grid."""
    values = np.where(pixels.is_judged, pixels.statistics.rhat, np.nan)
    return _scatter(np.fmax.reduce(values, axis=1), grid, shape)


def ess_map(
    pixels: PixelDiagnostics, grid: PixelGrid, shape: tuple[int, int, int]
) -> Float[np.ndarray, "view height width"]:
    """The least bulk ESS of the judged colours and depth of each pixel; NaN outside the grid."""
    values = np.where(pixels.is_judged, pixels.statistics.ess_bulk, np.nan)
    return _scatter(np.fmin.reduce(values, axis=1), grid, shape)


def has_converged(
    found: Statistics, max_rhat: float = MAX_RHAT, min_ess: float = MIN_ESS
) -> Bool[np.ndarray, " *quantity"]:
    """Which quantities meet both thresholds; those without R-hat or ESS do not."""
    return np.asarray((found.rhat < max_rhat) & (found.ess_bulk > min_ess))


def verdict(
    pixels: PixelDiagnostics,
    grid: PixelGrid,
    image_shape: tuple[int, int],
    view_names: Sequence[str],
    *,
    num_diverging: int = 0,
    is_interrupted: bool = False,
    max_rhat: float = MAX_RHAT,
    min_ess: float = MIN_ESS,
    min_share: float = MIN_SHARE,
) -> Verdict:
    """Judge a run by its renders at the grid's pixels.

    Converged means: at least 2 chains, not interrupted, no diverging step, and at least
    ``min_share`` of the colours and depths have R-hat below ``max_rhat`` and bulk ESS above
    ``min_ess``. Otherwise the sentence says what has not converged, where, and what to do.

    Args:
        pixels: from ``diagnose_pixels``, at the pixels of ``grid``.
        image_shape: (height, width) of the target views.
        view_names: of the target views.
        num_diverging: steps after warmup with a candidate of non-finite energy, all chains.
        is_interrupted: the run was stopped before its last draw.
    """
    reasons = []
    if is_interrupted:
        reasons.append(
            f"the run was interrupted after {pixels.num_draws} draws a chain, "
            "run it again with time to finish"
        )
    if num_diverging:
        reasons.append(
            f"{num_diverging} {'step' if num_diverging == 1 else 'steps'} after warmup tried a "
            "state of non-finite energy, use more warmup or a smaller step size"
        )
    judged = pixels.is_judged
    passed = has_converged(pixels.statistics, max_rhat, min_ess)
    share = passed[judged].mean() if judged.any() else 0.0
    wanted = f"R-hat < {max_rhat:g} and bulk ESS > {min_ess:g}"
    if pixels.num_draws < MIN_DRAWS:
        reasons.append(
            f"{pixels.num_draws} draws a chain are too few to judge, "
            f"take at least {int(min_ess)} (draws={int(min_ess)})"
        )
    elif pixels.num_chains < 2:
        reasons.append(
            "a single chain cannot show whether others would agree, "
            "run at least two (chains=4 is the usual choice)"
        )
    elif not judged.any():
        reasons.append(
            "no Gaussian is seen at any of the target pixels, "
            "choose targets that look at what the context views see"
        )
    elif share < min_share:
        reasons.append(
            f"only {_percent(share)} of colours and depths at {judged.any(1).sum()} target pixels "
            f"have {wanted}, "
            + _where(judged, passed, pixels, grid, image_shape, view_names)
            + "; "
            + _remedy(pixels, judged, max_rhat, min_ess, min_share)
        )
    if reasons:
        return Verdict(False, f"Not converged: {'; '.join(reasons)}.")
    left_out = int((~judged.any(1)).sum())
    return Verdict(
        True,
        f"Converged: {_percent(share)} of colours and depths at {judged.any(1).sum()} target "
        f"pixels have {wanted}"
        + (f" ({left_out} pixels that never change left out)." if left_out else "."),
    )


def nan_extreme(function: Callable[[Any], Any], values: Shaped[np.ndarray, " n"]) -> float:
    """``function`` of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(function(known)) if known.size else float("nan")


def _where(
    judged: np.ndarray,
    passed: np.ndarray,
    pixels: PixelDiagnostics,
    grid: PixelGrid,
    image_shape: tuple[int, int],
    view_names: Sequence[str],
) -> str:
    """The view and the ninth of it that fail most, and the pixel with the worst R-hat."""
    ninths = np.stack(
        [grid.view, 3 * grid.row // image_shape[0], 3 * grid.column // image_shape[1]]
    )
    places, members = np.unique(ninths, axis=1, return_inverse=True)
    members = members.ravel()
    num_judged = np.bincount(members, judged.sum(1), places.shape[1])
    num_failed = np.bincount(members, (judged & ~passed).sum(1), places.shape[1])
    failed = num_failed / np.maximum(num_judged, 1)
    if failed[num_judged > 0].min() > 0.9:
        text = "and hardly any anywhere"
    else:
        view, i, j = places[:, failed.argmax()].tolist()
        rows = _third(i, image_shape[0])
        columns = _third(j, image_shape[1])
        text = (
            f"fewest at the {_REGIONS[i][j]} of view {view_names[view]} "
            f"(rows {rows}, columns {columns})"
        )
    rhat = np.where(judged, pixels.statistics.rhat, np.nan)
    if np.isnan(rhat).all():
        return text
    pixel, quantity = np.unravel_index(np.nanargmax(rhat), rhat.shape)
    return (
        f"{text}, with the worst R-hat {rhat[pixel, quantity]:.3g} for "
        f"{pixels.quantities[quantity]} at row {grid.row[pixel]}, column {grid.column[pixel]} "
        f"of view {view_names[grid.view[pixel]]}"
    )


def _remedy(
    pixels: PixelDiagnostics,
    judged: np.ndarray,
    max_rhat: float,
    min_ess: float,
    min_share: float,
) -> str:
    """More draws if that would do, else what else to try; from the quantiles that must pass."""
    rhat = np.nan_to_num(pixels.statistics.rhat[judged], nan=np.inf, posinf=np.inf)
    ess = np.nan_to_num(pixels.statistics.ess_bulk[judged], nan=1.0)
    high = float(np.quantile(rhat, min_share, method="higher"))
    low = float(np.quantile(ess, 1 - min_share, method="lower"))
    if not np.isfinite(pixels.statistics.mean[judged]).all():
        return "some renders are not finite, use a smaller step size"
    if np.isinf(high):
        return "chains stand still, use a smaller step size or more warmup"
    if high >= MODES_RHAT:
        return (
            f"one in {1 / (1 - min_share):.0f} has R-hat above {high:.3g}: chains sit in different "
            "modes or have not left their starts, use more warmup or another proposal"
        )
    # ESS grows with the draws; R-hat^2 - 1 falls with them.
    factor = max(min_ess / low, (high**2 - 1) / max(max_rhat**2 - 1, 1e-3), 1.1)
    draws = int(np.ceil(factor * pixels.num_draws / 50) * 50)
    return f"take about {factor:.2g} times as many draws (draws={draws})"


def _scatter(
    values: np.ndarray, grid: PixelGrid, shape: tuple[int, int, int]
) -> Float[np.ndarray, "view height width"]:
    result = np.full(shape, np.nan)
    result[grid.view, grid.row, grid.column] = values
    return result


def _third(index: int, size: int) -> str:
    """The pixels p with 3 p // size == index, as "first-last"."""
    return f"{-(-index * size // 3)}-{-(-(index + 1) * size // 3) - 1}"


def _percent(share: float) -> str:
    """Rounded towards failure, so that 89.9 % does not read as 90 %."""
    return f"{np.floor(100 * share):.0f} %"
