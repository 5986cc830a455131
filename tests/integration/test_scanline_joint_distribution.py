"""Markov priors along scanlines on little splat scenes with the real renderer.

As ``test_joint_distribution``: sites from the prior, photographs from the likelihood; a right
kernel changes no distribution, and each broken one must be caught on the same scene.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bayes_splat import inference
from bayes_splat.models import depth_moves, forward_backward, transition_gibbs
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.forward_backward import NOTHING
from bayes_splat.models.scanline_moves import ScanlineMoves
from bayes_splat.models.scanlines import Lines, ScanlineDepth
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.transition_gibbs import TransitionGibbs
from bayes_splat.sampler_config import BlockMALAConfig, GibbsConfig
from bayes_splat.samplers.base import Block, Kernel
from bayes_splat.samplers.gibbs import Gibbs
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

FAR_OFF = 2.0 * scenes.LIMIT
"""Standard errors that a broken kernel must reach: no near thing."""

NOISY = {"noise_prior": [4.0, 0.2], "transition_stickiness": 1.0}
HMM = {"prior": "scanline_hmm", "image_shape": (1, 8), "baseline": 0.8, **NOISY}
IHMM = {**HMM, "prior": "ihmm", "layer_concentration": 2.0}
SPARSE = {**HMM, "transition_concentration": 0.5, "transition_stickiness": 0.0}
FIELD = {"prior": "scanline_hmm", "image_shape": (4, 2), **NOISY}
LINE = {"prior": "scanline_hmm", "image_shape": (1, 16), "baseline": 0.8}
LAYERS = {**IHMM, "transition_stickiness": 4.0}
MakeBlock = Callable[[SplatModel], Block]


class Case(NamedTuple):
    """Blocks on a scene."""

    makes: tuple[MakeBlock, ...]
    scene: dict[str, Any]
    steps: int
    chains: int = 600

    def scores(self) -> dict[str, float]:
        def make(model: SplatModel, target: PyroTarget) -> Kernel:
            return Gibbs(target, [make(model) for make in self.makes])

        model = scenes.tiny_model(**self.scene)
        return scenes.joint_scores(model, make, steps=self.steps, chains=self.chains)


def stretch(length: int, **settings: Any) -> MakeBlock:
    return lambda model: ScanlineMoves(model, length, name=f"scanline_{length}", **settings)


def jumps(model: SplatModel) -> Block:
    return DepthMoves(model, "proposal", fraction=0.3)


RIGHT = {
    "stretches": Case((stretch(3),), SPARSE, 8, 500),
    "stretches that touch others": Case((stretch(2),), LINE, 14),
    "stretches next to each other": Case((stretch(2, spacing=1),), LINE, 6),
    "compiled": Case((stretch(2, spacing=1),), {**LINE, "renderer": "cpu"}, 6),
    "single depths": Case((jumps,), HMM, 8, 400),
    "transitions": Case((TransitionGibbs,), FIELD, 2),
    "layers": Case((TransitionGibbs,), LAYERS, 3),
    "layers, hardly sticky": Case((TransitionGibbs,), IHMM, 3),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    scores = RIGHT[name].scores()
    assert max(map(abs, scores.values())) < scenes.LIMIT, scores


@pytest.mark.parametrize(
    ("sampler", "prior"),
    [
        (GibbsConfig(step_size=0.4, stretch_lengths=[2, 4]), "ihmm"),
        (BlockMALAConfig(block_size=8, moves=1), "scanline_hmm"),
    ],
)
def test_whole_samplers_keep_the_joint_distribution(sampler, prior):
    model = scenes.tiny_model(**{**IHMM, "prior": prior})
    scores = scenes.joint_scores(
        model, lambda m, t: inference.make_kernel(m, t, sampler), steps=3, chains=200
    )
    assert max(map(abs, scores.values())) < scenes.LIMIT, scores


# ----- kernels broken in one place each -----

right_stretches = forward_backward.sample_stretches
right_offer = ScanlineMoves._offer
right_counts = Lines.transition_counts
right_touched = depth_moves._touched_pixels


def no_right_end(weights, transition, before, after, uniform):
    return right_stretches(weights, transition, before, torch.full_like(after, NOTHING), uniform)


def transposed(weights, transition, before, after, uniform):
    return right_stretches(weights, transition.mT.contiguous(), before, after, uniform)


def phi_in_the_target(self, *args):
    """As if the emission were part of the prior: nothing left to correct."""
    offer = right_offer(self, *args)
    return offer._replace(log_ratio=torch.zeros_like(offer.log_ratio))


def old_touched(model, old, new, opacity, chosen):
    return right_touched(model, old, old, opacity, chosen)


def everybody_moves(touched, shape):
    return torch.ones(shape, dtype=torch.bool)


def of_one_view(self, bucket, num_buckets):
    lines = replace(self, order=self.order[: len(self.order) // self.num_views])
    return self.num_views * right_counts(lines, bucket, num_buckets)


def over_line_ends(self, bucket, num_buckets):
    return right_counts(replace(self, order=self.order.reshape(1, -1)), bucket, num_buckets)


right_single = ScanlineDepth.log_ratio_of_single


def without_successor(self, depth, candidate, chosen):
    blind = replace(self.lines, after=torch.full_like(self.lines.after, NOTHING))
    other = ScanlineDepth(self.proposal, blind, self.log_transition)
    return right_single(other, depth, candidate, chosen)


def every_customer(counts: Tensor, concentration: Tensor, generators: Any) -> Tensor:
    return counts


def all_owed(tables: Tensor, share: Tensor, generators: Any) -> Tensor:
    return tables


BROKEN: dict[str, tuple[Case, Any, str, Any]] = {
    "right end forgotten": (
        RIGHT["stretches"],
        forward_backward,
        "sample_stretches",
        no_right_end,
    ),
    "transition transposed": (RIGHT["stretches"], forward_backward, "sample_stretches", transposed),
    "phi in the target": (RIGHT["stretches"], ScanlineMoves, "_offer", phi_in_the_target),
    "old footprint": (
        RIGHT["stretches that touch others"],
        depth_moves,
        "_touched_pixels",
        old_touched,
    ),
    "all at once": (
        RIGHT["stretches next to each other"],
        depth_moves,
        "_without_shared_pixels",
        everybody_moves,
    ),
    "successor forgotten": (
        RIGHT["single depths"],
        ScanlineDepth,
        "log_ratio_of_single",
        without_successor,
    ),
    "counts of one view": (RIGHT["transitions"], Lines, "transition_counts", of_one_view),
    "counts over line ends": (RIGHT["transitions"], Lines, "transition_counts", over_line_ends),
    "customers for tables": (
        RIGHT["layers, hardly sticky"],
        transition_gibbs,
        "draw_tables",
        every_customer,
    ),
    "sticky tables kept": (RIGHT["layers"], transition_gibbs, "owed_tables", all_owed),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    case, *patch = BROKEN[name]
    monkeypatch.setattr(*patch)
    scores = case.scores()
    assert max(map(abs, scores.values())) > FAR_OFF, scores
