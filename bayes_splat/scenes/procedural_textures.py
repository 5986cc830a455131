"""Procedural paint: value noise of several octaves, stripes, checks, gradients, and plain colours.

Textures are solid, functions of the point in the surface's own frame, so that they have no seams
and every view sees the same. What is finer than a pixel fades, as it does for a camera that
averages over pixels. Value noise: Ebert et al., Texturing and Modeling (2003), chapter 2.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayes_splat.scenes.procedural_surfaces import dot

Pattern: TypeAlias = Literal["noise", "stripes", "checks", "gradient", "plain"]

_LATTICE = 16  # random values along each side of the noise's period; a power of two
_OCTAVES = 8
_EDGE = 5.0  # how hard the edges of stripes and checks are


@dataclass(frozen=True)
class Texture:
    """Two colours mixed by a pattern, and unless that is plain or a gradient, darkened by noise.

    Attributes:
        kind: the pattern.
        colors: between which the pattern moves, in [0, 1].
        period: of stripes and checks, half the range of a gradient, and the largest cell of the
            noise, scene units.
        axes: along which the pattern runs in the own frame, as rows of a rotation.
        phases: of stripes and checks along these axes, radians.
        persistence: amplitude of each octave of noise relative to the one twice as coarse.
        contrast: of the noise, before it is squashed to [0, 1].
        grain: share of the brightness that noise takes away where it is darkest; 0 for none.
        lattice: uniform numbers at the corners of the noise's cells, repeated in all directions.
        offsets: of the octaves in the lattice, cells.
    """

    kind: Pattern
    colors: Float[ndarray, "2 3"]
    period: float
    axes: Float[ndarray, "3 3"]
    phases: Float[ndarray, "3"]
    persistence: float
    contrast: float
    grain: float
    lattice: Float[ndarray, "cell cell cell"]
    offsets: Float[ndarray, "octave 3"]

    def paint(
        self, own_points: Float[ndarray, "3 point"], footprints: Float[ndarray, " point"]
    ) -> Float[ndarray, "3 point"]:
        """Colours at points of the surface's own frame.

        Args:
            own_points: scene units.
            footprints: width of a pixel on the surface there, scene units; finer detail fades.
        """
        light, dark = self.colors.astype(own_points.dtype)[..., None]
        if self.kind == "plain":
            return np.broadcast_to(light, own_points.shape).copy()
        points = np.stack(
            [dot(axis[:, None].astype(own_points.dtype), own_points) for axis in self.axes]
        )
        mix = self._pattern(points, footprints)
        colors: ndarray = light + mix * (dark - light)
        if self.kind != "gradient" and self.grain > 0:  # elsewhere in the noise than the pattern
            colors = colors * (1 - self.grain * self._noise(points[::-1], footprints))
        return colors

    def _pattern(self, points: Float[ndarray, "3 point"], footprints: ndarray) -> ndarray:
        """In [0, 1]."""
        if self.kind == "noise":
            return self._noise(points, footprints)
        if self.kind == "gradient":
            ramp: ndarray = np.clip(0.5 + 0.5 * points[0] / self.period, 0, 1)
            return ramp
        count = 1 if self.kind == "stripes" else 3
        waves = np.ones_like(footprints)
        for axis in range(count):
            angle = (2 * np.pi / self.period) * points[axis] + self.phases[axis]
            waves = waves * np.tanh(_EDGE * np.cos(angle))
        pattern: ndarray = 0.5 + 0.5 * waves * _fade(self.period / 4, footprints)
        return pattern

    def _noise(self, points: Float[ndarray, "3 point"], footprints: ndarray) -> ndarray:
        """In [0, 1]: octaves about their mean, those below a pixel left out, squashed."""
        total = np.zeros_like(footprints)
        cell, amplitude, energy = self.period, 1.0, 0.0
        finest = footprints.min(initial=np.inf)
        for offset in self.offsets:
            energy += amplitude**2
            if cell > finest:
                places = points / cell + offset[:, None].astype(points.dtype)
                values = _lattice_noise(self.lattice, places) - 0.5
                total += amplitude * _fade(cell, footprints) * values
            cell, amplitude = cell / 2, amplitude * self.persistence
        squashed: ndarray = 0.5 + 0.5 * np.tanh(total * (self.contrast / energy**0.5))
        return squashed


def draw_texture(
    generator: np.random.Generator, width: float, colors: Float[ndarray, "2 3"], kind: Pattern
) -> Texture:
    """A texture for a surface on which the picture is ``width`` scene units wide."""
    coarse = {"noise": (0.12, 0.6), "gradient": (0.3, 0.8)}.get(kind, (0.08, 0.3))
    period = width * float(np.exp(generator.uniform(*np.log(coarse))))
    return Texture(
        kind=kind,
        colors=colors,
        period=period,
        axes=np.eye(3) if kind == "checks" else random_rotation(generator),
        phases=np.append(generator.uniform(0, 2 * np.pi, 2), 0.0),
        persistence=float(generator.uniform(0.6, 1.0)),
        contrast=float(generator.uniform(2.0, 6.0)),
        grain=float(generator.choice([0.0, generator.uniform(0.15, 0.6)], p=[0.2, 0.8])),
        lattice=generator.random((_LATTICE,) * 3, dtype=np.float32),
        offsets=generator.uniform(0, _LATTICE, (_OCTAVES, 3)),
    )


def random_rotation(generator: np.random.Generator) -> Float[ndarray, "3 3"]:
    """Uniform over rotations: from a quaternion that is uniform on the sphere."""
    w, x, y, z = (quaternion := generator.normal(size=4)) / np.sqrt((quaternion**2).sum())
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _fade(size: float, footprints: Float[ndarray, " point"]) -> Float[ndarray, " point"]:
    """0 for detail as small as a pixel, 1 from two pixels on."""
    return np.clip(size / footprints - 1, 0, 1)


def _lattice_noise(
    lattice: Float[ndarray, "cell cell cell"], places: Float[ndarray, "3 point"]
) -> Float[ndarray, " point"]:
    """Values between the corners of the cell that holds each place, with smooth weights."""
    floors = np.floor(places)
    x, y, z = (weight * weight * (3 - 2 * weight) for weight in places - floors)
    low = floors.astype(np.int32) & (_LATTICE - 1)
    high = (low + 1) & (_LATTICE - 1)
    columns = (low[2], high[2])
    rows = (low[1] * _LATTICE, high[1] * _LATTICE)
    values = lattice.reshape(-1)
    slabs = []
    for slab in (low[0], high[0]):
        lines = []
        for row in rows:
            base = slab * _LATTICE**2 + row
            first = values.take(base + columns[0])
            lines.append(first + z * (values.take(base + columns[1]) - first))
        slabs.append(lines[0] + y * (lines[1] - lines[0]))
    between: ndarray = slabs[0] + x * (slabs[1] - slabs[0])
    return between
