"""Pyro's own HMC and NUTS beside the kernels of this room: the same driver, one kernel a chain."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from pyro.infer import NUTS
from torch import Tensor

from bayes_splat.samplers.base import Generators, Info, Position, Target, of_chain


class HamiltonianState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: unconstrained.
        potential_energy: at the position.
        adaptation: Pyro's kernels, one a chain, with all that they have tuned; empty before the
            first step.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    adaptation: tuple[Any, ...]


@dataclass(frozen=True)
class Hamiltonian:
    """Pyro's HMC or NUTS (Neal 2011; Hoffman & Gelman 2014), chain after chain.

        Hamiltonian(target, partial(NUTS, max_tree_depth=6), num_warmup=200)

    Pyro's kernel knows one chain and is a mutable object with random numbers out of the global
    state. Here every chain has a kernel of its own, which draws from the chain's own generator, and
    a step works on copies, so that states stay what they were. Chains take their steps one after
    the other: no time is won by running several.

    Pyro plans its windows of adaptation by the length of the warmup, ``num_warmup``. A warmup that
    ends earlier ends the adaptation; in one that lasts longer nothing is tuned any more.

    Info's ``diverging`` is Pyro's: energies that went up by more than 1,000 on the way, after
    warmup. Its acceptance rate is the mean over the states that the step looked at.

    Attributes:
        target: what to sample.
        make: Pyro's kernel of a ``potential_fn`` that is given by keyword.
        num_warmup: steps of warmup that will be asked for.
    """

    target: Target
    make: Callable[..., Any] = NUTS
    num_warmup: int = 100

    def init(self, position: Position, adaptation: tuple[Any, ...] = ()) -> HamiltonianState:
        """Evaluate the target once; the step size is sought in the first step."""
        return HamiltonianState(position, self.target.potential_energy(position), adaptation)

    def step(
        self, generators: Generators, state: HamiltonianState, is_warmup: bool = False
    ) -> tuple[HamiltonianState, Info]:
        """One trajectory of every chain."""
        kernels, places, infos = [], [], []
        for chain, generator in enumerate(generators):
            place = {site: value[chain].detach() for site, value in state.position.items()}
            with torch.random.fork_rng(devices=()):
                torch.set_rng_state(generator.get_state())
                kernel = self._kernel(state.adaptation, chain, place, of_chain(self.target, chain))
                if not is_warmup:
                    _end_adaptation(kernel)
                place, info = _step(kernel, place)
                generator.set_state(torch.get_rng_state())
            kernels.append(kernel)
            places.append(place)
            infos.append(info)
        position = {site: torch.stack([p[site] for p in places]) for site in state.position}
        energy, rate, step_size, diverging = torch.tensor(infos, dtype=torch.float64).unbind(1)
        moved = HamiltonianState(position, energy, tuple(kernels))
        return moved, Info(rate, energy, step_size, diverging.bool(), {})

    def _kernel(
        self, kernels: tuple[Any, ...], chain: int, place: dict[str, Tensor], target: Target
    ) -> Any:
        """A copy of a chain's kernel that stands at ``place``, or a new one."""
        if not kernels:
            kernel = self.make(potential_fn=_Potential(target))
            kernel.initial_params = {site: value.clone() for site, value in place.items()}
            kernel.setup(self.num_warmup)
            return kernel
        kernel = copy.deepcopy(kernels[chain])
        known = kernel._z_last
        if kernel.potential_fn.target is not target:  # inside of Gibbs: the other blocks moved
            kernel.potential_fn = _Potential(target)
            kernel.clear_cache()
        elif not all(torch.equal(known[site], value) for site, value in place.items()):
            kernel.clear_cache()  # the chain was put elsewhere
        return kernel


def _step(
    kernel: Any, place: dict[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[float, float, float, bool]]:
    """The new place; energy, acceptance rate, step size and whether it diverged."""
    step_size, mean, divergences = kernel.step_size, kernel._mean_accept_prob, kernel._divergences
    before = len(divergences)
    place = kernel.sample({site: value.clone() for site, value in place.items()})
    # Pyro reports running means, begun anew after warmup: undo the last update.
    time = kernel._t - (kernel._warmup_steps if kernel._t > kernel._warmup_steps else 0)
    rate = mean + time * (kernel._mean_accept_prob - mean)
    energy = float(kernel._potential_energy_last)
    rate = min(max(rate, 0.0), 1.0)
    return place, (energy, rate, float(step_size), len(kernel._divergences) > before)


def _end_adaptation(kernel: Any) -> None:
    """Keep the tuning from now on, however much of the warmup is left."""
    if kernel._t < kernel._warmup_steps:
        if kernel._t:
            kernel._adapter._end_adaptation()
        kernel._warmup_steps = kernel._t


class _Potential:
    """The target as Pyro's function of one chain; copies of a kernel share it."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def __call__(self, place: dict[str, Tensor]) -> Tensor:
        energy: Tensor = _Energy.apply(  # type: ignore[no-untyped-call]
            self.target, list(place), *place.values()
        )
        return energy

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Potential":
        return self


class _Energy(torch.autograd.Function):
    """Potential energy of one chain with the gradient that the target gives."""

    @staticmethod
    def forward(ctx: Any, target: Target, sites: list[str], *values: Tensor) -> Tensor:
        position = {site: value[None] for site, value in zip(sites, values, strict=True)}
        with torch.enable_grad():  # which a function of autograd switches off
            energy, gradient = target.potential_and_gradient(position)
        ctx.save_for_backward(*(gradient[site][0] for site in sites))
        return energy[0]

    @staticmethod
    def backward(ctx: Any, *outward: Tensor) -> Any:
        return None, None, *(outward[0] * slope for slope in ctx.saved_tensors)
