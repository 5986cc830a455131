"""The Metropolis-Hastings acceptance probability, in one place."""

import torch
from jaxtyping import Float
from torch import Tensor


def acceptance_rate(
    energy: Float[Tensor, " chain"],
    candidate_energy: Float[Tensor, " chain"],
    log_proposal_ratio: Float[Tensor, " chain"] | float = 0.0,
) -> Float[Tensor, " chain"]:
    """min(1, exp(U(x) - U(x')) q(x | x') / q(x' | x)); 0 where U(x') or the ratio is no number.

    Args:
        energy: U(x), of the present state.
        candidate_energy: U(x').
        log_proposal_ratio: log q(x | x') - log q(x' | x); 0 for symmetric proposals.
    """
    log_ratio = energy - candidate_energy + log_proposal_ratio
    is_number = candidate_energy.isfinite() & ~log_ratio.isnan()
    return torch.where(is_number, log_ratio.clamp(max=0.0).exp(), torch.zeros_like(log_ratio))
