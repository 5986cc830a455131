from typing import Any

import pytest
import torch
from torch import Tensor

from bayes_splat.rendering import cpu_patch_sweep
from bayes_splat.rendering.cpu_patch_sweep import PatchMoves
from tests import helpers_sites as sites
from tests.helpers_sites import Task

SCENES: dict[str, tuple[dict[str, Any], int]] = {
    "bucket order": ({"image_shape": (4, 5)}, 2),
    "order of centres": ({"order": "center", "image_shape": (5, 4)}, 3),
    "neighbours": ({"strength": 5.0, "image_shape": (5, 5)}, 2),
    "single ones": ({"strength": 5.0}, 1),
    "whole pictures": ({"noise": 0.25}, 7),
}


def randoms(task: Task, size: int, seed: int = 3) -> dict[str, Tensor]:
    """All chains have different grids; few offered depths are impossible."""
    generator = torch.Generator().manual_seed(seed)
    (chains, number), shape = task.depth.shape, task.edges[3]
    rows, columns = cpu_patch_sweep.patch_grid(shape, size)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    return {
        "is_inside": rand(chains, number) < 0.98,
        "log_ratios": 0.1 * (rand(chains, number) - 0.5),
        "offsets": (size * rand(chains, 2)).long(),
        "uniforms": rand(chains, 2 * rows * columns),
    }


def sweep(task: Task, size: int, threads: int = 1) -> PatchMoves:
    return cpu_patch_sweep.sweep_patches(
        **task.shared(), **randoms(task, size), size=size, threads=threads
    )


@pytest.mark.parametrize("name", SCENES)
def test_sweeps_are_those_of_whole_pictures(name):
    scene, size = SCENES[name]
    options: dict[str, Any] = {"noise": 0.4, **scene}
    task = sites.task(**options)
    found = sweep(task, size)
    moved, rates = sites.sweep_patches(task, **randoms(task, size), size=size)
    assert torch.equal(found.moved, moved)
    assert (found.acceptance - rates).abs().max() < 1e-5
    assert ((rates > 0.01) & (rates < 0.9999)).all(), "ratios are seen"
    assert 0 < moved.sum() < moved.numel()


def test_patches_tile_the_pictures():
    """With nothing to explain every patch moves, whatever size and offset."""
    task = sites.task(chains=4, image_shape=(5, 7), noise=1e6, dtype=torch.float32)
    for size in (1, 2, 3, 8):
        given = randoms(task, size)
        given["is_inside"][:] = True
        given["log_ratios"][:] = 1.0
        found = cpu_patch_sweep.sweep_patches(**task.shared(), **given, size=size, threads=1)
        assert found.moved.all()
        assert (found.acceptance == 1).all()
        given["is_inside"][:, 3] = False
        some = cpu_patch_sweep.sweep_patches(**task.shared(), **given, size=size, threads=1)
        assert not some.moved[:, 3].any()
        assert ((~some.moved).sum(-1) <= size * size).all()
        assert (some.acceptance < 1).all()


def test_threads_and_other_chains_do_not_matter():
    task = sites.task(chains=3, image_shape=(6, 9), strength=1.0, noise=1.0, dtype=torch.float32)
    one, two, three = (sweep(task, 2, threads=n) for n in (1, 2, 3))
    for name, value in one._asdict().items():
        assert torch.equal(value, getattr(two, name)), name
        assert torch.equal(value, getattr(three, name)), name
    alone = task._replace(
        **{k: getattr(task, k)[1:2] for k in ("depth", "offered", "opacity", "noise")}
    )
    given = {name: value[1:2] for name, value in randoms(task, 2).items()}
    found = cpu_patch_sweep.sweep_patches(**alone.shared(), **given, size=2, threads=1)
    for name, value in found._asdict().items():
        assert torch.equal(value[0], getattr(one, name)[1]), name
    assert one.moved.any()
