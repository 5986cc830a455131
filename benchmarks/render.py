"""How fast the CPU engine is: ``python benchmarks/render.py [table ...]``.

Implementations run alternately in one process. One thread is measured in CPU time, several in wall
time; a ratio is the median of the ratios of the rounds. Run it on a quiet machine.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from bayes_splat import geometry
from bayes_splat.rendering import cpu, cpu_engine
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering

ALPHA = RenderSettings(cutoff="alpha")
Scene = tuple[Gaussians, Cameras]
Draw = Callable[[Gaussians], Rendering]


def cameras(views: int, height: int, width: int) -> Cameras:
    """Side by side, looking ahead."""
    extrinsics = torch.eye(4).repeat(views, 1, 1)
    extrinsics[:, 0, 3] = 0.15 * torch.arange(views)
    rows = [[1.2 * width, 0, width / 2], [0, 1.2 * width, height / 2], [0, 0, 1]]
    ends = torch.ones(views), torch.full((views,), 4.0)
    return Cameras(extrinsics, torch.tensor(rows).repeat(views, 1, 1), *ends, (height, width))


def pixel_aligned(chains: int, height: int, width: int, views: int = 1) -> Scene:
    """One Gaussian a pixel of two context views, standard deviation 0.4 px (0.7 with low-pass)."""
    generator = torch.Generator().manual_seed(0)
    context = cameras(3, height, width)
    origins, directions = (t[::2].reshape(-1, 3) for t in geometry.camera_rays(context))
    size = len(origins)
    depth = 1.0 / (0.25 + 0.75 * torch.rand(chains, size, 1, generator=generator))
    gaussians = Gaussians(
        means=origins + depth * directions,
        scales=(0.4 / (1.2 * width) * depth).expand(-1, -1, 3).contiguous(),
        rotations=torch.tensor([1.0, 0, 0, 0]).repeat(chains, size, 1),
        opacities=0.1 + 0.8 * torch.rand(chains, size, generator=generator),
        harmonics=torch.randn(chains, size, 3, 1, generator=generator),
    )
    return gaussians, context[::2] if views == 2 else context[1:2]


def cloud(chains: int, size: int, height: int, width: int) -> Scene:
    """Gaussians of 1.5 to 6 pixels anywhere in the picture."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(chains, size, *shape, generator=generator)

    depth = 1.0 + 3.0 * rand(1)
    across = (rand(2) - 0.5) * torch.tensor([1.0, height / width]) / 1.2
    pixels = 1.5 * 4.0 ** rand(3)
    gaussians = Gaussians(
        means=torch.cat([across * depth, depth], dim=-1),
        scales=pixels * depth / (1.2 * width),
        rotations=torch.randn(chains, size, 4, generator=generator),
        opacities=0.05 + 0.9 * rand(),
        harmonics=torch.randn(chains, size, 3, 1, generator=generator),
    )
    return gaussians, cameras(1, height, width)


SCENES: dict[str, Callable[[], Scene]] = {
    "S1": lambda: pixel_aligned(1, 64, 64),
    "S2": lambda: pixel_aligned(1, 256, 256),
    "S3": lambda: cloud(1, 100_000, 512, 512),
}


def timed(draw: Draw, scene: Scene, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of one forward pass, and of forward and backward."""
    leaves = {f.name: getattr(scene[0], f.name).clone().requires_grad_() for f in fields(Gaussians)}
    start = clock()
    rendering = draw(Gaussians(**leaves))
    middle = clock()
    torch.autograd.grad(list(rendering), list(leaves.values()), [r.detach() for r in rendering])
    return middle - start, clock() - start


def compare(draws: dict[str, Draw], scene: Scene, rounds: int, threads: int = 1) -> dict[str, Any]:
    """Times of every implementation by round, after one unmeasured round."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in draws}
    for turn in range(rounds + 1):
        for name, draw in draws.items():
            seconds = timed(draw, scene, clock)
            if turn:
                times[name].append(seconds)
    return times


def median(values: Iterator[float]) -> float:
    return statistics.median(list(values))


def engine(scene: Scene, settings: RenderSettings = ALPHA, threads: int = 1) -> Draw:
    renderer = cpu.CPURenderer(settings, threads)
    return lambda gaussians: renderer.render(gaussians, scene[1])


def table_baselines() -> None:
    """Forward and forward + backward against plain PyTorch, one thread, through autograd."""
    import flat_pairs

    print("scene  implementation   F ms     FB ms    F ratio  FB ratio")
    for name, rounds in (("S1", 15), ("S2", 3)):
        scene = SCENES[name]()
        pairs = flat_pairs.list_pairs(*scene, ALPHA)
        reference = ReferenceRenderer(ALPHA)
        draws: dict[str, Draw] = {
            "engine": engine(scene),
            "flat pairs": lambda g, s=scene, p=pairs: flat_pairs.render(g, s[1], ALPHA, p),  # type: ignore[misc]
            "reference": lambda g, s=scene, r=reference: r.render(g, s[1]),  # type: ignore[misc]
        }
        times = compare(draws, scene, rounds)
        for other in draws:
            pair = list(zip(times[other], times["engine"], strict=True))
            columns = [1e3 * median(t[i] for t in times[other]) for i in (0, 1)]
            columns += [median(t[i] / e[i] for t, e in pair) for i in (0, 1)]
            print(f"{name:6} {other:14}", *(f"{c:8.2f}" for c in columns))


@contextmanager
def stages(record: dict[str, list[float]]) -> Iterator[None]:
    """Note the CPU time of every stage of the engine."""
    plain = cpu_engine.run_items

    def noted(kernel: Any, *arguments: Any) -> None:
        start = time.process_time()
        plain(kernel, *arguments)
        record.setdefault(kernel.__name__, []).append(time.process_time() - start)

    cpu_engine.run_items = noted
    try:
        yield
    finally:
        cpu_engine.run_items = plain


def table_stages() -> None:
    """Where the time goes, one thread, ms; backward over forward of the raster alone."""
    for name, rounds in (("S1", 40), ("S2", 8), ("S3", 4)):
        record: dict[str, list[float]] = {}
        scene = SCENES[name]()
        with stages(record):
            times = compare({"engine": engine(scene)}, scene, rounds)
        parts = {k: 1e3 * statistics.median(v) for k, v in record.items()}
        ratio = parts["draw_tiles_backward"] / parts["draw_tiles"]
        whole = [1e3 * median(t[i] for t in times["engine"]) for i in (0, 1)]
        print(f"{name}  F {whole[0]:.2f}  FB {whole[1]:.2f}  raster B/F {ratio:.2f} ", end="")
        print(*(f"{k} {v:.2f}" for k, v in parts.items()))


def table_chains() -> None:
    """Wall ms of forward + backward a chain, and the gain of a second thread."""
    for name, make in (
        ("S1", lambda c: pixel_aligned(c, 64, 64)),
        ("S2", lambda c: pixel_aligned(c, 256, 256)),
    ):
        for chains in (1, 4, 8, 16):
            scene = make(chains)
            draws = {str(n): engine(scene, threads=n) for n in (1, 2)}
            times = compare(draws, scene, 15 if name == "S1" else 3, threads=2)
            each = [1e3 / chains * median(t[1] for t in times[n]) for n in draws]
            gain = median(a[1] / b[1] for a, b in zip(times["1"], times["2"], strict=True))
            print(
                f"{name}  {chains:2} chains  1 thread {each[0]:.2f}  2 threads {each[1]:.2f}",
                end="",
            )
            print(f"  gain {gain:.2f}")


def table_use() -> None:
    """The sampler's own calls: four chains, two views, falloff cutoff, against the reference."""
    settings = RenderSettings()
    for height, width, rounds in ((48, 64, 10), (96, 128, 3)):
        scene = pixel_aligned(4, height, width, views=2)
        reference = ReferenceRenderer(settings)
        for threads in (1, 2):
            draws: dict[str, Draw] = {
                "engine": engine(scene, settings, threads),
                "reference": lambda g, s=scene, r=reference: r.render(g, s[1]),  # type: ignore[misc]
            }
            times = compare(draws, scene, rounds, threads)
            mine, theirs = (1e3 * median(t[1] for t in times[n]) for n in draws)
            print(
                f"{width}x{height}  {threads} threads  FB {mine:.2f} ms  reference {theirs:.0f} ms",
                end="",
            )
            print(f"  ratio {theirs / mine:.1f}")


def table_scaling() -> None:
    """Forward + backward against Gaussians, pixels and chains; slope of log time."""
    series: dict[str, list[tuple[int, Scene]]] = {
        "Gaussians (pixel-aligned)": [
            (2 * n * n, pixel_aligned(1, n, n)) for n in (64, 128, 256, 512, 704)
        ],
        "Gaussians (cloud, 512 px)": [
            (n, cloud(1, n, 512, 512)) for n in (12_500, 50_000, 200_000)
        ],
        "pixels (cloud of 100k)": [(n * n, cloud(1, 100_000, n, n)) for n in (128, 256, 512, 1024)],
        "chains (S1)": [(c, pixel_aligned(c, 64, 64)) for c in (1, 4, 16)],
    }
    for name, scenes in series.items():
        points = []
        for number, scene in scenes:
            times = compare({"engine": engine(scene)}, scene, 3)
            points.append((number, median(t[1] for t in times["engine"])))
        (n0, t0), (n1, t1) = points[0], points[-1]
        slope = math.log(t1 / t0) / math.log(n1 / n0)
        print(f"{name}: slope {slope:.2f} ", *(f"{n}: {1e3 * t:.1f} ms" for n, t in points))


def table_memory() -> None:
    """Growth of the process above what it had with the scene loaded, MiB."""
    for name in SCENES:
        program = f"import render, json; print(json.dumps(render.memory_of({name!r})))"
        print(name, json.loads(_python(program, {})))


def memory_of(name: str) -> dict[str, float]:
    """Highest resident size of one forward + backward over that before it (run in a process)."""
    small = pixel_aligned(1, 16, 16)
    timed(engine(small), small, time.perf_counter)
    scene = SCENES[name]()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # starts the highest resident size anew
    before = _status("VmRSS")
    timed(engine(scene), scene, time.perf_counter)
    return {"growth MiB": round(_status("VmHWM") - before, 1)}


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith(name))
    return int(line.split()[1]) / 1024


def table_compilation() -> None:
    """Seconds of the first forward + backward in a new process: nothing kept, then kept."""
    program = (
        "import render, time; s = render.pixel_aligned(1, 16, 16); t = time.perf_counter();"
        "render.timed(render.engine(s), s, time.perf_counter); print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "kept"):
            print(state, f"{float(_python(program, {'NUMBA_CACHE_DIR': folder})):.2f} s")


def _python(program: str, extra: dict[str, str]) -> str:
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.pathsep.join([here, os.path.dirname(here)])
    environment = {**os.environ, "PYTHONPATH": path, **extra}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout


TABLES = {
    "use": table_use,
    "baselines": table_baselines,
    "stages": table_stages,
    "chains": table_chains,
    "scaling": table_scaling,
    "memory": table_memory,
    "compilation": table_compilation,
}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or TABLES:
        print(f"\n{chosen}: {TABLES[chosen].__doc__}")
        TABLES[chosen]()
