"""The likelihood: photographs are pictures with independent Normal noise in every channel."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pyro.distributions import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

from bayes_splat.rendering import squared_errors


class PhotographNoise(TorchDistribution):
    """A set of photographs around pictures, as one event: [view height width 3] or [pixel 3].

    Every channel of every pixel is Normal(picture, noise scale of its view). The log density is
    made of one sum of squared errors a view, in float64 whatever the pictures' precision:

        sum_v -S_v / (2 s_v^2) - n_v log s_v - n_v/2 log(2 pi),

    n_v being the number of channels observed in view v. Pictures that are not finite make a log
    density that is not finite, never an exception.

    Attributes:
        pictures: [*batch view height width 3], or [*batch pixel 3] with ``view``.
        noise_scale: of every view, positive, float64.
        view: of every chosen pixel; None: the pictures are whole.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(
        self,
        pictures: Float[Tensor, "*pictures 3"],
        noise_scale: Float[Tensor, "*batch view"],
        view: Int[Tensor, "*batch pixel"] | None = None,
    ) -> None:
        event_dim = 4 if view is None else 2
        batch = torch.broadcast_shapes(pictures.shape[:-event_dim], noise_scale.shape[:-1])
        event = pictures.shape[-event_dim:]
        self.pictures = pictures.expand(*batch, *event)
        self.noise_scale = noise_scale.expand(*batch, noise_scale.shape[-1])
        self.view = None if view is None else view.expand(*batch, view.shape[-1])
        super().__init__(batch, event, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Real numbers: noise may lead out of [0, 1]."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """The pictures."""
        return self.pictures

    @property
    def variance(self) -> Tensor:
        """Squared noise scale of every channel."""
        return self._noise_of_pixels().square().expand_as(self.pictures)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "PhotographNoise":
        """The same for a larger batch."""
        if Size(batch_shape) == self.batch_shape:
            return self
        return PhotographNoise(
            self.pictures.expand(*batch_shape, *self.event_shape),
            self.noise_scale.expand(*batch_shape, self.noise_scale.shape[-1]),
            self.view,
        )

    def rsample(self, sample_shape: Any = Size()) -> Tensor:  # noqa: B008 - torch's signature
        """Photographs, in the precision of the pictures."""
        noise = torch.randn(
            self._extended_shape(sample_shape),
            dtype=self.pictures.dtype,
            device=self.pictures.device,
        )
        return self.pictures + self._noise_of_pixels().to(noise) * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of photographs [*batch, *event], float64."""
        batch = torch.broadcast_shapes(
            self.batch_shape, value.shape[: value.ndim - len(self.event_shape)]
        )
        sums, counts = self._sums(value, batch)
        return -normal_energy(sums, 3.0 * counts, self.noise_scale).sum(-1)

    def _sums(self, value: Tensor, batch: Size) -> tuple[Tensor, Tensor | float]:
        """Squared errors [*batch view] and the number of pixels that they are of."""
        num_views = self.noise_scale.shape[-1]
        event = self.event_shape
        pictures = self.pictures.expand(*batch, *event).reshape(-1, *event)
        if self.view is None:
            if value.shape != event:
                value = value.expand(*batch, *event).reshape(-1, *event)
            cells = cell_sums(pictures, value, squared_errors.STRIP)
            return cells.sum(-1).sum(-1).reshape(*batch, num_views), float(event[1] * event[2])
        found = squared_errors.chosen_squared_errors(
            pictures,
            value.expand(*batch, *event).reshape(-1, *event),
            self.view.expand(*batch, event[0]).reshape(-1, event[0]),
            num_views,
        )
        sums, counts = (rows.reshape(*batch, num_views) for rows in found)
        return sums, counts

    def _noise_of_pixels(self) -> Tensor:
        """Noise scales that broadcast against the pictures."""
        if self.view is None:
            return self.noise_scale[..., None, None, None]
        return self.noise_scale.gather(-1, self.view)[..., None]


def normal_energy(
    squares: Float[Tensor, "..."],
    counts: Float[Tensor, "..."] | float,
    noise_scale: Float[Tensor, "..."],
) -> Float[Tensor, "..."]:
    """Minus the log density of ``counts`` Normal numbers whose squared errors sum to ``squares``.

    S / (2 s^2) + n log s + n/2 log(2 pi)
    """
    constant = 0.5 * math.log(2.0 * math.pi)
    return 0.5 * squares / noise_scale.square() + counts * (noise_scale.log() + constant)


def cell_energies(
    pictures: Float[Tensor, "chain view height width 3"],
    photographs: Float[Tensor, "*chain view height width 3"],
    noise_scale: Float[Tensor, "chain view"],
    cell: int,
) -> Float[Tensor, "chain view rows columns"]:
    """Minus the log likelihood of every cell x cell pixels, normalising constant included."""
    height, width = pictures.shape[2:4]
    rows, columns = (
        (size - torch.arange(0, size, cell, device=pictures.device)).clamp_max(cell)
        for size in (height, width)
    )
    counts = (3 * rows[:, None] * columns).double()
    sums = cell_sums(pictures, photographs, cell)
    return normal_energy(sums, counts, noise_scale[..., None, None])


def cell_sums(
    pictures: Float[Tensor, "chain view height width 3"],
    photographs: Float[Tensor, "*chain view height width 3"],
    cell: int,
) -> Float[Tensor, "chain view rows columns"]:
    """Squared errors of cells to photographs that all chains share, or that each has for itself."""
    if photographs.ndim == 4:
        return squared_errors.cell_squared_errors(pictures, photographs, cell)
    chains, views = pictures.shape[:2]
    # The views of all chains are as good as the views of one.
    together = squared_errors.cell_squared_errors(
        pictures.flatten(0, 1)[None], photographs.flatten(0, 1), cell
    )
    return together.reshape(chains, views, *together.shape[2:])
