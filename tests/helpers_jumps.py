"""Distributions to jump to, for random walks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bayes_splat.samplers.base import Generators, Position


@dataclass(frozen=True)
class NormalJump:
    """Independent draws of one scalar site; ``sign`` other than 1 gives a wrong density."""

    site: str
    mean: float
    scale: float
    sign: float = 1.0

    def sample(self, generators: Generators) -> Position:
        noise = torch.cat([torch.randn(1, generator=g, dtype=torch.float64) for g in generators])
        return {self.site: self.mean + self.scale * noise}

    def log_prob(self, position: Position) -> Tensor:
        log_prob = -0.5 * ((position[self.site] - self.mean) / self.scale) ** 2
        return self.sign * log_prob
