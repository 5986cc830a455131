"""How much the photograph of a view would tell about the scene, before it is taken.

The photograph is the render of the true scene plus noise, and draws of the scene say what renders
may come. If these are Normal with covariance S and the noise is white with variance s^2, the
photograph holds log det(I + S / s^2) / 2 nats about the scene: the expected fall of its entropy
(MacKay 1992, "Information-based objective functions for active data selection").
"""

import numpy as np
from jaxtyping import Float

from bayes_splat import mixtures
from bayes_splat.evaluation.predictive import Predictive


def of_pixels(record: Predictive) -> Float[np.ndarray, " view"]:
    """As if all pixels and channels were independent: sum of log(total / noise variance) / 2, nats.

    What neighbouring pixels tell twice counts twice.
    """
    variance = np.square(mixtures.spread(record.means))
    return np.asarray(0.5 * np.log1p(variance / _noise_variance(record)).sum((1, 2, 3)))


def joint(record: Predictive) -> Float[np.ndarray, " view"]:
    """Of the covariance of whole pictures over draws, nats; no more directions than draws - 1."""
    draws, views = record.means.shape[:2]
    noise = _noise_variance(record)
    found = np.zeros(views)
    for view in range(views):
        pictures = record.means[:, view].reshape(draws, -1).astype(np.float64)
        part = np.broadcast_to(noise, record.means.shape[1:])[view].reshape(-1)
        centred = (pictures - pictures.mean(0)) / np.sqrt(draws * part)
        # det(I + A^T A) = det(I + A A^T), and the latter is small.
        found[view] = 0.5 * np.linalg.slogdet(np.eye(draws) + centred @ centred.T)[1]
    return found


SCORES = {"pixels": of_pixels, "joint": joint}
"""What views may be ranked by."""


def _noise_variance(record: Predictive) -> np.ndarray:
    return np.asarray(np.square(record.stds, dtype=np.float64).mean(0))
