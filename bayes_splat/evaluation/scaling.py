"""One noise level, or one scale of a predictive distribution, fitted on context pixels."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import optimize

from bayes_splat import mixtures
from bayes_splat.evaluation import predictive
from bayes_splat.evaluation.predictive import Predictive
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.samplers.sampling import Draws

MOST_NUMBERS = 6000
"""Colours that a fit looks at, evenly spread: one parameter needs no more."""

_RANGE = (math.log(0.02), math.log(50.0))
_LEAST_ALPHA = 0.5


def own_views(
    model: SplatModel, draws: Draws, max_components: int
) -> tuple[Predictive, np.ndarray]:
    """The context views as rendered, and their photographs.

    The Gaussians were born at these very pixels: a scale fitted here knows nothing of how much
    harder a new view is.
    """
    found = predictive.predict(model, draws, model.views.cameras, max_components)
    return found, _photographs(model)


def cross_views(
    model: SplatModel, draws: Draws, max_components: int
) -> tuple[Predictive, np.ndarray]:
    """Every context view rendered from the Gaussians of the other views, and its photograph.

    Pixels that the others do not cover (mean alpha up to one half) are NaN. Depths and opacities
    were fitted with this photograph in sight, but the colours are those of other pictures.
    """
    parts = [
        predictive.predict(
            model, draws, model.views.cameras[[view]], max_components, without_view=view
        )
        for view in range(model.num_views)
    ]
    joined = Predictive(
        means=np.concatenate([part.means for part in parts], axis=1),
        stds=parts[0].stds,
        spread=np.concatenate([part.spread for part in parts]),
        depths=np.concatenate([part.depths for part in parts], axis=1),
        depth_stds=np.concatenate([part.depth_stds for part in parts], axis=1),
        alphas=np.concatenate([part.alphas for part in parts]),
    )
    covered = joined.alphas[..., None] > _LEAST_ALPHA
    return joined, np.where(covered, _photographs(model), np.nan)


CONTEXT_PIXELS: dict[str, Callable[[SplatModel, Draws, int], tuple[Predictive, np.ndarray]]] = {
    "own": own_views,
    "cross": cross_views,
}
"""What a scale may be fitted on."""


def fit_scale(record: Predictive, observed: Float[np.ndarray, "view height width 3"]) -> float:
    """The factor of ``Predictive.scaled`` under which the observations are most likely."""
    means, stds, observed = _thinned(record, observed)
    centre = mixtures.mean(means)

    def energy(factor: float) -> float:
        stretched = centre + factor * (means - centre)
        return float(np.nanmean(mixtures.nll(stretched, factor * stds, observed)))

    return _minimum(energy)


def fit_noise(record: Predictive, observed: Float[np.ndarray, "view height width 3"]) -> float:
    """The one standard deviation of all components under which the observations are most likely.

    For a single picture it is the root mean squared residual.
    """
    means, _, observed = _thinned(record, observed)
    unit = np.ones((len(means), 1))
    return _minimum(lambda std: float(np.nanmean(mixtures.nll(means, std * unit, observed))), 1e-2)


def _minimum(energy: Callable[[float], float], unit: float = 1.0) -> float:
    """Where a function of a positive number is least, to 1e-4 of it."""
    found = optimize.minimize_scalar(
        lambda log: energy(unit * math.exp(log)),
        bounds=_RANGE,
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(unit * math.exp(found.x))


def _thinned(record: Predictive, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evenly spread numbers that have an observation: [draw number], the same, [number]."""
    flat = np.asarray(observed, dtype=np.float64).reshape(-1)
    known = np.flatnonzero(~np.isnan(flat))
    step = max(1, -(-len(known) // MOST_NUMBERS))
    kept = known[::step]
    draws = len(record.means)
    stds = np.broadcast_to(record.stds, record.means.shape).reshape(draws, -1)[:, kept]
    means = record.means.reshape(draws, -1)[:, kept]
    return means.astype(np.float64), stds.astype(np.float64), flat[kept]


def _photographs(model: SplatModel) -> np.ndarray:
    return np.asarray(model.views.images.movedim(-3, -1).double().numpy())
