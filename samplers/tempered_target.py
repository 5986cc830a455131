"""Posteriors with the likelihood raised to a power, of any Pyro model.

At power beta the density is prior times likelihood^beta: the posterior at 1, the prior at 0. The
prior is never touched, so every power is a proper distribution.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Batch, Position, Target
from bayes_splat.samplers.potential import PyroConditional, PyroTarget


@runtime_checkable
class PowerTarget(Protocol):
    """A posterior whose likelihood can be raised to a power, another one in every row.

    Rows are what is called chains elsewhere: here a chain has one row a power.
    """

    def at_power(self, power: Float[Tensor, " row"]) -> Target:
        """The density prior times likelihood^power, its potential energies +inf and not NaN."""
        ...

    def log_likelihood(self, position: Position) -> Float[Tensor, " row"]:
        """Log likelihood at power 1, float64; -inf where it is no number."""
        ...


@dataclass(frozen=True)
class TemperedTarget:
    """The ``PowerTarget`` of a Pyro model: powers apply to its observed sites and factors.

    Attributes:
        target: the posterior, at power 1.
    """

    target: PyroTarget

    def at_power(self, power: Float[Tensor, " row"]) -> "TargetAtPower":
        return TargetAtPower(_with_model(self.target, _Powered(self.target.model)), power)

    def log_likelihood(self, position: Position) -> Float[Tensor, " row"]:
        masked = _with_model(self.target, _LikelihoodOnly(self.target.model))
        energy = masked.potential_energy(position)
        # What is left of the prior is the Jacobian of the coordinates.
        terms = []
        for name, site in self.target.sites.items():
            value = site.transform(position[name])
            terms.append(site.transform.log_abs_det_jacobian(position[name], value))
        return -energy - positions.total(terms)


@dataclass(frozen=True)
class TargetAtPower:
    """A tempered Pyro posterior, which can also be cut into blocks for Gibbs.

    Attributes:
        target: its model takes the power as an argument.
        power: of the likelihood, one a row of the positions.
    """

    target: PyroTarget
    power: Float[Tensor, " row"]

    def of_chain(self, chain: int) -> "TargetAtPower":
        """The target of one row alone."""
        return TargetAtPower(self.target, self.power[chain : chain + 1])

    def potential_energy(
        self, position: Position, batch: Batch | None = None
    ) -> Float[Tensor, " row"]:
        if self.target.is_vectorized:
            return self.target.potential_energy(position, self._arguments(batch))
        rows = [
            self.target.potential_energy(row, {**(batch or {}), _POWER: power})
            for row, power in self._rows(position)
        ]
        return torch.cat(rows)

    def potential_and_gradient(
        self,
        position: Position,
        batch: Batch | None = None,
        sites: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, " row"], Position]:
        if self.target.is_vectorized:
            return self.target.potential_and_gradient(position, self._arguments(batch), sites)
        found = [
            self.target.potential_and_gradient(row, {**(batch or {}), _POWER: power}, sites)
            for row, power in self._rows(position)
        ]
        gradient = {site: torch.cat([slope[site] for _, slope in found]) for site in found[0][1]}
        return torch.cat([energy for energy, _ in found]), gradient

    def conditional(self, sites: Sequence[str]) -> PyroConditional:
        """The block of the named sites at this power, as of ``PyroTarget``."""
        self.target.conditional(sites)  # raises where there is no such site
        return PyroConditional(self, tuple(sites))  # type: ignore[arg-type]

    def _arguments(self, batch: Batch | None) -> Batch:
        nesting = (1,) * self.target.max_plate_nesting
        return {**(batch or {}), _POWER: self.power.reshape(-1, *nesting)}

    def _rows(self, position: Position) -> list[tuple[Position, Tensor]]:
        return [(positions.row(position, i), power) for i, power in enumerate(self.power)]


_POWER = "_likelihood_power"


@dataclass(frozen=True)
class _Powered:
    """A model with its likelihood raised to the power that it is called with."""

    model: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        power = kwargs.pop(_POWER, None)
        with _Likelihood(power):
            return self.model(*args, **kwargs)


@dataclass(frozen=True)
class _LikelihoodOnly:
    """A model without the densities of its latent sites."""

    model: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _NoPrior():
            return self.model(*args, **kwargs)


# Both stand inside of what conditions the latent sites on the position, so that they see as
# observed only what the model itself observes.


class _Likelihood(Messenger):
    """Raises the likelihood of observed sites to a power."""

    def __init__(self, power: Tensor | None) -> None:
        super().__init__()
        self.power = power

    def _pyro_sample(self, msg: Any) -> None:
        if self.power is not None and _is_likelihood(msg):
            msg["scale"] = msg["scale"] * self.power


class _NoPrior(Messenger):
    """Leaves the densities of latent sites out."""

    def _pyro_sample(self, msg: Any) -> None:
        if not _is_likelihood(msg) and not isinstance(msg["fn"], _Subsample):
            msg["mask"] = False


def _is_likelihood(msg: Any) -> bool:
    return bool(msg["is_observed"]) and not isinstance(msg["fn"], _Subsample)


def _with_model(target: PyroTarget, model: Callable[..., Any]) -> PyroTarget:
    """``target`` with another model of the same latent sites."""
    other = copy.copy(target)
    other.model = model
    return other
