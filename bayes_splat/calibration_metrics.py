"""Are intervals right, region by region, and are they narrow? Does the spread know what is unseen?

Central intervals are given by their ends and a centre between them (the median), as arrays of one
shape with the observations. Numbers without an observation (NaN) are left out.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import stats


def is_inside(pit: Float[np.ndarray, " *pixel"], level: float) -> Float[np.ndarray, " *pixel"]:
    """1 where the observation lies in the central interval of that level, 0 where not, NaN unknown.

    Args:
        pit: predictive distribution function at the observations.
        level: such as 0.9.
    """
    inside = (np.abs(pit - 0.5) <= 0.5 * level).astype(np.float64)
    return np.where(np.isnan(pit), np.nan, inside)


def event_coverage(
    inside: Float[np.ndarray, "view height width channel"],
    region: int | None = 16,
    share: float = 0.9,
) -> float:
    """View-event coverage: share of the regions that are covered as a whole.

    A region counts if at least ``share`` of its numbers lie in their interval.

    Args:
        inside: from ``is_inside``.
        region: side of the square regions, pixels; those at the right and lower edge may be
            smaller. None: whole views.
        share: of the numbers of a region.
    """
    events = []
    for view in inside:
        height, width = view.shape[:2]
        rows = range(0, height, region or height)
        columns = range(0, width, region or width)
        for row in rows:
            for column in columns:
                part = view[row : row + (region or height), column : column + (region or width)]
                known = part[~np.isnan(part)]
                if known.size:
                    events.append(known.mean() >= share - 1e-12)
    return float(np.mean(events)) if events else float("nan")


def width_at_coverage(
    low: Float[np.ndarray, " *number"],
    centre: Float[np.ndarray, " *number"],
    high: Float[np.ndarray, " *number"],
    observed: Shaped[np.ndarray, " *number"],
    level: float = 0.9,
) -> float:
    """Mean width of the intervals once all are stretched about their centres to cover ``level``.

    One factor for all, the least that covers that share of the observations; so maps of different
    methods are compared at the same coverage.
    """
    low, centre, high, observed = _known(low, centre, high, observed)
    if not observed.size:
        return float("nan")
    reach = np.where(observed >= centre, high - centre, centre - low)
    distance = np.abs(observed - centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where(distance == 0, 0.0, distance / reach)
    return float(_least_covering(needed, level) * np.mean(high - low))


def constant_width(
    centre: Float[np.ndarray, " *number"],
    observed: Shaped[np.ndarray, " *number"],
    level: float = 0.9,
) -> float:
    """Width of the narrowest interval, the same for all numbers, that covers ``level`` of them."""
    centre, observed = _known(centre, observed)
    if not observed.size:
        return float("nan")
    return 2 * _least_covering(np.abs(observed - centre), level)


def explained_share(
    spread: Float[np.ndarray, " *number"], error: Float[np.ndarray, " *number"]
) -> float:
    """Mean variance of the draws over the mean squared error of their mean.

    1 if the truth were one more draw (and there were no noise); what is missing is error that all
    draws share, which their spread cannot show.
    """
    spread, error = _known(spread, error)
    total = float(np.mean(np.square(error))) if error.size else 0.0
    return float(np.mean(np.square(spread))) / total if total > 0 else float("nan")


def auroc(score: Float[np.ndarray, " *pixel"], is_positive: Bool[np.ndarray, " *pixel"]) -> float:
    """Probability that a positive pixel has the greater score (ties count half); NaN without both.

    The area under the receiver operating characteristic (Hanley and McNeil 1982), by ranks.
    """
    is_known = ~np.isnan(score)
    score, is_positive = score[is_known], is_positive[is_known]
    positive = int(is_positive.sum())
    negative = is_positive.size - positive
    if not positive or not negative:
        return float("nan")
    ranks = stats.rankdata(score)[is_positive].sum() - 0.5 * positive * (positive + 1)
    return float(ranks / (positive * negative))


def _least_covering(needed: np.ndarray, level: float) -> float:
    """The least value that at least ``level`` of the numbers do not exceed."""
    count = int(np.ceil(level * needed.size - 1e-9))
    return float(np.sort(needed)[max(count, 1) - 1])


def _known(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    flat = [np.asarray(array, dtype=np.float64).ravel() for array in arrays]
    is_known = ~np.any([np.isnan(array) for array in flat], axis=0)
    return tuple(array[is_known] for array in flat)
