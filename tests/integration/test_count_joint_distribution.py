"""An unknown number of Gaussians, on little splat scenes with the real renderer.

As ``test_joint_distribution``: sites from the prior, photographs from the likelihood, some steps;
nothing may change in distribution, the count included, and broken kernels must be caught.
"""

from functools import partial
from typing import Any

import pytest
import torch

from bayes_splat import inference
from bayes_splat.models import births, jumps, merge_map, slots
from bayes_splat.models.depth_moves import DepthMoves
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.models.opacity_gibbs import OpacityGibbs
from bayes_splat.models.patch_moves import PatchMoves
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.site_sweep import SiteSweep
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.sampler_config import GibbsConfig
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.gibbs import Gibbs
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

FAR_OFF = 2.0 * scenes.LIMIT
LINE: dict[str, Any] = {"image_shape": (1, 8), "baseline": 0.8, "renderer": "cpu"}
LEANING = {"opacity_prior": [2.0, 0.7], "noise": "per_view", "prior": "proposal"}
NEAR = {**LINE, "baseline": 0.2}
LOUD = {**NEAR, "noise_prior": [4.0, 1.0]}


def births_alone(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [ReversibleJump(model, "birth_death", 0.3)], energy="never")


def mergers(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [ReversibleJump(model, "merge_split", 0.5)], energy="never")


def inclusion(model: SplatModel, target: PyroTarget) -> Kernel:
    return Gibbs(target, [InclusionGibbs(model)], energy="never")


def default(model: SplatModel, target: PyroTarget) -> Kernel:
    sampler = GibbsConfig(patch_sizes=[1, 2], count_fraction=0.3)
    return inference.make_kernel(model, target, sampler)


def composed(model: SplatModel, target: PyroTarget) -> Kernel:
    """Moves of single depths and opacities beside the jumps."""
    sampler = GibbsConfig(
        sites=False,
        patch_sizes=[],
        step_size=0.4,
        mala_steps=2,
        jump_fraction=0.25,
        opacity_fraction=0.5,
        count_fraction=0.3,
    )
    return inference.make_kernel(model, target, sampler)


RIGHT: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "births": (births_alone, LINE, 8, 600),
    "births, other priors": (births_alone, {**LINE, **LEANING}, 8, 600),
    "births, reference pictures": (births_alone, {**LINE, "renderer": "reference"}, 4, 300),
    "merges": (mergers, NEAR, 12, 600),
    "merges, other priors": (mergers, {**NEAR, **LEANING}, 8, 500),
    "merges, order of centres": (mergers, {**NEAR, "order": "center"}, 6, 400),
    "inclusion": (inclusion, LINE, 1, 600),
    "the default": (default, LINE, 4, 300),
    "the default, other priors": (default, {**LINE, **LEANING}, 4, 300),
    "the default, sampled colours": (default, {**LINE, "colors": "sampled"}, 2, 150),
    "one after another": (composed, {**LINE, "renderer": "reference"}, 2, 200),
    "one after another, compiled": (composed, LINE, 2, 200),
}


POWERFUL: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "births, many buckets": (births_alone, {**LOUD, "num_buckets": 12}, 16, 800),
    "merges, loud": (mergers, LOUD, 16, 2000),
}
"""Where subtle faults show."""


def scores(name: str) -> dict[str, float]:
    make, scene, steps, chains = (RIGHT | POWERFUL)[name]
    model = scenes.tiny_model(count="variable", **scene)
    return scenes.joint_scores(model, make, steps=steps, chains=chains)


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    found = scores(name)
    assert max(map(abs, found.values())) < scenes.LIMIT, found


@pytest.mark.parametrize(
    "block",
    [
        SiteSweep,
        PatchMoves,
        partial(DepthMoves, fraction=0.5),
        partial(DepthMoves, candidates="walk", fraction=0.5),
        OpacityGibbs,
    ],
)
@pytest.mark.parametrize("renderer", ["cpu", "reference"])
def test_other_moves_leave_empty_slots_as_they_are(block, renderer):
    model = scenes.tiny_model(count="variable", image_shape=(2, 6), renderer=renderer)
    target = PyroTarget(model, vectorized=True)
    start = target.unconstrain(scenes.prior_draws(model, 20))
    after, _, _ = block(model).step(make_generators(0, 20), start, block(model).init(start), False)
    is_empty = start["present"] == 0
    assert is_empty.any()
    for name in ("depth", "opacity", "present"):
        assert torch.equal(after[name][is_empty], start[name][is_empty])
    moved = [(after[name] != start[name])[~is_empty].any() for name in ("depth", "opacity")]
    assert any(moved)


# ----- broken in one place each -----

right_birth = births.birth_log_ratio
right_scene = slots.scene_of


def even_jumps(proposal, depth):
    return torch.zeros_like(depth)


def birth_without_mass(scene, place, opacity, log_mass):
    """As if the opacity had been drawn from its prior."""
    return right_birth(scene, place, opacity, torch.zeros_like(log_mass))


def no_odds(model, position):
    return right_scene(model, position)._replace(log_odds=torch.zeros(1, 1).double())


def no_determinant(pairs, one, two):
    return torch.zeros_like(one.gap)


def old_placeholder(generators, model, position, outcome):
    """Empty slots keep what they held: what was likely, not what the prior says."""
    after = right_outcome(generators, model, position, outcome)
    is_emptied = outcome.is_changed & ~outcome.is_present
    kept = {k: torch.where(is_emptied, position[k], after[k]) for k in ("depth", "opacity")}
    return {**after, **kept}


right_outcome = slots.with_outcome


BROKEN = {
    "births: no reverse density": ("births, many buckets", jumps, "jump_log_prob", even_jumps),
    "births: no mass": ("births", births, "birth_log_ratio", birth_without_mass),
    "births: no odds": ("births", slots, "scene_of", no_odds),
    "births: old placeholder": ("births", slots, "with_outcome", old_placeholder),
    "merges: no determinant": ("merges, loud", merge_map, "split_log_det", no_determinant),
    "default: no mass": ("the default", births, "birth_log_ratio", birth_without_mass),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    case, *patch = BROKEN[name]
    monkeypatch.setattr(*patch)
    found = scores(case)
    assert max(map(abs, found.values())) > FAR_OFF, found
