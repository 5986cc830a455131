"""Gradients from random parts of the data, with or without a control variate.

What SGLD and its plain baselines share: they move somewhere, look at a minibatch there, and never
reject. With g(x; B) the gradient that minibatch B gives at x, E_B g(x; B) = grad U(x), a control
variate around an anchor a estimates

    grad U(x)  by  g(x; B) - g(a; B) + grad U(a).

Its mean is grad U(x) wherever the anchor is, as long as B is drawn afresh, and its variance that of
g(x; B) - g(a; B), small near the anchor (Johnson & Zhang 2013; Baker et al. 2019, section 3). It
costs a second gradient on the minibatch a step, and one on all data whenever the anchor moves.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Batch, Generators, MinibatchTarget, Position


class Anchor(NamedTuple):
    """Where all data were looked at last.

    Attributes:
        position: unconstrained.
        potential_energy: U there.
        gradient: of U there.
        age: steps since then.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    gradient: Position
    age: int


class StochasticGradientState(NamedTuple):
    """Where the chains are.

    Attributes:
        position: unconstrained.
        potential_energy: at the position; estimated from one minibatch after the first step.
        gradient: at the position, estimated from the same minibatch.
        adaptation: the time of the schedule and the kernel's own tuning.
        anchor: of the control variate; None without one.
    """

    position: Position
    potential_energy: Float[Tensor, " chain"]
    gradient: Position
    adaptation: Any
    anchor: Anchor | None = None


def check_anchor_every(anchor_every: int | None) -> None:
    """Raises ValueError where the number of steps between anchors makes no sense."""
    if anchor_every is not None and anchor_every < 1:
        raise ValueError(f"anchor_every must be None or at least 1, got {anchor_every}")


def start(
    target: MinibatchTarget, position: Position, adaptation: Any, anchor_every: int | None
) -> StochasticGradientState:
    """Look at all data once; the first anchor, if there are any, is here.

    ``adaptation`` is taken as it is; None leaves it to the kernel.
    """
    energy, gradient = target.potential_and_gradient(position)
    anchor = None if anchor_every is None else Anchor(position, energy, gradient, 0)
    return StochasticGradientState(position, energy, gradient, adaptation, anchor)


def estimate(
    target: MinibatchTarget, position: Position, batch: Batch, anchor: Anchor | None = None
) -> tuple[Float[Tensor, " chain"], Position]:
    """Unbiased estimates of energy and gradient from one minibatch."""
    energy, gradient = target.potential_and_gradient(position, batch)
    if anchor is None:
        return energy, gradient
    there, slope = target.potential_and_gradient(anchor.position, batch)
    return energy - there + anchor.potential_energy, {
        site: value - slope[site] + anchor.gradient[site] for site, value in gradient.items()
    }


def arrive(
    target: MinibatchTarget,
    generators: Generators,
    state: StochasticGradientState,
    candidate: Position,
    anchor_every: int | None,
) -> tuple[StochasticGradientState, Bool[Tensor, " chain"]]:
    """Look around at ``candidate``; chains that see no finite energy and slope there stay.

    A new minibatch is drawn or, when the anchor is due to move here, all data are looked at. The
    anchor moves by the clock and before the minibatch is drawn, so that it does not depend on it.

    Returns:
        The state, with the adaptation as it was, and which chains have moved.
    """
    anchor = state.anchor
    is_due = anchor_every is not None and anchor is not None and anchor.age + 1 >= anchor_every
    if is_due:
        energy, gradient = target.potential_and_gradient(candidate)
    else:
        if not isinstance(target, MinibatchTarget):
            raise ValueError(
                f"stochastic gradients need a target with minibatches, and {type(target).__name__}"
                " has none; wrap it as Minibatches(target, draw)"
            )
        batch = target.draw_batch(generators)
        energy, gradient = estimate(target, candidate, batch, anchor)
    is_moved = energy.isfinite() & positions.is_finite(gradient)
    moved = state._replace(
        position=positions.select(is_moved, candidate, state.position),
        potential_energy=torch.where(is_moved, energy, state.potential_energy),
        gradient=positions.select(is_moved, gradient, state.gradient),
    )
    if anchor is not None:
        anchor = anchor._replace(age=anchor.age + 1)
        if is_due:
            # Chains that stay keep the anchor that they have: they know nothing exact of a new one.
            anchor = Anchor(
                positions.select(is_moved, candidate, anchor.position),
                torch.where(is_moved, energy, anchor.potential_energy),
                positions.select(is_moved, gradient, anchor.gradient),
                0,
            )
    return moved._replace(anchor=anchor), is_moved
