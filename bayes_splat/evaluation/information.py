"""How much the photograph of a view would tell about the scene, before it is taken.

The photograph is the render of the true scene plus noise, and draws of the scene say what renders
may come. If these are Normal with covariance S and the noise is white with variance s^2, the
photograph holds log det(I + S / s^2) / 2 nats about the scene: the expected fall of its entropy
(MacKay 1992, "Information-based objective functions for active data selection").

Draws say nothing of what no Gaussian covers: it looks the same in all of them. Where the error of
new views has been learned (``bayes_splat.discrepancy``), its part that grows with the light that
gets through all Gaussians is such ignorance, independent from pixel to pixel, and is added to S.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_splat import mixtures
from bayes_splat.discrepancy import Discrepancy
from bayes_splat.error_law import FREEDOM
from bayes_splat.evaluation.predictive import Predictive

_LEAST_NOISE = 0.05
"""Share of the squared error that is noise at least."""


class Unknown(NamedTuple):
    """What is not known of the photographs of some views.

    Attributes:
        means: pictures of draws of the scene.
        unseen: further variance of the scene's colours, where nothing covers it.
        noise: variance of what a photograph does not tell of the scene.
    """

    means: Float[np.ndarray, "draw view height width 3"]
    unseen: Float[np.ndarray, "view height width 3"]
    noise: Float[np.ndarray, "view height width 3"]


def unknown(record: Predictive, discrepancy: Discrepancy | None = None) -> Unknown:
    """Split the predictive variance of views into the scene's and the noise's.

    Args:
        record: without the discrepancy, so that its components have the noise of the draws.
        discrepancy: of new views; None: the noise of the draws is all there is.
    """
    shape = record.means.shape[1:]
    if discrepancy is None:
        noise = np.square(record.stds, dtype=np.float64).mean(0)
        return Unknown(record.means, np.zeros(shape), np.broadcast_to(noise, shape))
    pictures = record.pictures
    opaque = pictures._replace(through=np.zeros(shape[:3]))
    # As remote as context views are, all of them: what distance does to colours tells nothing.
    far = np.ones(shape[0])
    whole = discrepancy.squared_scale(opaque, far)
    unseen = discrepancy.squared_scale(pictures, far) - whole
    # What is left beside the draws, whose variance is part of it: that of a Student-t is larger
    # than its squared scale. Where draws disagree as widely, they leave a little.
    noise = np.maximum(whole - pictures.variance * (FREEDOM - 2.0) / FREEDOM, _LEAST_NOISE * whole)
    return Unknown(record.means, unseen, noise)


def of_pixels(found: Unknown) -> Float[np.ndarray, " view"]:
    """As if all pixels and channels were independent: sum of log(total / noise variance) / 2, nats.

    What neighbouring pixels tell twice counts twice.
    """
    variance = np.square(mixtures.spread(found.means)) + found.unseen
    return np.asarray(0.5 * np.log1p(variance / found.noise).sum((1, 2, 3)))


def joint(found: Unknown) -> Float[np.ndarray, " view"]:
    """Of the covariance of whole pictures over draws, nats; no more directions than draws - 1."""
    draws, views = found.means.shape[:2]
    total = found.noise + found.unseen
    alone = 0.5 * np.log(total / found.noise).sum((1, 2, 3))
    for view in range(views):
        pictures = found.means[:, view].reshape(draws, -1).astype(np.float64)
        centred = (pictures - pictures.mean(0)) / np.sqrt(draws * total[view].reshape(-1))
        # det(I + A^T A) = det(I + A A^T), and the latter is small.
        alone[view] += 0.5 * np.linalg.slogdet(np.eye(draws) + centred @ centred.T)[1]
    return np.asarray(alone)


SCORES = {"pixels": of_pixels, "joint": joint}
"""What views may be ranked by."""
