"""What a MALA step costs besides rendering: ``python benchmarks/driver_overhead.py [side]``.

Four chains, two views of side x side pixels (128), one Gaussian a pixel, the CPU renderer, one
thread, CPU time, medians over steps. The driver is everything but the renderer's forward and
backward pass and the kernels that sum the squared errors.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bayes_splat import geometry, harmonics, inference
from bayes_splat.models.bucket_offsets import BucketOffsets, OffsetTarget
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering import cpu_engine, cpu_squared_errors, cpu_threads
from bayes_splat.rendering.renderer import Renderer, make_renderer
from bayes_splat.sampler_config import GibbsConfig
from bayes_splat.samplers import langevin, metropolis, positions
from bayes_splat.samplers.mala import MALA, MALAState
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Cameras, Gaussians, Rendering, Views

CHAINS, STEPS = 4, 15
RENDERER = ("render", "render backward")
LIKELIHOOD = ("squared errors", "squared errors backward")


@dataclass
class Stopwatch:
    """CPU seconds by part; time inside an inner part is not time of the outer one."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    since: float = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._lap()
        self.running.append(name)
        try:
            yield
        finally:
            self._lap()
            self.running.pop()

    def _lap(self) -> None:
        now = time.process_time()
        if self.running:
            last = self.running[-1]
            self.seconds[last] = self.seconds.get(last, 0.0) + now - self.since
        self.since = now


class _TimedDraw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, watch: Stopwatch, draw: Callable[..., Any], *tensors: Tensor) -> Any:
        with torch.enable_grad(), watch.part("render"):
            wanted = ctx.needs_input_grad[2:]
            leaves = [t.detach().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
            rendering = draw(Gaussians(*leaves))
        ctx.set_materialize_grads(False)
        ctx.watch, ctx.leaves, ctx.rendering = watch, leaves, rendering
        return tuple(picture.detach() for picture in rendering)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        wanted = [(p, g) for p, g in zip(ctx.rendering, gradients, strict=True) if g is not None]
        pictures, incoming = zip(*wanted, strict=True)
        with ctx.watch.part("render backward"):
            leaves = [leaf for leaf in ctx.leaves if leaf.requires_grad]
            slopes = iter(torch.autograd.grad(pictures, leaves, incoming))
        return None, None, *(next(slopes) if leaf.requires_grad else None for leaf in ctx.leaves)


@dataclass(frozen=True)
class TimedRenderer:
    """Any renderer, its two passes timed."""

    renderer: Renderer
    watch: Stopwatch

    def render(self, gaussians: Gaussians, cameras: Cameras, **options: Any) -> Rendering:
        """See :meth:`Renderer.render`."""
        tensors = [getattr(gaussians, f.name) for f in fields(gaussians)]
        pictures = _TimedDraw.apply(  # type: ignore[no-untyped-call]
            self.watch, lambda g: self.renderer.render(g, cameras, **options), *tensors
        )
        return Rendering(*pictures)


def scene(side: int, watch: Stopwatch) -> SplatModel:
    """Two cameras side by side, random colours and photographs."""
    extrinsics = torch.eye(4).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = 0.15
    rows = [[1.2 * side, 0, side / 2], [0, 1.2 * side, side / 2], [0, 0, 1]]
    near, far = torch.ones(2), torch.full((2,), 4.0)
    cameras = Cameras(extrinsics, torch.tensor(rows).repeat(2, 1, 1), near, far, (side, side))
    generator = torch.Generator().manual_seed(0)
    origins, directions = (t.reshape(-1, 3) for t in geometry.camera_rays(cameras))
    size = len(origins)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    proposal = DepthProposal(
        origins=origins,
        directions=directions,
        near=torch.ones(size, dtype=torch.float64),
        far=torch.full((size,), 4.0, dtype=torch.float64),
        probabilities=torch.softmax(2.0 * rand(size, 32), dim=-1),
        offsets=rand(size, 32),
        footprints=torch.full((size, 3), 0.4 / (1.2 * side)),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(size, 4),
        opacities=0.2 + 0.6 * rand(size),
        harmonics=harmonics.from_colors(rand(size, 3)),
        cameras=cameras,
    )
    views = Views(cameras, rand(2, 3, side, side), ("left", "right"))
    return SplatModel(proposal, views, TimedRenderer(make_renderer("cpu"), watch))


PARTS: list[tuple[Any, str, str]] = [
    (langevin, "step", "Langevin step"),
    (positions, "randn_like", "random numbers"),
    (langevin, "log_ratio", "proposal densities"),
    (metropolis, "acceptance_rate", "acceptance"),
    (positions, "select", "accept or reject"),
    (positions, "finite_or_zero", "finite gradients"),
    (MALA, "_adapt", "adaptation"),
    (PyroTarget, "potential_and_gradient", "autograd"),
    (PyroTarget, "_energy", "transforms, densities, Pyro"),
    (SplatModel, "gaussians", "Gaussians from sites"),
    (SplatModel, "sort_depths", "sort keys"),
    (OffsetTarget, "potential_and_gradient", "bucket offsets"),
]
"""Functions whose own time is shown apart: (owner, attribute, what the table calls it)."""


@contextmanager
def timed(watch: Stopwatch) -> Iterator[None]:
    """The parts report to the stopwatch meanwhile."""

    def wrapped(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with watch.part(name):
                return function(*args, **kwargs)

        return call

    def run_items(kernel: Any, *args: Any) -> None:
        name = LIKELIHOOD["backward" in kernel.__name__]
        with watch.part(name):
            plain(kernel, *args)

    plain = cpu_squared_errors.run_items
    with ExitStack() as stack:
        for owner, attribute, name in PARTS:
            found = wrapped(getattr(owner, attribute), name)
            stack.enter_context(mock.patch.object(owner, attribute, found))
        stack.enter_context(mock.patch.object(cpu_squared_errors, "run_items", run_items))
        yield


def measure(
    kernel: MALA, state: MALAState, watch: Stopwatch, is_warmup: bool
) -> list[dict[str, float]]:
    """Seconds by part of every step."""
    generators, rows = make_generators(1, CHAINS), []
    with timed(watch):
        for step in range(STEPS + 3):
            watch.seconds = {}
            with watch.part("the rest"):
                state, _ = kernel.step(generators, state, is_warmup)
            if step >= 3:
                rows.append(watch.seconds)
    return rows


def report(title: str, rows: list[dict[str, float]]) -> None:
    """One line a part, and the bar: the driver's share of the whole."""
    names = sorted({name for row in rows for name in row}, key=lambda n: -rows[-1].get(n, 0.0))
    medians = {n: 1e3 * statistics.median(row.get(n, 0.0) for row in rows) for n in names}
    apart = {*RENDERER, *LIKELIHOOD}
    shares, drivers, wholes = [], [], []
    for row in rows:
        whole = sum(row.values())
        driver = sum(seconds for name, seconds in row.items() if name not in apart)
        wholes.append(1e3 * whole)
        drivers.append(1e3 * driver)
        shares.append(driver / whole)
    print(f"\n{title}: {statistics.median(wholes):.1f} ms a step, of which", end=" ")
    print(f"the driver {statistics.median(drivers):.1f} ms ({statistics.median(shares):.1%})")
    for name, value in medians.items():
        print(f"  {name:30} {value:7.2f} ms{'' if name in apart else '  driver'}")


def main(side: int) -> None:
    torch.set_num_threads(1)
    watch = Stopwatch()
    model = scene(side, watch)
    target = PyroTarget(model, vectorized=True)
    position = target.initial_position(make_generators(0, CHAINS))
    plain = MALA(target, step_size=1e-7)
    report("MALA", measure(plain, plain.init(position), watch, is_warmup=False))
    adapting = MALA(target, step_size=1e-7, adapt_step_size=False, adapt_preconditioner=True)
    warm = measure(adapting, adapting.init(position), watch, is_warmup=True)
    report("MALA in warmup, learning a diagonal", warm)
    offsets = BucketOffsets(target, model.proposal.num_buckets)
    inside = MALA(offsets.given(position), step_size=1e-7)
    steps = measure(inside, inside.init(offsets.extract(position)), watch, is_warmup=False)
    report("MALA inside the buckets", steps)
    report_default(replace(model, renderer=make_renderer("cpu")), target)


def report_default(model: SplatModel, target: PyroTarget) -> None:
    """The composed default: what its step costs outside compiled code."""
    plain = cpu_threads.run_pass
    watch = Stopwatch()

    def run_pass(kernel: Any, *args: Any) -> None:
        with watch.part(kernel.__name__):
            plain(kernel, *args)

    generators = make_generators(1, CHAINS)
    kernel = inference.make_kernel(model, target, GibbsConfig())
    state = kernel.init(inference.starting_position(model, target, generators))
    rows = []
    # ``run_items`` calls it too.
    with (
        mock.patch.object(cpu_threads, "run_pass", run_pass),
        mock.patch.object(cpu_engine, "run_pass", run_pass),
    ):
        for _ in range(5):
            watch.seconds = {}
            with watch.part("driver"):
                state, _ = kernel.step(generators, state)
            rows.append(watch.seconds)
    wholes = [sum(row.values()) for row in rows[1:]]
    shares = [row["driver"] / whole for row, whole in zip(rows[1:], wholes, strict=True)]
    print(
        f"\nThe default sampler: {1e3 * statistics.median(wholes):.0f} ms a step, of which", end=""
    )
    print(f" outside compiled code {statistics.median(shares):.1%}")
    for name in sorted(rows[-1], key=lambda n: -rows[-1][n]):
        print(
            f"  {name:30} {1e3 * statistics.median(row.get(name, 0.0) for row in rows[1:]):7.2f} ms"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 128)
