"""Ladders of powers for tempering, tuned until neighbours swap equally often."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_FIRST_WINDOW = 20
_WINDOW_GROWTH = 2


class Ladder(NamedTuple):
    """Powers from 1 downwards, chain by chain, and the rejections of swaps seen at them.

    Between powers the expected rate of rejected swaps adds up to the communication barrier
    Lambda(beta), a function of the target alone for fine ladders (Syed et al. 2021, section 4).
    At the end of a window the inner powers move to where it is divided equally, by interpolation of
    what was seen, linear in log beta: near a Normal posterior the barrier grows like that. Windows
    then double.

    Attributes:
        powers: [chain, power]; the first and the last stay as they are.
        rejections: summed over the window, [chain, power - 1].
        num_seen: rounds of swaps in the window so far.
        window: rounds after which the powers move.
    """

    powers: Float[Tensor, "chain power"]
    rejections: Float[Tensor, "chain pair"]
    num_seen: int
    window: int

    @classmethod
    def start(cls, powers: tuple[float, ...], like: Float[Tensor, "chain ..."]) -> "Ladder":
        """The same powers in every chain; ``like`` gives number and device."""
        row = torch.tensor(powers, dtype=torch.float64, device=like.device)
        values = row.repeat(len(like), 1)
        return cls(values, torch.zeros_like(values[:, 1:]), 0, _FIRST_WINDOW)

    def update(self, rates: Float[Tensor, "chain pair"]) -> "Ladder":
        """Learn from the swap probabilities of one round."""
        seen, rejections = self.num_seen + 1, self.rejections + (1.0 - rates)
        if seen < self.window:
            return self._replace(rejections=rejections, num_seen=seen)
        # Half a rejection more a pair keeps the barrier rising where none was seen.
        barrier = ((rejections + 0.5) / (seen + 1)).cumsum(1)
        barrier = torch.cat([torch.zeros_like(barrier[:, :1]), barrier], dim=1)
        powers = _divided_equally(self.powers, barrier)
        return Ladder(powers, torch.zeros_like(rejections), 0, self.window * _WINDOW_GROWTH)


def _divided_equally(
    powers: Float[Tensor, "chain power"], barrier: Float[Tensor, "chain power"]
) -> Float[Tensor, "chain power"]:
    """Powers at which a barrier, known at the old ones, takes equally spaced values."""
    count = powers.shape[1]
    shares = torch.linspace(0.0, 1.0, count, dtype=powers.dtype, device=powers.device)
    aims = (barrier[:, -1:] * shares).contiguous()
    right = torch.searchsorted(barrier.contiguous(), aims).clamp(1, count - 1)
    left = right - 1
    low, high = barrier.gather(1, left), barrier.gather(1, right)
    above, below = powers.gather(1, left), powers.gather(1, right)
    share = (aims - low) / (high - low)
    # A geometric mean with zero would be zero.
    moved = torch.where(
        below > 0.0, above * (below / above) ** share, above + (below - above) * share
    )
    # The ends are given and stay, to the last bit.
    return torch.cat([powers[:, :1], moved[:, 1:-1], powers[:, -1:]], dim=1)
