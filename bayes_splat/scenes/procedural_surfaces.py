"""Surfaces that rays meet exactly: cards, discs, boxes, ellipsoids, cylinders, walls and domes.

Each is a unit shape (a square, a disc, a cube, a ball, a can) stretched by ``half_size``, turned
and moved. An affine map keeps the parameter of a ray, so that every shape is met in its unit form
and the parameter, here called distance, is camera z whenever the direction's camera z is one.
Arrays are component first, in the dtype of the directions: float64 for depths, float32 for colours.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Kind: TypeAlias = Literal["card", "disc", "box", "ellipsoid", "cylinder", "wall", "dome"]
"""``wall``: an endless plane; ``dome``: an ellipsoid met from inside, at the far side."""


@dataclass(frozen=True)
class Surface:
    """A unit shape, stretched along its own axes, turned and moved.

    Attributes:
        kind: the unit shape. Cards, discs and walls have the own axis z as normal, cylinders as
            axis (with flat ends).
        center: world coordinates.
        axes: the own axes in world coordinates, as columns of a rotation.
        half_size: along the own axes, scene units, positive.
    """

    kind: Kind
    center: Float[ndarray, "3"]
    axes: Float[ndarray, "3 3"]
    half_size: Float[ndarray, "3"]

    def meet(
        self, origins: Float[ndarray, "3 #ray"], directions: Float[ndarray, "3 ray"]
    ) -> Float[ndarray, " ray"]:
        """Distance to the first point at a positive one, in lengths of the direction; inf: none."""
        shift = origins - self.center[:, None].astype(directions.dtype)
        start, step = self._unit(shift), self._unit(directions)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return _MEET[self.kind](start, step)

    def own_points(self, points: Float[ndarray, "3 point"]) -> Float[ndarray, "3 point"]:
        """World points in the own frame, scene units: what textures are painted in."""
        shift = points - self.center[:, None].astype(points.dtype)
        return _turn(self.axes.T, shift)

    def normals(self, own_points: Float[ndarray, "3 point"]) -> Float[ndarray, "3 point"]:
        """Outward unit normals in the world at points of the surface given in the own frame."""
        half_size = self.half_size[:, None].astype(own_points.dtype)
        slopes = _gradient(self.kind, own_points / half_size) / half_size
        world = _turn(self.axes, slopes)
        unit: ndarray = world / np.sqrt(dot(world, world))
        return unit

    def clearance(self, point: Float[ndarray, "3"]) -> float:
        """A lower bound of the distance between a point and the stretched unit cube around."""
        own = self.axes.T @ (point - self.center)
        return float(np.linalg.norm(np.maximum(np.abs(own) - self.half_size, 0)))

    def _unit(self, vectors: Float[ndarray, "3 #ray"]) -> Float[ndarray, "3 #ray"]:
        """World vectors in the own frame, in half sizes."""
        return _turn(self.axes.T / self.half_size[:, None], vectors)


def dot(a: Float[ndarray, "axis #ray"], b: Float[ndarray, "axis #ray"]) -> Float[ndarray, " ray"]:
    """Scalar products over the first axis, term after term."""
    total: ndarray = a[0] * b[0]
    for left, right in zip(a[1:], b[1:], strict=True):
        total = total + left * right
    return total


def _turn(
    matrix: Float[ndarray, "3 3"], vectors: Float[ndarray, "3 #ray"]
) -> Float[ndarray, "3 #ray"]:
    """Written out: a matrix product's last bits depend on the number of threads."""
    rows = matrix.astype(vectors.dtype)
    return np.stack(
        [row[0] * vectors[0] + row[1] * vectors[1] + row[2] * vectors[2] for row in rows]
    )


def _forward(distances: Float[ndarray, " ray"], is_hit: ndarray) -> Float[ndarray, " ray"]:
    return np.where(is_hit & (distances > 0), distances, np.inf).astype(distances.dtype)


def _meet_wall(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    distances = -start[2] / step[2]
    return _forward(distances, np.isfinite(distances))


def _meet_card(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    distances = -start[2] / step[2]
    x, y = start[0] + distances * step[0], start[1] + distances * step[1]
    return _forward(distances, (np.abs(x) <= 1) & (np.abs(y) <= 1))


def _meet_disc(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    distances = -start[2] / step[2]
    x, y = start[0] + distances * step[0], start[1] + distances * step[1]
    return _forward(distances, x * x + y * y <= 1)


def _meet_box(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    inverse = 1 / step
    middle, reach = -start * inverse, np.abs(inverse)
    enter, leave = middle - reach, middle + reach
    first = np.maximum(np.maximum(enter[0], enter[1]), enter[2])
    last = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    return _forward(first, first <= last)


def _roots(start: ndarray, step: ndarray) -> tuple[ndarray, ndarray]:
    """Where rays are closest to the origin, and half the chord of the unit circle or ball there.

    From the closest point rather than the discriminant, which cancels far from small shapes.
    """
    length = dot(step, step)
    closest = -dot(start, step) / length
    foot = start + closest * step
    return closest, np.sqrt((1 - dot(foot, foot)) / length)  # NaN: no hit


def _meet_ellipsoid(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    closest, chord = _roots(start, step)
    return _forward(closest - chord, ~np.isnan(chord))


def _meet_dome(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    closest, chord = _roots(start, step)
    return _forward(closest + chord, ~np.isnan(chord))


def _meet_cylinder(start: Float[ndarray, "3 #ray"], step: Float[ndarray, "3 ray"]) -> ndarray:
    closest, chord = _roots(start[:2], step[:2])
    side = closest - chord
    side = _forward(side, np.abs(start[2] + side * step[2]) <= 1)
    end = (-np.sign(step[2]) - start[2]) / step[2]  # the end that faces the ray
    x, y = start[0] + end * step[0], start[1] + end * step[1]
    first: ndarray = np.minimum(side, _forward(end, x * x + y * y <= 1))
    return first


def _gradient(kind: Kind, unit: Float[ndarray, "3 point"]) -> Float[ndarray, "3 point"]:
    """A vector along the unit shape's outward normal at its points."""
    if kind in ("ellipsoid", "dome"):
        return unit
    if kind == "box":
        face: ndarray = np.sign(unit) * (np.abs(unit) == np.abs(unit).max(axis=0))
        return face
    upright = np.zeros_like(unit)
    if kind == "cylinder":
        is_side = np.hypot(unit[0], unit[1]) > np.abs(unit[2])
        upright[2] = np.sign(unit[2])
        return np.where(is_side, unit * np.array([[1], [1], [0]], unit.dtype), upright)
    upright[2] = 1
    return upright


_MEET = {
    "card": _meet_card,
    "disc": _meet_disc,
    "box": _meet_box,
    "ellipsoid": _meet_ellipsoid,
    "cylinder": _meet_cylinder,
    "wall": _meet_wall,
    "dome": _meet_dome,
}
