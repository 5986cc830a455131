"""Exact draws of what rules the scanlines: transition rows, and which layers of depth there are.

Given the buckets, rows of P are Dirichlet with the counts added. For the infinite form, beta is
drawn with P summed out, by the table counts of the Chinese restaurant franchise (Teh et al. 2006,
section 5.3, the direct assignment scheme; Fox et al. 2011, algorithm 3, for the sticky part):

    m_kl = sum over i < n_kl of Bernoulli(c_kl / (c_kl + i)),   c_kl = alpha beta_l + kappa K_kl,
    w_kl ~ Binomial(m_kl, alpha beta_l / c_kl)      tables that owe their dish to beta,
    beta ~ Dirichlet(gamma/Z + sum_k w_kl),

and then P given beta and the counts. Both are one joint draw given the buckets alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bayes_splat.models import blocks
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.log_simplex import LogStickBreaking, log_dirichlet
from bayes_splat.models.splat_model import SplatModel


@dataclass(frozen=True)
class TransitionGibbs:
    """Draws ``log_transition``, and ``log_layers`` where the model has it, given the buckets.

    Raises:
        ValueError: the model's prior of depth has no transitions.
    """

    model: SplatModel
    name: str = "transition"

    def __post_init__(self) -> None:
        if not self.model.is_markov:
            raise ValueError(
                f"{type(self).__name__} needs a Markov prior, but the model has"
                f" prior={self.model.config.prior!r}; use scanline_hmm or ihmm"
            )

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """One exact draw in every chain."""
        counts = self.counts(position)
        to, moved = LogStickBreaking(), dict(position)
        log_layers = None
        if "log_layers" in position:
            held = to(position["log_layers"])
            tables = draw_tables(counts, self.model.transitions.rows(held), generators)
            tables = owed_tables(tables, self.model.transitions.layer_share(held), generators)
            weights = self.model.transitions.layers() + tables.sum(1)
            log_layers = torch.stack(
                [log_dirichlet(row, g) for row, g in zip(weights, generators, strict=True)]
            )
            moved["log_layers"] = to.inv(log_layers)
        rows = self.model.transitions.rows(log_layers) + counts
        drawn = [log_dirichlet(row, g) for row, g in zip(rows, generators, strict=True)]
        moved["log_transition"] = to.inv(torch.stack(drawn))
        return moved, None, blocks.block_info(torch.ones(len(counts), dtype=torch.float64))

    def counts(self, position: Position) -> Float[Tensor, "chain bucket bucket"]:
        """How often one bucket follows another, over all lines of all context views."""
        depth = blocks.coordinates(self.model).depth(position["depth"])
        proposal = self.model.proposal
        return self.model.lines.transition_counts(proposal.bucket(depth), proposal.num_buckets)


def draw_tables(
    counts: Float[Tensor, "chain bucket bucket"],
    concentration: Float[Tensor, "*chain bucket bucket"],
    generators: Generators,
) -> Float[Tensor, "chain bucket bucket"]:
    """Tables at which ``counts`` customers sit in a Chinese restaurant (Antoniak 1974).

    The i-th customer, from 0, opens a table with probability c / (c + i). All chains must count the
    same number of customers.
    """
    chains, size = counts.shape[:2]
    total = int(counts[0].sum())
    flat = counts.reshape(chains, -1).long()
    pair = torch.arange(size * size).expand(chains, -1)
    pair = torch.stack([p.repeat_interleave(n) for p, n in zip(pair, flat, strict=True)])
    seated = torch.arange(total) - (flat.cumsum(1) - flat).gather(1, pair)
    c = concentration.expand(chains, size, size).reshape(chains, -1).gather(1, pair)
    opens = blocks.uniforms(generators, total) * (c + seated) < c
    tables = torch.zeros(chains, size * size, dtype=torch.float64)
    tables.scatter_add_(1, pair, opens.double())
    return tables.reshape(chains, size, size)


def owed_tables(
    tables: Float[Tensor, "chain bucket bucket"],
    share: Float[Tensor, "chain bucket bucket"],
    generators: Generators,
) -> Float[Tensor, "chain bucket bucket"]:
    """Of every pair's tables, a binomial number of this share."""
    drawn = [
        torch.binomial(count, probability.clamp(0.0, 1.0), generator=generator)
        for count, probability, generator in zip(tables, share, generators, strict=True)
    ]
    return torch.stack(drawn)


def starting_values(model: SplatModel, depth: Float[Tensor, "chain gaussian"]) -> dict[str, Tensor]:
    """Expected transitions given the buckets, for chains to start with; {} without a Markov prior.

    Layers start even.
    """
    if not model.is_markov:
        return {}
    size = model.proposal.num_buckets
    counts = model.lines.transition_counts(model.proposal.bucket(depth), size)
    rows = model.transitions.rows() + counts
    values = {"log_transition": torch.log(rows / rows.sum(-1, keepdim=True))}
    if model.config.prior == "ihmm":
        values["log_layers"] = torch.full((len(depth), size), -math.log(size), dtype=rows.dtype)
    return values


def readable(model: SplatModel, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Site values with probabilities for their logarithms, and with the number of layers.

    ``transition`` [chain bucket bucket] and, with ``prior=ihmm``, ``layers`` [chain bucket] and
    ``num_layers`` [chain]: how many buckets hold a Gaussian.
    """
    names = {"log_transition": "transition", "log_layers": "layers"}
    found = {
        names.get(name, name): value.exp() if name in names else value
        for name, value in values.items()
    }
    if "layers" in found:
        bucket = model.proposal.bucket(values["depth"])
        found["num_layers"] = num_layers(bucket, model.proposal.num_buckets)
    return found


def num_layers(bucket: Int[Tensor, "*chain gaussian"], num_buckets: int) -> Int[Tensor, "*chain"]:
    """How many buckets hold at least one Gaussian."""
    held = torch.zeros(*bucket.shape[:-1], num_buckets, dtype=torch.long)
    return held.scatter_(-1, bucket, torch.ones_like(bucket)).sum(-1)
