"""How far new views are from the context views, against how far these are from each other.

What makes a surface look otherwise from elsewhere (light that shines back, exposure that follows
what the camera sees) changes little between neighbouring cameras. Let it change along a path as
Brownian motion does, so that the difference of two views a and b has a variance proportional to
their distance d(a, b): the linear variogram of kriging (Matheron 1963, "Principles of
geostatistics", Economic Geology 58). A picture that mixes context views in equal parts then differs
from the photograph by the variance

    E(t) = mean_i d(t, i) - mean_ij d(i, j) / 2,    i and j over the views that it is made of,

a context view in place of t from those without itself. Between two context views E is a quarter of
what it is for one of them from the other, and far outside it grows with the distance.
"""

import numpy as np
from jaxtyping import Float

from bayes_splat.types import Cameras


def of_views(
    context: Cameras, cameras: Cameras, without_view: int | None = None
) -> Float[np.ndarray, " view"]:
    """E of cameras over the mean E of context views, each from all others; no unit.

    Args:
        context: two cameras or more.
        cameras: of new views.
        without_view: a context view that the pictures are made without.

    Returns:
        One number a view, 1 where all context views stand in one place.
    """
    places = _centres(context)
    number = len(places)
    each = [_from_others(places, view, places[view]) for view in range(number)]
    typical = float(np.mean(each))
    if not typical > 0.0:
        return np.ones(len(cameras))
    found = [_from_others(places, without_view, place) for place in _centres(cameras)]
    return np.array(found) / typical


def _from_others(
    places: Float[np.ndarray, "context 3"], without: int | None, place: Float[np.ndarray, "3"]
) -> float:
    """E of one place from context views, all of them or all but one."""
    sources = places if without is None else np.delete(places, without, axis=0)
    among = np.linalg.norm(sources[:, None] - sources, axis=-1).mean()
    return float(np.linalg.norm(sources - place, axis=-1).mean() - 0.5 * among)


def _centres(cameras: Cameras) -> Float[np.ndarray, "view 3"]:
    return np.asarray(cameras.extrinsics[:, :3, 3].double().cpu().numpy())
