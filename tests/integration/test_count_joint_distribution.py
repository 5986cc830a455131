"""An unknown number of Gaussians, on little splat scenes with the real renderer.

As ``test_joint_distribution``: sites from the prior, photographs from the likelihood, some steps;
nothing may change in distribution, the count included, and broken kernels must be caught.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat import inference
from bayes_splat.models import jumps, merges, reversible_jump
from bayes_splat.models.inclusion_gibbs import InclusionGibbs
from bayes_splat.models.reversible_jump import ReversibleJump
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.sampler_config import GibbsConfig
from bayes_splat.samplers.base import Kernel
from bayes_splat.samplers.gibbs import Gibbs
from bayes_splat.samplers.potential import PyroTarget
from tests import helpers_scenes as scenes

FAR_OFF = 2.0 * scenes.LIMIT
LINE: dict[str, Any] = {"image_shape": (1, 8), "baseline": 0.8, "renderer": "cpu"}
LEANING = {"opacity_prior": [2.0, 0.7], "noise": "per_view", "prior": "proposal"}
NEAR = {**LINE, "baseline": 0.2}


def births(model: SplatModel, target: PyroTarget) -> Kernel:
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
    "births": (births, LINE, 8, 600),
    "births, other priors": (births, {**LINE, **LEANING}, 8, 600),
    "births, reference pictures": (births, {**LINE, "renderer": "reference"}, 4, 300),
    "merges": (mergers, NEAR, 12, 800),
    "merges, other priors": (mergers, {**NEAR, **LEANING}, 12, 800),
    "merges, order of centres": (mergers, {**NEAR, "order": "center"}, 6, 400),
    "inclusion": (inclusion, LINE, 1, 600),
    "the default": (default, LINE, 4, 300),
    "the default, other priors": (default, {**LINE, **LEANING}, 4, 300),
    "one after another": (composed, {**LINE, "renderer": "reference"}, 3, 300),
    "one after another, compiled": (composed, LINE, 3, 300),
}


def scores(name: str) -> dict[str, float]:
    make, scene, steps, chains = RIGHT[name]
    model = scenes.tiny_model(count="variable", **scene)
    return scenes.joint_scores(model, make, steps=steps, chains=chains)


@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_keep_the_joint_distribution(name):
    found = scores(name)
    assert max(map(abs, found.values())) < scenes.LIMIT, found


# ----- broken in one place each -----

right_birth, right_split = reversible_jump.birth_log_ratio, reversible_jump.split_log_ratio
right_scene, right_partners = reversible_jump._scene_of, merges.partners


def even_jumps(proposal, depth):
    return torch.zeros_like(depth)


def birth_without_mass(scene, place, opacity, log_mass):
    """As if the opacity had been drawn from its prior."""
    return right_birth(scene, place, opacity, torch.zeros_like(log_mass))


def no_odds(model, position):
    return right_scene(model, position)._replace(log_odds=torch.zeros(1, 1).double())


def no_determinant(pairs, one, two):
    return torch.zeros_like(one.gap)


def split_without_gap(scene, pairs, one, two, ends, *, gap_scale):
    """The auxiliary number's density forgotten."""
    density = -0.5 * (one.gap / gap_scale).square() - torch.log(
        gap_scale * math.sqrt(2.0 * math.pi)
    )
    return right_split(scene, pairs, one, two, ends, gap_scale=gap_scale) + density


def old_placeholder(generators, model, position, outcome):
    """Empty slots keep what they held: what was likely, not what the prior says."""
    after = right_outcome(generators, model, position, outcome)
    is_emptied = outcome.is_changed & ~outcome.is_present
    kept = {k: torch.where(is_emptied, position[k], after[k]) for k in ("depth", "opacity")}
    return {**after, **kept}


right_outcome = reversible_jump._with_outcome


def everybody_is_first(slots: Tensor, is_real: Tensor, num_slots: int) -> Tensor:
    return is_real


BROKEN = {
    "births: no reverse density": ("births", jumps, "jump_log_prob", even_jumps),
    "births: no mass": ("births", reversible_jump, "birth_log_ratio", birth_without_mass),
    "births: no odds": ("births", reversible_jump, "_scene_of", no_odds),
    "births: old placeholder": ("births", reversible_jump, "_with_outcome", old_placeholder),
    "merges: no determinant": ("merges", merges, "split_log_det", no_determinant),
    "merges: no gap": ("merges", reversible_jump, "split_log_ratio", split_without_gap),
    "merges: no odds": ("merges", reversible_jump, "_scene_of", no_odds),
    "default: no determinant": ("the default", merges, "split_log_det", no_determinant),
    "default: no mass": ("the default", reversible_jump, "birth_log_ratio", birth_without_mass),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_kernels_are_caught(name, monkeypatch):
    case, *patch = BROKEN[name]
    monkeypatch.setattr(*patch)
    found = scores(case)
    print(name, max(map(abs, found.values())))
    assert max(map(abs, found.values())) > FAR_OFF, found
