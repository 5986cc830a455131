"""Reversible jumps between scenes with different numbers of Gaussians (Green 1995).

Two kinds of moves, each with its exact reverse: births and deaths (``births``), and merges and
splits (``merges``; compare Richardson & Green 1997). ``slots`` tells what the number of Gaussians
is here, and why no other block need know of it.
"""

from dataclasses import dataclass

import torch

from bayes_splat.models import births, blocks, inclusion_gibbs, merges, slots
from bayes_splat.models.blocks import BlockInfo, Generators, Position
from bayes_splat.models.splat_model import SplatModel

MOVES = ("birth_death", "merge_split")


@dataclass(frozen=True)
class ReversibleJump:
    """Fills and empties slots, judged on the pixels they touch.

    Attributes:
        model: with an unknown number of Gaussians.
        moves: ``birth_death`` of single Gaussians, or ``merge_split`` of two that two views have of
            one surface.
        fraction: share of the slots that are offered a move in one round; of those whose pixels
            meet only one moves.
        rounds: how often in one step.
        name: of the block; "" stands for the kind of moves.

    Raises:
        ValueError: a number is out of range, there are no such moves, the number of Gaussians is
            fixed, or the model renders with another cutoff than that of the falloff; for merges,
            there is one view only, or not one Gaussian a pixel.
    """

    model: SplatModel
    moves: str = "birth_death"
    fraction: float = 0.1
    rounds: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        blocks.falloff_settings(self.model, type(self).__name__)
        inclusion_gibbs.refuse_fixed(self.model, type(self).__name__)
        if self.moves not in MOVES:
            raise ValueError(f"moves is {self.moves!r}; choose one of {', '.join(MOVES)}")
        if not 0.0 < self.fraction <= 1.0 or self.rounds < 1:
            raise ValueError(
                "fraction must be above 0 and at most 1, and rounds at least 1;"
                f" got {self.fraction} and {self.rounds}"
            )
        proposal = self.model.proposal
        height, width = proposal.cameras.image_shape
        views = len(proposal.cameras)
        is_pixelwise = len(proposal) == views * height * width
        if self.moves == "merge_split" and (views < 2 or not is_pixelwise):
            raise ValueError(
                "moves='merge_split' needs two views or more and one Gaussian a pixel, got"
                f" {views} of {height} x {width} and {len(proposal)}; use moves='birth_death'"
            )
        object.__setattr__(self, "name", self.name or self.moves)

    def init(self, position: Position) -> None:
        """Nothing to tune."""

    @torch.no_grad()
    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        """Offer moves to random sets of slots in every chain, set after set."""
        make = births.births_and_deaths if self.moves == "birth_death" else merges.merges_and_splits
        rates = []
        for _ in range(self.rounds):
            scene = slots.scene_of(self.model, position)
            size = scene.depth.shape[1]
            chosen = blocks.permutations(generators, size)[:, : max(1, round(self.fraction * size))]
            outcome = make(generators, scene, chosen)
            position = slots.with_outcome(generators, self.model, position, outcome)
            rates.append(outcome.rate)
        return position, None, blocks.block_info(torch.stack(rates).mean(0))
