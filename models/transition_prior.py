"""The prior of what rules the scanlines: transition rows, and which layers of depth there are.

    row k of P ~ Dirichlet(alpha beta + kappa K_k),   beta ~ Dirichlet(gamma/Z, ..., gamma/Z),

K being ``scanlines.nearness``. Under ``prior=scanline_hmm`` there are no layers: beta is 1/Z.
"""

from dataclasses import dataclass
from functools import cached_property

import pyro
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.models import scanlines
from bayes_splat.models.log_simplex import LogDirichlet
from bayes_splat.models.settings import ModelConfig


@dataclass(frozen=True)
class TransitionPrior:
    """Dirichlet parameters of the rows of P and of beta.

    Attributes:
        num_buckets: Z.
        concentration: alpha.
        stickiness: kappa.
        layer_concentration: gamma.
        has_layers: whether beta is a site of the model.
    """

    num_buckets: int
    concentration: float
    stickiness: float
    layer_concentration: float
    has_layers: bool

    @staticmethod
    def of(config: ModelConfig, num_buckets: int) -> "TransitionPrior":
        """That of a model's settings."""
        return TransitionPrior(
            num_buckets=num_buckets,
            concentration=config.transition_concentration,
            stickiness=config.transition_stickiness,
            layer_concentration=config.layer_concentration,
            has_layers=config.prior == "ihmm",
        )

    def rows(
        self, log_layers: Float[Tensor, "*chain bucket"] | None = None
    ) -> Float[Tensor, "*chain bucket bucket"]:
        """Parameters of the transition rows: alpha beta + kappa K.

        Args:
            log_layers: logarithm of beta; None: it is even.
        """
        return self._owed(log_layers) + self.nearness

    def layer_share(
        self, log_layers: Float[Tensor, "*chain bucket"]
    ) -> Float[Tensor, "*chain bucket bucket"]:
        """The part of ``rows`` that is alpha beta."""
        owed = self._owed(log_layers)
        return owed / (owed + self.nearness)

    def layers(self) -> Float[Tensor, " bucket"]:
        """Parameters of beta: gamma / Z each."""
        share = self.layer_concentration / self.num_buckets
        return torch.full((self.num_buckets,), share, dtype=torch.float64)

    @cached_property
    def nearness(self) -> Float[Tensor, "bucket bucket"]:
        """Kappa K: what favours near buckets, and is not owed to beta."""
        return self.stickiness * scanlines.nearness(self.num_buckets)

    def _owed(self, log_layers: Tensor | None) -> Tensor:
        size = self.num_buckets
        if log_layers is None:
            return torch.full((size, size), self.concentration / size, dtype=torch.float64)
        return (self.concentration * log_layers.exp())[..., None, :]

    def sample(self) -> Float[Tensor, "*chain bucket bucket"]:
        """Pyro's sites of it: ``log_layers`` where there are layers, and ``log_transition``."""
        log_layers = None
        if self.has_layers:
            log_layers = pyro.sample("log_layers", LogDirichlet(self.layers()))
            if log_layers.ndim > 1:  # the axis of plates, which this site does not stand in
                log_layers = log_layers.squeeze(-2)
        with pyro.plate("from_bucket", self.num_buckets, dim=-1):
            rows = LogDirichlet(self.rows(log_layers))
            log_transition: Tensor = pyro.sample("log_transition", rows)
        return log_transition
