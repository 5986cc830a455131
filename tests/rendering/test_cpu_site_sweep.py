from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bayes_splat.models.priors import MAX_OPACITY
from bayes_splat.rendering import cpu_site_sweep
from bayes_splat.rendering.cpu_site_sweep import SiteMoves
from tests import helpers_sites as sites
from tests.helpers_sites import Task

EVEN, LEANING = (1.0, 1.0), (2.0, 0.7)
SCENES = {
    "bucket order": {},
    "order of centres": {"order": "center"},
    "neighbours": {"strength": 20.0},
    "a line, wide base": {"image_shape": (1, 12), "baseline": 0.8},
    "both": {"image_shape": (3, 3), "strength": 3.0, "order": "center"},
}


def randoms(task: Task, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chains, size = task.depth.shape

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    return {
        "log_weights": rand(chains, 2, size),
        "is_visited": rand(chains, size) < 0.8,
        "is_backward": torch.arange(chains) % 2 == 1,
        "uniforms": rand(chains, 4, size),
    }


def sweep(task: Task, prior: tuple[float, float] = EVEN, threads: int = 1) -> SiteMoves:
    given = randoms(task)
    shared = sites.held(task, given["is_visited"]).shared()
    return cpu_site_sweep.sweep_sites(
        **shared, **given, upper=MAX_OPACITY, prior=prior, threads=threads
    )


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("prior", [EVEN, LEANING])
def test_sweeps_are_those_of_whole_pictures(name, prior):
    task = sites.task(**SCENES[name])
    found = sweep(task, prior)
    moved, opacities, ratios = sites.sweep_sites(task, **randoms(task), prior=prior)
    rates = ratios.clamp_max(0.0).exp()
    assert (found.acceptance - rates).abs().max() < 1e-5
    assert (rates < 0.99).sum() > 5, "ratios are seen"
    assert torch.equal(found.moved, moved)
    is_left = ~randoms(task)["is_visited"]
    assert torch.equal(found.opacities[is_left], task.opacity[is_left])
    assert (found.opacities - opacities).abs().max() < 1e-5
    assert moved.any()
    assert not moved.all()


@pytest.mark.parametrize("seed", range(3))
def test_sharp_photographs_and_steep_densities(seed):
    """Conditionals much narrower than the support, at its ends and beyond."""
    task = sites.task(seed=seed, noise=0.03, image_shape=(2, 3))
    found = sweep(task)
    moved, opacities, ratios = sites.sweep_sites(task, **randoms(task), prior=EVEN)
    assert torch.equal(found.moved, moved)
    assert (found.acceptance - ratios.clamp_max(0.0).exp()).abs().max() < 2e-3
    assert (found.opacities - opacities).abs().max() < 1e-4


def test_threads_and_other_chains_do_not_matter():
    task = sites.task(chains=3, image_shape=(6, 9), strength=10.0, dtype=torch.float32)
    one, two, three = (sweep(task, threads=n) for n in (1, 2, 3))
    for name, value in one._asdict().items():
        assert torch.equal(value, getattr(two, name)), name
        assert torch.equal(value, getattr(three, name)), name
    alone = task._replace(
        **{k: getattr(task, k)[1:2] for k in ("depth", "offered", "opacity", "noise")}
    )
    given = {name: value[1:2] for name, value in randoms(task).items()}
    shared = sites.held(alone, given["is_visited"]).shared()
    found = cpu_site_sweep.sweep_sites(**shared, **given, upper=MAX_OPACITY, prior=EVEN, threads=1)
    for name, value in found._asdict().items():
        assert torch.equal(value[0], getattr(one, name)[1]), name
    assert np.isfinite(one.acceptance.numpy()).all()


def test_what_opaque_layers_hid_is_right_once_it_is_seen():
    """Every pixel starts behind many opaque layers that a sweep thins out one by one."""
    task = sites.task(image_shape=(4, 4), noise=1.0)
    proposal = task.model.proposal
    wide = replace(proposal, footprints=8.0 * proposal.footprints)
    task = task._replace(
        model=replace(task.model, proposal=wide), opacity=torch.full_like(task.opacity, 0.998)
    )
    given = {**randoms(task), "is_visited": torch.ones_like(task.opacity, dtype=torch.bool)}
    found = cpu_site_sweep.sweep_sites(
        **task.shared(), **given, upper=MAX_OPACITY, prior=EVEN, threads=1
    )
    moved, opacities, ratios = sites.sweep_sites(task, **given, prior=EVEN)
    assert opacities.mean() < 0.8
    assert torch.equal(found.moved, moved)
    assert (found.acceptance - ratios.clamp_max(0.0).exp()).abs().max() < 1e-5
    assert (found.opacities - opacities).abs().max() < 1e-5
