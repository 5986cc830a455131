"""What an exact sweep over all opacities costs: ``python benchmarks/opacity_sweep.py``.

Two context views of 128x128 with a Gaussian a pixel (32,768), one chain, one thread, CPU time. The
sweep and a render with gradient (forward and backward of both views, CPU engine) run alternately in
one process; the ratio is the median of the ratios of the rounds. Bar: at most 3 renders.

"turned" is the same with a second camera that is turned about its vertical axis, so many radians:
then the depths of the two views do not rise together, and the sweep has to walk in lists.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import render
import torch

from bayes_splat.rendering import cpu_opacity_sweep, cpu_pixel_lists
from bayes_splat.rendering.settings import RenderSettings

ROUNDS = 15


def make_sweep(scene: render.Scene, fraction: float) -> Callable[[], Any]:
    """A sweep over a share of the scene's opacities."""
    (gaussians, cameras), (height, width) = scene, scene[1].image_shape
    chains, size = gaussians.opacities.shape
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    given: dict[str, Any] = {
        "opacities": gaussians.opacities.double(),
        "sort_depths": None,
        "observed": rand(chains, len(cameras) * height * width, 3),
        "precisions": torch.full((chains, len(cameras)), 400.0, dtype=torch.float64),
        "visited": rand(chains, size) < fraction,
        "uniforms": rand(chains, 2, size),
        "upper": 0.999,
        "prior": (1.0, 1.0),
        "threads": 1,
    }
    settings = RenderSettings()
    return lambda: cpu_opacity_sweep.sweep_opacities(gaussians, cameras, settings, **given)


@contextmanager
def stages(record: dict[str, list[float]]) -> Iterator[None]:
    """Note the CPU time of every kernel of the sweep."""
    plain = cpu_opacity_sweep.run_items

    def noted(kernel: Any, *arguments: Any) -> None:
        start = time.process_time()
        plain(kernel, *arguments)
        record.setdefault(kernel.__name__, []).append(time.process_time() - start)

    cpu_opacity_sweep.run_items = cpu_pixel_lists.run_items = noted
    try:
        yield
    finally:
        cpu_opacity_sweep.run_items = cpu_pixel_lists.run_items = plain


def turned(scene: render.Scene, angle: float) -> render.Scene:
    """The scene with the second camera turned."""
    gaussians, cameras = scene
    extrinsics = cameras.extrinsics.clone()
    c, s = math.cos(angle), math.sin(angle)
    extrinsics[1, :3, :3] = torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return gaussians, replace(cameras, extrinsics=extrinsics)


def main() -> None:
    torch.set_num_threads(1)
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    plain = render.pixel_aligned(1, size, size, views=2)
    print("turned  fraction  render ms  sweep ms  ratio")
    for angle, fraction in ((0.0, 1.0), (0.0, 0.5), (0.05, 1.0), (0.3, 1.0)):
        scene = turned(plain, angle)
        draw = render.engine(scene, RenderSettings())
        sweep = make_sweep(scene, fraction)
        renders, sweeps, record = [], [], {}
        with stages(record):
            for _ in range(ROUNDS + 1):
                renders.append(render.timed(draw, scene, time.process_time)[1])
                start = time.process_time()
                sweep()
                sweeps.append(time.process_time() - start)
        ratio = statistics.median(b / a for a, b in zip(renders[1:], sweeps[1:], strict=True))
        middle = [1e3 * statistics.median(times[1:]) for times in (renders, sweeps)]
        print(f"{angle:6.2f}  {fraction:8.2f}  {middle[0]:9.1f}  {middle[1]:8.1f}", end="")
        print(f"  {ratio:5.2f}  ", end="")
        print(*(f"{k} {1e3 * statistics.median(v):.1f}" for k, v in record.items()))


if __name__ == "__main__":
    main()
