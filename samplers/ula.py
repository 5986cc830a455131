"""ULA: the unadjusted Langevin algorithm (Roberts & Tweedie 1996), biased by its step size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.samplers import langevin, metropolis, positions
from bayes_splat.samplers.base import Generators, Info
from bayes_splat.samplers.mala import MALA, MALAState


@dataclass(frozen=True)
class ULA(MALA):
    """A Langevin step that is always taken: x' = x - eps M^-1 grad U(x) + sqrt(2 eps M^-1) xi.

    **Biased.** It does not leave exp(-U) invariant, but a density that differs from it by order
    eps, however long it runs. Of a Normal with covariance C it samples the Normal with covariance

        (C^-1 - eps/2 C^-1 M^-1 C^-1)^-1

    (``normal_covariance``), which is wider, most along the narrowest axis, and exists only for
    eps below 2 over the largest eigenvalue of M^-1 C^-1. Use MALA for answers; ULA is here to show
    what the correction is worth.

    How large the bias is can be read off the probability with which MALA would have accepted the
    same step: it costs nothing, is reported as block ``metropolis``, and tends to 1 as the bias
    tends to 0. Warmup tunes the step size of every chain to a mean of ``target_acceptance_rate`` of
    it, and the preconditioner as MALA does; both are frozen afterwards.

    A step to where energy or gradient is not finite is not taken, and is flagged as diverging; the
    acceptance rate of such a step is 0, otherwise 1.

    The settings, the state and what warmup tunes are MALA's; the aim ``target_acceptance_rate`` is
    that of the test that is *not* made.
    """

    def step(
        self, generators: Generators, state: MALAState, is_warmup: bool = False
    ) -> tuple[MALAState, Info]:
        """One step of every chain."""
        step_size = state.adaptation.step_size.step_size(is_warmup)
        diagonal = state.adaptation.diagonal
        inverse_mass = self.preconditioner if diagonal is None else diagonal.preconditioner
        candidate = langevin.step(
            generators, state.position, state.gradient, step_size, inverse_mass
        )
        energy, gradient = self.target.potential_and_gradient(candidate)
        is_moved = energy.isfinite() & positions.is_finite(gradient)
        gradient = positions.finite_or_zero(gradient)
        log_ratio = langevin.log_ratio(
            candidate, state.position, state.gradient, gradient, step_size, inverse_mass
        )
        rate = metropolis.acceptance_rate(state.potential_energy, energy, log_ratio)
        moved = MALAState(
            positions.select(is_moved, candidate, state.position),
            torch.where(is_moved, energy, state.potential_energy),
            positions.select(is_moved, gradient, state.gradient),
            state.adaptation,
        )
        if is_warmup:
            moved = moved._replace(adaptation=self._adapt(moved, rate))
        return moved, Info(
            is_moved.to(energy.dtype),
            moved.potential_energy,
            step_size,
            ~is_moved,
            {"metropolis": rate},
        )


def normal_covariance(
    covariance: Float[Tensor, "coordinate coordinate"],
    step_size: float,
    preconditioner: Float[Tensor, " coordinate"] | None = None,
) -> Float[Tensor, "coordinate coordinate"]:
    """What ULA samples in place of a Normal's covariance: (C^-1 - eps/2 C^-1 M^-1 C^-1)^-1.

    It solves S = A S A^T + 2 eps M^-1 with A = I - eps M^-1 C^-1.

    Args:
        covariance: C, of the target.
        step_size: eps.
        preconditioner: diagonal of M^-1; None: ones.

    Raises:
        ValueError: the step is so long that the chain runs away.
    """
    precision = torch.linalg.inv(covariance)
    scale = torch.ones_like(precision[0]) if preconditioner is None else preconditioner
    root = scale.sqrt()
    largest = torch.linalg.eigvalsh(root[:, None] * precision * root).max().item()
    if step_size * largest >= 2.0:
        raise ValueError(
            f"step_size {step_size} makes the chain run away; it must be below {2.0 / largest:.3g}"
        )
    wider: Tensor = torch.linalg.inv(precision - 0.5 * step_size * (precision * scale) @ precision)
    return wider
