"""Curves of one method on one scene, as plain numbers that can be saved, averaged and drawn."""

from typing import TypedDict

import numpy as np

from bayes_splat import metrics
from bayes_splat.evaluation.scores import Maps, Truth
from bayes_splat.uncertainty import combine_channels

LEVELS = (0.0, *metrics.LEVELS, 1.0)
"""Levels of the reliability diagram."""

MOST_POINTS = 1500
"""Points of the scatter of error and standard deviation, evenly spread over the pixels."""


class Curves(TypedDict):
    """Numbers of a method on a scene.

    Keys:
        sparsification: mean absolute error of the pixels that remain, at ``metrics.FRACTIONS``
            removed, over that of all; mean over views.
        oracle: the same in the order of the error itself.
        reliability: coverage of the central intervals at ``LEVELS``, all views.
        points: (standard deviation, absolute error) of some pixels.
    """

    sparsification: list[float]
    oracle: list[float]
    reliability: list[float]
    points: list[list[float]]


def curves(found: Maps, truth: Truth) -> Curves:
    """Curves over all views given."""
    error = np.abs(found.mean - truth.colors).mean(-1)
    std = combine_channels(found.std)
    ours, oracle = [], []
    for view_error, view_std in zip(error, std, strict=True):
        known = ~np.isnan(view_error)
        e, s = view_error[known], view_std[known]
        if e.any():
            ours.append(metrics.sparsification_curve(e, s) / e.mean())
            oracle.append(metrics.sparsification_curve(e, e) / e.mean())
    step = max(1, error.size // MOST_POINTS)
    points = np.stack([std.ravel()[::step], error.ravel()[::step]], axis=1)
    return Curves(
        sparsification=_mean(ours),
        oracle=_mean(oracle),
        reliability=[metrics.coverage_from_pit(found.pit, level) for level in LEVELS],
        points=np.round(points[~np.isnan(points).any(1)], 5).tolist(),
    )


def _mean(curves_of_views: list[np.ndarray]) -> list[float]:
    if not curves_of_views:
        return [float("nan")] * len(metrics.FRACTIONS)
    mean = np.asarray(np.mean(curves_of_views, axis=0))
    return [round(float(value), 6) for value in mean]
