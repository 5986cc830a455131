"""The target of sampling, read off any Pyro model by tracing it.

``PyroTarget`` gives minus the log joint in unconstrained coordinates for all chains at once. The
model stays an ordinary Pyro model: Pyro's own HMC and NUTS run on it unchanged.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from bayes_splat.samplers import positions, traces
from bayes_splat.samplers.base import Batch, Generators, Position, of_chain

_scale_and_mask: Callable[..., Tensor] = scale_and_mask  # which has no annotations

_CHECK_SEED = 20240517
"""Seeds the prior draws that the constructor looks at; no result depends on it."""


class PyroTarget:
    """Minus the log joint of a Pyro model, in unconstrained coordinates, for all chains at once.

    With u the position, T the map ``biject_to(support)`` of every latent site and x = T(u),

        U(u) = -log p(x, observed) - log |det dT/du|.

    All chains are evaluated in one run of the model inside an outermost plate ``_chains``, to the
    left of the model's own plates, as ``vectorize_particles`` does: the model must treat axes to
    the left of its own as batch axes. Log probabilities are summed in float64, chain by chain, with
    a rounding that does not depend on the number of threads.

    A model whose class has a method ``potential_energy(position)`` may know U itself, as a
    differentiable float64 tensor [chain], or return None where it does not. It is asked first
    unless the model takes arguments; it must be the function that a trace gives, to rounding.

    The global random state and the parameter store are left as they were found.

    Attributes:
        sites: the latent sites, in the order in which the model visits them.
        is_vectorized: all chains in one run of the model; otherwise one run a chain.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        max_plate_nesting: int | None = None,
        vectorized: bool | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Trace the model twice with prior draws to learn its latent sites.

        Args:
            model: a Pyro model; data enter through ``obs=`` or ``poutine.condition``.
            args, kwargs: what the model is called with.
            max_plate_nesting: axes that the model's batch shapes occupy; None: read off the trace.
            vectorized: True: one run of the model for all chains. False: one run a chain. None:
                the former if it gives the energies of the latter on two prior draws.
            dtype: of the values handed to the model; None: what the model itself draws.

        Raises:
            ValueError: a latent site is discrete, has a support that depends on other sites, or
                has none that unconstrained coordinates can be mapped to; a plate subsamples at
                random; there is no latent site.
        """
        self.model = model
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self._is_plain = not self.args and not self.kwargs and dtype is None
        first, second = (self._prior_trace(_CHECK_SEED + i) for i in range(2))
        self.sites = {
            name: traces.read_site(name, node, second.get(name), dtype)
            for name, node in traces.latent_nodes(first)
        }
        if not self.sites:
            raise ValueError("the model has no latent site to sample: every site is observed")
        self.max_plate_nesting = (
            traces.guess_max_plate_nesting(first)
            if max_plate_nesting is None
            else max_plate_nesting
        )
        self.is_vectorized = True
        if vectorized is None:
            draws = [
                self.unconstrain({site: nodes[site]["value"][None] for site in self.sites})
                for nodes in (first, second)
            ]
            position = {site: torch.cat([draw[site] for draw in draws]) for site in self.sites}
            self.is_vectorized = self._broadcasts(position)
        else:
            self.is_vectorized = vectorized

    # ----- coordinates -----

    def constrain(self, position: Position) -> dict[str, Tensor]:
        """The values of the model's sites [chain, ...], float64."""
        return {site: self.sites[site].transform(value) for site, value in position.items()}

    def unconstrain(self, values: Mapping[str, Tensor]) -> Position:
        """The position of given site values [chain, ...]; the inverse of ``constrain``."""
        return {
            site: self.sites[site].transform.inv(value.detach().double())
            for site, value in values.items()
        }

    def initial_position(self, generators: Generators) -> Position:
        """A draw from the prior a chain, reproducible from the chain's generator."""
        draws = []
        for generator in generators:
            seed = int(torch.randint(2**31, (), generator=generator))
            nodes = self._prior_trace(seed)
            draws.append(self.unconstrain({s: nodes[s]["value"][None] for s in self.sites}))
        return {site: torch.cat([draw[site] for draw in draws]) for site in self.sites}

    # ----- energies -----

    @torch.no_grad()
    def potential_energy(
        self, position: Position, batch: Batch | None = None
    ) -> Float[Tensor, " chain"]:
        """Minus the log joint of every chain; +inf where it is not finite."""
        return _finite_or_inf(self._energy(position, batch))

    def potential_and_gradient(
        self,
        position: Position,
        batch: Batch | None = None,
        sites: Sequence[str] | None = None,
    ) -> tuple[Float[Tensor, " chain"], Position]:
        """The potential energy and its gradient.

        Args:
            position: of all chains.
            batch: keyword arguments that replace or extend the model's.
            sites: differentiate with respect to these only; None: all.

        Returns:
            Energies, +inf where not finite, and the gradient, zero in chains of infinite energy.
            Where the energy is finite and its derivative is not, the gradient is left as it is.
        """
        with torch.enable_grad():
            names = list(position if sites is None else sites)
            leaves = {name: position[name].detach().requires_grad_() for name in names}
            energy = self._energy({**position, **leaves}, batch)
            finite = energy.isfinite()
            gradients = torch.autograd.grad(
                torch.where(finite, energy, torch.zeros_like(energy)).sum(),
                [leaves[name] for name in names],
                allow_unused=True,
            )
        gradient = {
            name: torch.zeros_like(leaves[name]) if slope is None else slope
            for name, slope in zip(names, gradients, strict=True)
        }
        return _finite_or_inf(energy.detach()), positions.or_zero(finite, gradient)

    def conditional(self, sites: Sequence[str]) -> "PyroConditional":
        """The block of the named sites, with all others held fixed.

        Raises:
            ValueError: the model has no such site.
        """
        unknown = [site for site in sites if site not in self.sites]
        if unknown:
            raise ValueError(f"site {unknown[0]!r} is none of the latent {sorted(self.sites)}")
        return PyroConditional(self, tuple(sites))

    # ----- inside -----

    def _energy_that_the_model_knows(self, position: Position) -> Tensor | None:
        # Asked of the class of the model that is there now: wrappers change its density, and may
        # copy what an instance has.
        known = getattr(type(self.model), "potential_energy", None)
        return known(self.model, position) if known is not None and self._is_plain else None

    def _energy(self, position: Position, batch: Batch | None) -> Float[Tensor, " chain"]:
        """Minus the log joint, as it comes: possibly NaN."""
        energy = self._energy_that_the_model_knows(position) if not batch else None
        if energy is not None:
            return energy
        values = self.constrain(position)
        if self.is_vectorized:
            return -self._log_joint_of_chains(values, batch, position)
        runs = [
            self._log_joint(
                {name: value[chain] for name, value in values.items()},
                batch,
                {name: value[chain] for name, value in position.items()},
            )
            for chain in range(positions.num_chains(position))
        ]
        return -torch.stack(runs)

    def _log_joint_of_chains(
        self, values: dict[str, Tensor], batch: Batch | None, position: Position | None = None
    ) -> Float[Tensor, " chain"]:
        """Log joint of constrained values [chain, ...], float64, from one run of the model.

        With their ``position`` it is the density of that: Jacobians are included.
        """
        chains = positions.num_chains(values)
        ndim = 1 + self.max_plate_nesting
        terms, jacobians = self._log_probs(
            self._padded(values),
            batch,
            None if position is None else self._padded(position),
            pyro.plate("_chains", chains, dim=-ndim),
        )
        for name, term in terms.items():
            if term.ndim != ndim or term.shape[0] != chains:
                raise ValueError(
                    f"site {name!r} has log probabilities of shape {tuple(term.shape)} where the"
                    f" first of {ndim} axes should hold {chains} chains; pass vectorized=False"
                )
        return positions.total([*terms.values(), *jacobians])

    def _padded(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """[chain, ...] with the chain moved left of all plates of the model."""
        return {
            name: value.reshape(
                len(value),
                *(1,) * (self.max_plate_nesting - self.sites[name].batch_ndim),
                *value.shape[1:],
            )
            for name, value in values.items()
        }

    def _log_joint(
        self, values: dict[str, Tensor], batch: Batch | None, position: Position | None = None
    ) -> Float[Tensor, ""]:
        """Log joint of the constrained values of one chain, or of their position."""
        terms, jacobians = self._log_probs(values, batch, position, None)
        return positions.total([term[None] for term in (*terms.values(), *jacobians)])[0]

    def _log_probs(
        self,
        values: dict[str, Tensor],
        batch: Batch | None,
        position: Position | None,
        plate: Any,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Scaled and masked log probabilities a site, and log Jacobians, all unsummed.

        A latent site may know its density over its own unconstrained coordinate: its distribution
        then has a method ``log_prob_unconstrained``, which stands for both.
        """
        data = {name: value.to(self.sites[name].dtype) for name, value in values.items()}
        model = poutine.condition(self.model, data=data)
        terms, jacobians, latent = {}, [], set()
        # Candidates may lie anywhere: a bad value is an infinite energy, never an exception.
        with poutine.block(), traces.clean_param_store(), pyro.validation_enabled(False):
            trace = poutine.trace(plate(model) if plate else model).get_trace(
                *self.args, **{**self.kwargs, **(batch or {})}
            )
            for name, node in traces.density_nodes(trace.nodes):
                if name in values or not node["is_observed"]:
                    latent.add(name)
                place = None if position is None else position.get(name)
                terms[name] = _log_prob(node, place)
                if place is not None and not _knows_coordinate(node):
                    transform = self.sites[name].transform
                    jacobians.append(transform.log_abs_det_jacobian(place, values[name]))
        if latent != set(values):
            raise ValueError(
                f"site {min(latent ^ set(values))!r} is there for some values of the other sites"
                " only; the latent sites of a model must always be the same"
            )
        return terms, jacobians

    def _prior_trace(self, seed: int) -> dict[str, Any]:
        """The nodes of one run of the model, its latent sites drawn from the prior."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(seed)
            with poutine.block(), traces.clean_param_store():
                trace = poutine.trace(self.model).get_trace(*self.args, **self.kwargs)
        return dict(trace.nodes)

    @torch.no_grad()
    def _broadcasts(self, position: Position) -> bool:
        """Whether one run for all chains gives what one run a chain gives."""
        values = self.constrain(position)
        chains = positions.num_chains(position)
        alone = [self._log_joint({n: v[i] for n, v in values.items()}, None) for i in range(chains)]
        try:
            together = self._log_joint_of_chains(values, None)
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        else:
            if torch.allclose(together, torch.stack(alone), rtol=1e-4, equal_nan=True):
                return True
            reason = "its energies for several chains at once are not those of each chain alone"
        warnings.warn(
            "the model does not treat axes to the left of its own as batch axes, so every chain"
            f" takes a run of its own (vectorized=False silences this): {reason}",
            stacklevel=3,
        )
        return False


@dataclass(frozen=True)
class PyroConditional:
    """Some sites of a ``PyroTarget``, the others held fixed. Energies are those of the joint."""

    target: PyroTarget
    sites: tuple[str, ...]
    is_joint: ClassVar[bool] = True

    def given(self, position: Position) -> "PyroBlockTarget":
        return PyroBlockTarget(self.target, dict(position))

    def extract(self, position: Position) -> Position:
        return {site: position[site] for site in self.sites}

    def insert(self, block: Position, position: Position) -> Position:
        return {**position, **block}


@dataclass(frozen=True)
class PyroBlockTarget:
    """The joint potential as a function of some sites; ``fixed`` holds the others."""

    target: PyroTarget
    fixed: Position

    def of_chain(self, chain: int) -> "PyroBlockTarget":
        return PyroBlockTarget(
            of_chain(self.target, chain),  # type: ignore[arg-type]
            positions.row(self.fixed, chain),
        )

    def potential_energy(self, position: Position) -> Float[Tensor, " chain"]:
        return self.target.potential_energy({**self.fixed, **position})

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Float[Tensor, " chain"], Position]:
        return self.target.potential_and_gradient(
            {**self.fixed, **position}, batch, sites=list(position)
        )


@dataclass(frozen=True)
class Minibatches:
    """A ``MinibatchTarget`` of a Pyro model that takes part of its data through keyword arguments.

    Attributes:
        target: its model scales the likelihood of the part to the whole (as a plate does that
            is given ``subsample=``), so that energies and gradients are unbiased.
        draw: chooses the part: the model's keyword arguments for the next evaluation.
    """

    target: PyroTarget
    draw: Callable[[Generators], Batch]

    def draw_batch(self, generators: Generators) -> Batch:
        return self.draw(generators)

    def potential_energy(self, position: Position) -> Float[Tensor, " chain"]:
        return self.target.potential_energy(position)

    def potential_and_gradient(
        self, position: Position, batch: Batch | None = None
    ) -> tuple[Float[Tensor, " chain"], Position]:
        return self.target.potential_and_gradient(position, batch)


def _knows_coordinate(node: dict[str, Any]) -> bool:
    """Whether a node's distribution gives its density over the unconstrained coordinate."""
    is_plain = node["mask"] is None and isinstance(node["scale"], float) and node["scale"] == 1.0
    return is_plain and hasattr(node["fn"], "log_prob_unconstrained")


def _log_prob(node: dict[str, Any], coordinate: Tensor | None) -> Tensor:
    """Log probability of a node, over its coordinate where it is given and known."""
    if coordinate is not None and _knows_coordinate(node):
        density: Tensor = node["fn"].log_prob_unconstrained(coordinate)
        return density
    log_prob = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
    return _scale_and_mask(log_prob, node["scale"], node["mask"])


def _finite_or_inf(energy: Float[Tensor, " chain"]) -> Float[Tensor, " chain"]:
    """``energy``, with +inf for whatever is not finite."""
    return torch.where(energy.isfinite(), energy, torch.full_like(energy, torch.inf))
