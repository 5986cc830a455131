"""One Euler-Maruyama step of the overdamped Langevin diffusion, and its density.

With potential U, step size eps and a diagonal preconditioner M^-1,

    x' = x - eps M^-1 grad U(x) + sqrt(2 eps M^-1) xi,    xi ~ Normal(0, I),

so that x' given x is Normal(x - eps M^-1 grad U(x), 2 eps M^-1). SGLD uses the step raw, MALA
accepts or rejects it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Generators, Position


def step(
    generators: Generators,
    position: Position,
    gradient: Position,
    step_size: Float[Tensor, " chain"],
    preconditioner: Position | None = None,
) -> Position:
    """Move every chain by one step.

    Args:
        generators: one stream a chain.
        position: where the chains are.
        gradient: of the potential energy there.
        step_size: eps.
        preconditioner: diagonal of M^-1 a site, broadcast against the site; None: ones.
    """
    moved = positions.randn_like(generators, position)
    for site, value in position.items():
        scale = _half_variance(site, value, step_size, preconditioner)
        for part in positions.parts(value):
            jump, near = moved[site][part], scale[part]
            jump.mul_((2.0 * near).sqrt()).add_(value[part])
            jump.addcmul_(near, gradient[site][part], value=-1.0)
    return moved


def log_density(
    candidate: Position,
    position: Position,
    gradient: Position,
    step_size: Float[Tensor, " chain"],
    preconditioner: Position | None = None,
) -> Float[Tensor, " chain"]:
    """Log density of the step that leads from ``position`` to ``candidate``, float64."""
    terms = log_density_terms(candidate, position, gradient, step_size, preconditioner)
    return positions.total(list(terms.values()))


def log_density_terms(
    candidate: Position,
    position: Position,
    gradient: Position,
    step_size: Float[Tensor, " chain"],
    preconditioner: Position | None = None,
) -> Position:
    """The same coordinate by coordinate: the noise of different coordinates is independent."""
    terms = {}
    for site, value in position.items():
        scale = _half_variance(site, value, step_size, preconditioner)
        scale = torch.broadcast_to(scale, value.shape)
        residual = candidate[site] - value + scale * gradient[site]
        terms[site] = -residual.square() / (4.0 * scale) - 0.5 * (4.0 * math.pi * scale).log()
    return terms


def log_ratio(
    candidate: Position,
    position: Position,
    gradient: Position,
    candidate_gradient: Position,
    step_size: Float[Tensor, " chain"],
    preconditioner: Position | None = None,
) -> Float[Tensor, " chain"]:
    """Log density of the step back over that of the step there: log q(x | x') - log q(x' | x).

    With g, g' the gradients at x, x' it is sum (g + g') ((x' - x)/2 - eps M^-1 (g' - g)/4): the
    normalising constants and the squares of x' - x have dropped out.
    """
    sums = []
    for site, value in position.items():
        scale = _half_variance(site, value, step_size, preconditioner)
        found = []
        for part in positions.parts(value):
            here, there = gradient[site][part], candidate_gradient[site][part]
            middle = (candidate[site][part] - value[part]).mul_(0.5)
            middle.addcmul_(scale[part], there - here, value=-0.25)
            found.append(positions.per_chain_sum(middle.mul_(here + there)))
        sums.append(torch.cat(found))
    return torch.stack(sums).sum(0)


def _half_variance(
    site: str,
    value: Tensor,
    step_size: Float[Tensor, " chain"],
    preconditioner: Position | None,
) -> Tensor:
    """eps M^-1, which broadcasts against the site: half the variance of the step."""
    scale = positions.per_chain(step_size, value)
    return scale if preconditioner is None else scale * preconditioner[site]
