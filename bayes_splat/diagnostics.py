"""Has the run converged: numbers on rendered target pixels and on sites, and maps.

Single Gaussians are not identified (swap two and the picture stays), so a run is judged by rendered
colours and depths at a fixed grid of target pixels (``verdict.py``); tables of sites stand beside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from bayes_splat import convergence
from bayes_splat.draw_arrays import DrawArray

MAX_RHAT = 1.05
"""A colour or depth has converged if its R-hat is below this ..."""
MIN_ESS = 100.0
"""... and its bulk effective sample size above this;"""
MIN_SHARE = 0.9
"""and a run has converged if at least this share of them has."""
_NUMBERS = 2**20  # looked at in one go, so that memory does not grow with the draws
MIN_DRAWS = 4
"""Fewer draws a chain than this have neither R-hat nor effective sample size."""


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
        chain_ess: effective sample size of a chain on its own, the mean over chains; blind to
            whether chains agree.
        is_drifting: all chains have moved in one direction between the first and the second half;
            a t test at 1 %.
        is_stuck: [chain pixel quantity]: the chain's second half has one value, though some chain
            moves.
    """

    quantities: tuple[str, ...]
    statistics: Statistics
    is_constant: Bool[np.ndarray, "pixel quantity"]
    is_covered: Bool[np.ndarray, " pixel"]
    num_chains: int
    num_draws: int
    chain_ess: Float[np.ndarray, "pixel quantity"]
    is_drifting: Bool[np.ndarray, "pixel quantity"]
    is_stuck: Bool[np.ndarray, "chain pixel quantity"]

    @property
    def is_still(self) -> Bool[np.ndarray, "pixel quantity"]:
        """Some chain stands still while another moves, or all at different values."""
        return np.asarray(self.is_stuck.any(0))

    @property
    def still_chains(self) -> list[int]:
        """Chains that stand still at every judged colour and depth."""
        judged = self.is_judged
        stuck = self.is_stuck | self.is_constant
        return [i for i, chain in enumerate(stuck) if judged.any() and chain[judged].all()]

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
    if 0 in values.shape[:2]:
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


def statistics_in_parts(draws: DrawArray, step: int = 1) -> Statistics:
    """The same, flat, of every ``step``-th quantity of draws that may lie on disk."""
    parts = [statistics(draws.columns(part)) for part in draws.column_ranges(_NUMBERS, step)]
    if not parts:
        return Statistics(*[np.zeros(0) for _ in Statistics._fields])
    return Statistics(*[np.concatenate(column) for column in zip(*parts, strict=True)])


def diagnose_pixels(
    color: Float[np.ndarray, "chain draw pixel 3"],
    depth: Float[np.ndarray, "chain draw pixel"],
    alpha: Float[np.ndarray, "chain draw pixel"] | None = None,
    *,
    is_map: bool = False,
) -> PixelDiagnostics:
    """Statistics of the renders at chosen target pixels; of a map, R-hat alone (the rest NaN).

    Chains that stand still at different values get R-hat infinity; a quantity with one value in all
    draws gets NaN and is marked as constant.
    """
    parts = [color, depth[..., None]] + ([] if alpha is None else [alpha[..., None]])
    values = np.concatenate(parts, axis=-1)
    num_chains, num_draws, num_pixels = values.shape[:3]
    shape = (num_pixels, values.shape[-1])
    is_constant = np.zeros(shape, dtype=bool)
    is_stuck = np.zeros((num_chains, *shape), dtype=bool)
    if num_chains and num_draws:
        is_constant = np.asarray(np.ptp(values, axis=(0, 1)) == 0)
        is_stuck = np.asarray(np.ptp(values[:, num_draws // 2 :], axis=1) == 0) & ~is_constant
    return PixelDiagnostics(
        quantities=("red", "green", "blue", "depth", "alpha")[: values.shape[-1]],
        statistics=only_rhat(values) if is_map else statistics(values),
        is_constant=is_constant,
        is_covered=np.asarray((values != 0).any((0, 1, 3))),
        num_chains=num_chains,
        num_draws=num_draws,
        chain_ess=np.full(shape, np.nan) if is_map else convergence.ess_of_chains(values),
        is_drifting=np.zeros(shape, dtype=bool) if is_map else convergence.drift(values) < 0.01,
        is_stuck=is_stuck,
    )


def diagnose_in_parts(
    color: DrawArray, depth: DrawArray, *, is_map: bool = False
) -> PixelDiagnostics:
    """The same for renders that may lie on disk, some pixels at a time."""
    num_chains, num_draws = depth.shape[:2]
    parts = []
    for part in depth.column_ranges(_NUMBERS // 4):
        colors = color.columns(slice(3 * part.start, 3 * part.stop))
        shape = (num_chains, num_draws, part.stop - part.start, 3)
        parts.append(diagnose_pixels(colors.reshape(shape), depth.columns(part), is_map=is_map))
    columns = zip(*(part.statistics for part in parts), strict=True)
    return parts[0]._replace(
        statistics=Statistics(*[np.concatenate(column) for column in columns]),
        is_constant=np.concatenate([part.is_constant for part in parts]),
        is_covered=np.concatenate([part.is_covered for part in parts]),
        chain_ess=np.concatenate([part.chain_ess for part in parts]),
        is_drifting=np.concatenate([part.is_drifting for part in parts]),
        is_stuck=np.concatenate([part.is_stuck for part in parts], axis=1),
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


def mcse_map(
    pixels: PixelDiagnostics, grid: PixelGrid, shape: tuple[int, int, int]
) -> Float[np.ndarray, "view height width"]:
    """The greatest Monte Carlo error of each pixel's mean colours (0-1); NaN outside the grid."""
    values = np.where(pixels.is_judged, pixels.statistics.mcse_mean, np.nan)[:, :3]
    return _scatter(np.fmax.reduce(values, axis=1), grid, shape)


def has_converged(
    found: Statistics, max_rhat: float = MAX_RHAT, min_ess: float = MIN_ESS
) -> Bool[np.ndarray, " *quantity"]:
    """Which quantities meet both thresholds; those without R-hat or ESS do not."""
    return np.asarray((found.rhat < max_rhat) & (found.ess_bulk > min_ess))


def nan_extreme(function: Callable[[Any], Any], values: Shaped[np.ndarray, " n"]) -> float:
    """``function`` of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(function(known)) if known.size else float("nan")


def _scatter(
    values: np.ndarray, grid: PixelGrid, shape: tuple[int, int, int]
) -> Float[np.ndarray, "view height width"]:
    result = np.full(shape, np.nan)
    result[grid.view, grid.row, grid.column] = values
    return result
