"""How fast the CUDA engine is: ``python benchmarks/render_cuda.py [table ...]``, with a GPU.

Implementations run alternately in one process, timed by CUDA events; a ratio is the median of the
ratios of the rounds. The first call builds gsplat's kernels if they are not built, which takes
minutes.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import fields

import torch
from render import Scene, pixel_aligned
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.errors import ConfigError
from bayes_splat.rendering import cuda_gsplat, disjoint_sets
from bayes_splat.rendering.cuda import CUDARenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians

ALPHA = RenderSettings(cutoff="alpha")
Step = Callable[[], object]


def on_gpu(scene: Scene) -> Scene:
    return tuple(part.to(torch.device("cuda")) for part in scene)  # type: ignore[return-value]


def compare(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every step by round, after three unmeasured rounds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 3):
        for name, step in steps.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            step()
            end.record()
            torch.cuda.synchronize()
            if turn >= 3:
                times[name].append(start.elapsed_time(end))
    return times


def show(times: dict[str, list[float]], base: str) -> None:
    for name, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, times[base], strict=True))
        print(f"  {name:44} {statistics.median(values):9.2f} ms   x{ratio:.2f}")


def our_step(renderer: CUDARenderer, scene: Scene) -> Step:
    """One gradient of the pictures through the renderer's interface."""
    gaussians, cameras = scene
    leaves = {
        f.name: getattr(gaussians, f.name).clone().requires_grad_() for f in fields(gaussians)
    }

    def step() -> object:
        colors = renderer.render(Gaussians(**leaves), cameras).colors
        return torch.autograd.grad(colors, list(leaves.values()), colors.detach())

    return step


def raw_step(scene: Scene) -> Step:
    """The same pictures and gradients by ``gsplat.rasterization``, fed in gsplat's conventions."""
    gsplat, (gaussians, cameras) = cuda_gsplat.load_kernels(), scene
    chains, views, (height, width) = len(gaussians.means), len(cameras), cameras.image_shape
    plain = cuda_gsplat.view_colors(gaussians, cameras)[:, 0]
    leaves: list[Tensor] = [
        t.detach().clone().requires_grad_()
        for t in (
            gaussians.means,
            gaussians.rotations,
            gaussians.scales,
            gaussians.opacities,
            plain,
        )
    ]
    to_camera = geometry.invert_rigid(cameras.extrinsics)
    placed = (
        to_camera.repeat(chains, 1, 1, 1),
        cameras.intrinsics.expand(chains, views, 3, 3).contiguous(),
    )

    def step() -> object:
        sums, _, _ = gsplat.rasterization(
            *leaves, *placed, width, height, packed=False, render_mode="RGB+ED"
        )
        colors = sums[..., :3]
        return torch.autograd.grad(colors, leaves, colors.detach())

    return step


def table_step() -> None:
    """Render and gradient against raw gsplat, 131,072 Gaussians, 256x256; 1.10 at most."""
    for chains in (1, 4, 16):
        scene = on_gpu(pixel_aligned(chains, 256, 256))
        print(f"{chains} chains")
        steps = {"raw gsplat": raw_step(scene), "ours": our_step(CUDARenderer(ALPHA), scene)}
        show(compare(steps, 20), "raw gsplat")


def table_statistics() -> None:
    """Opacity statistics against a gradient step, one chain; price of the falloff cutoff."""
    for size in (64, 256):
        scene = on_gpu(pixel_aligned(1, size, size, views=2))
        print(f"{size}x{size}, {len(scene[0])} Gaussians, two views")
        steps: dict[str, Step] = {"step, alpha (gsplat)": our_step(CUDARenderer(ALPHA), scene)}
        for settings in (ALPHA, RenderSettings()):
            renderer = CUDARenderer(settings)
            if settings.cutoff == "falloff":
                steps["step, falloff (pairs)"] = our_step(renderer, scene)
            steps[f"statistics, {settings.cutoff} (pairs)"] = statistics_of(renderer, scene)
        show(compare(steps, 10), "step, alpha (gsplat)")


def table_sets() -> None:
    """Opacity statistics by pictures of disjoint sets of gsplat against a pass over pairs."""
    scene = on_gpu(pixel_aligned(1, 64, 64))
    renderer = CUDARenderer(ALPHA)
    residuals, weights = residuals_for(*scene)

    def by_sets() -> object:
        arguments = renderer, ALPHA, *scene, residuals, weights
        return disjoint_sets.opacity_statistics(*arguments)

    show(compare({"pairs": statistics_of(renderer, scene), "sets": by_sets}, 3), "pairs")


def residuals_for(gaussians: Gaussians, cameras: Cameras) -> tuple[Tensor, Tensor]:
    weights = torch.ones(len(gaussians.means), len(cameras), *cameras.image_shape).to(
        gaussians.means
    )
    return weights[..., None].expand(*weights.shape, 3).contiguous(), weights


def statistics_of(renderer: CUDARenderer, scene: Scene) -> Step:
    residuals, weights = residuals_for(*scene)
    return lambda: renderer.opacity_statistics(*scene, residuals, weights)


TABLES = {"step": table_step, "statistics": table_statistics, "sets": table_sets}


if __name__ == "__main__":
    try:
        cuda_gsplat.load_kernels()
    except ConfigError as error:
        sys.exit(f"nothing to measure here: {error}")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for chosen in sys.argv[1:] or TABLES:
        print(f"\n{chosen}: {TABLES[chosen].__doc__}")
        TABLES[chosen]()
