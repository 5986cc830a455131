"""How fast the CPU engine is: ``python benchmarks/render.py [table ...]``, all tables by default.

Implementations run alternately in one process. One thread is measured in CPU time, several in wall
time; a ratio is the median of the ratios of the rounds. Run it on a quiet machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any

# Idle threads of PyTorch would otherwise spin on the core that the engine's threads need.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from render_scenes import SCENES, Scene, cloud, pixel_aligned
from torch import Tensor

from bayes_splat.rendering import cpu, cpu_engine
from bayes_splat.rendering.renderer import ReferenceRenderer
from bayes_splat.rendering.settings import RenderSettings
from bayes_splat.types import Cameras, Gaussians, Rendering

ALPHA = RenderSettings(cutoff="alpha")
Draw = Callable[[Gaussians], Rendering]


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
    """Forward and forward + backward against plain PyTorch, one thread, through autograd.

    "flat pairs" is given its list of pairs for free; "listed flat pairs" makes it in every call, as
    whoever moves a Gaussian must.
    """
    import flat_pairs

    def listed(gaussians: Gaussians, scene: Scene) -> Rendering:
        with torch.no_grad():
            pairs = flat_pairs.list_pairs(gaussians, scene[1], ALPHA)
        return flat_pairs.render(gaussians, scene[1], ALPHA, pairs)

    print("scene  implementation       F ms     FB ms    F ratio  FB ratio")
    for name, rounds in (("S1", 15), ("S2", 3)):
        scene = SCENES[name]()
        pairs = flat_pairs.list_pairs(*scene, ALPHA)
        reference = ReferenceRenderer(ALPHA)
        draws: dict[str, Draw] = {
            "engine": engine(scene),
            "flat pairs": lambda g, s=scene, p=pairs: flat_pairs.render(g, s[1], ALPHA, p),  # type: ignore[misc]
            "listed flat pairs": lambda g, s=scene: listed(g, s),  # type: ignore[misc]
            "reference": lambda g, s=scene, r=reference: r.render(g, s[1]),  # type: ignore[misc]
        }
        times = compare(draws, scene, rounds)
        for other in draws:
            pair = list(zip(times[other], times["engine"], strict=True))
            columns = [1e3 * median(t[i] for t in times[other]) for i in (0, 1)]
            columns += [median(t[i] / e[i] for t, e in pair) for i in (0, 1)]
            print(f"{name:6} {other:18}", *(f"{c:8.2f}" for c in columns))


PHASES = {
    "forward_pass": ("project", "place", "list", "sort", "paint", "raster"),
    "backward_pass": ("raster backward", "paint backward", "project backward"),
    "statistics_pass": ("statistics", "sum"),
}


@contextmanager
def stages(record: dict[str, list[float]]) -> Iterator[None]:
    """Run every phase of the engine's passes by itself, and note its CPU time."""
    plain = cpu_engine.run_pass

    def noted(kernel: Any, items: Any, *arguments: Any) -> None:
        for number, name in enumerate(PHASES[kernel.__name__]):
            if items[number]:
                alone = [n if i == number else 0 for i, n in enumerate(items)]
                start = time.process_time()
                plain(kernel, alone, *arguments)
                record.setdefault(name, []).append(time.process_time() - start)

    cpu_engine.run_pass = noted
    try:
        yield
    finally:
        cpu_engine.run_pass = plain


def table_stages() -> None:
    """Where the time goes, one thread, ms; what is left over is Python and PyTorch."""
    for name, rounds in (("S1", 40), ("S2", 8), ("S3", 4)):
        record: dict[str, list[float]] = {}
        scene = SCENES[name]()
        times = compare({"engine": engine(scene)}, scene, rounds)
        with stages(record):
            compare({"engine": engine(scene)}, scene, rounds)
            _measure(scene, RenderSettings(cutoff="alpha"), rounds)
        # A phase that finds too little room returns at once and is run again: keep the longer one.
        parts = {k: 1e3 * statistics.median(sorted(v)[len(v) // 3 :]) for k, v in record.items()}
        whole = [1e3 * median(t[i] for t in times["engine"]) for i in (0, 1)]
        print(f"{name}  F {whole[0]:.2f}  FB {whole[1]:.2f} ", end="")
        print(*(f"{k} {v:.2f}" for k, v in parts.items()), sep=", ")
        print(
            f"    raster backward / raster {parts['raster backward'] / parts['raster']:.2f}", end=""
        )
        print(
            f", statistics / raster backward {parts['statistics'] / parts['raster backward']:.2f}"
        )


def _measure(scene: Scene, settings: RenderSettings, rounds: int) -> None:
    gaussians, seen = scene
    shape = (gaussians.opacities.shape[0], len(seen), *seen.image_shape)
    residuals, weights = torch.zeros(*shape, 3), torch.ones(shape)
    for _ in range(rounds):
        cpu.CPURenderer(settings, 1).opacity_statistics(gaussians, seen, residuals, weights)


def table_prepared() -> None:
    """Geometry kept over opacity and colour sweeps (falloff cutoff): ms, and what is saved."""
    for name, rounds in (("S1", 60), ("S2", 10), ("S3", 4)):
        for what, (slow, quick) in _with_and_without(*SCENES[name]()).items():
            times = [(_seconds(slow), _seconds(quick)) for _ in range(rounds + 1)][1:]
            each = [1e3 * median(t[i] for t in times) for i in (0, 1)]
            saved = 1.0 - median(t[1] / t[0] for t in times)
            print(f"{name}  {what:18} plain {each[0]:7.2f}  prepared {each[1]:7.2f}", end="")
            print(f"  saved {saved:.0%}")


def _with_and_without(
    gaussians: Gaussians, seen: Cameras
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """The same calls without and with a prepared scene."""
    renderer = cpu.CPURenderer(RenderSettings(), 1)
    prepared = renderer.prepare(gaussians, seen)
    paint = gaussians.opacities, gaussians.harmonics
    size = (gaussians.opacities.shape[0], len(seen), *seen.image_shape)
    pixels = torch.zeros(*size, 3), torch.ones(size)

    def plain(opacities: Tensor, harmonics: Tensor) -> Rendering:
        world = replace(gaussians, opacities=opacities, harmonics=harmonics)
        return renderer.render(world, seen)

    def gradient(draw: Callable[[Tensor, Tensor], Rendering]) -> None:
        leaves = [t.detach().requires_grad_() for t in paint]
        torch.autograd.grad(draw(*leaves).colors.sum(), leaves)

    return {
        "render": (lambda: plain(*paint), lambda: prepared.render(*paint)),
        "render + gradient": (lambda: gradient(plain), lambda: gradient(prepared.render)),
        "statistics": (
            lambda: renderer.opacity_statistics(gaussians, seen, *pixels),
            lambda: prepared.opacity_statistics(*paint, *pixels),
        ),
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def table_chains() -> None:
    """Wall ms of forward + backward a chain, chains in one call over one, gain of a thread more."""
    for name, make in (
        ("S1", lambda c: pixel_aligned(c, 64, 64)),
        ("S2", lambda c: pixel_aligned(c, 256, 256)),
    ):
        alone = make(1)
        for chains in (1, 4, 8, 16):
            scene = make(chains)
            singly, doubly, one = (
                engine(s, threads=n) for s, n in ((scene, 1), (scene, 2), (alone, 1))
            )
            torch.set_num_threads(1)
            wall, own = [], []
            for _ in range(12 if name == "S1" else 3):
                wall.append([timed(d, scene, time.perf_counter)[1] for d in (singly, doubly)])
                own.append(
                    timed(singly, scene, time.process_time)[1]
                    / timed(one, alone, time.process_time)[1]
                )
            each = [1e3 / chains * median(t[i] for t in wall[1:]) for i in (0, 1)]
            over_one, gain = median(iter(own[1:])), median(t[0] / t[1] for t in wall[1:])
            print(
                f"{name}  {chains:2} chains  1 thread {each[0]:.2f}  2 threads {each[1]:.2f}"
                f"  over one chain {over_one:.2f}  gain {gain:.2f}",
                flush=True,
            )


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
    """Forward + backward against Gaussians, pixels and chains, one thread: slope of log time."""
    series: dict[str, list[tuple[int, Callable[[], Scene]]]] = {
        "Gaussians (pixel-aligned)": [
            (2 * n * n, partial(pixel_aligned, 1, n, n)) for n in (64, 128, 256, 512, 704)
        ],
        "Gaussians (cloud, 512 px)": [
            (n, partial(cloud, 1, n, 512, 512)) for n in (8_000, 64_000, 256_000, 1_000_000)
        ],
        "pixels (cloud of 100k)": [
            (n * n, partial(cloud, 1, 100_000, n, n)) for n in (128, 256, 512, 1024)
        ],
        "chains (S1)": [(c, partial(pixel_aligned, c, 64, 64)) for c in (1, 4, 16, 64)],
    }
    for name, scenes in series.items():
        points = []
        for number, make in scenes:
            scene = make()  # one at a time: memory
            times = compare({"engine": engine(scene)}, scene, 3)
            points.append((number, median(t[1] for t in times["engine"])))
        slope = statistics.linear_regression(*zip(*np.log(points).tolist(), strict=True)).slope
        print(
            f"{name}: slope {slope:.2f} ",
            *(f"{n}: {1e3 * t:.1f} ms" for n, t in points),
            flush=True,
        )


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
    "prepared": table_prepared,
    "chains": table_chains,
    "scaling": table_scaling,
    "memory": table_memory,
    "compilation": table_compilation,
}


def main() -> None:
    """Print the tables asked for."""
    lines = "\n".join(
        f"  {name:12} {(t.__doc__ or '').splitlines()[0]}" for name, t in TABLES.items()
    )
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"tables:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", nargs="*", metavar="table", help="one or more; none: all of them")
    chosen = parser.parse_args().tables or list(TABLES)
    unknown = [name for name in chosen if name not in TABLES]
    if unknown:
        parser.error(f"no table is called {', '.join(unknown)}; there are {', '.join(TABLES)}")
    for name in chosen:
        print(f"\n{name}: {TABLES[name].__doc__}")
        TABLES[name]()


if __name__ == "__main__":
    main()
