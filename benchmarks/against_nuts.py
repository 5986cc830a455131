"""The default sampler against Pyro's NUTS and HMC on one model: effective draws a CPU second.

    python benchmarks/against_nuts.py                           # 64x64 pictures, 120 s for each
    python benchmarks/against_nuts.py --resolution 32 --seconds 30
    python benchmarks/against_nuts.py --set model.prior=smooth

Two context views of the demo scene, one thread. Quantities are colours and depths of pixels of the
target views, which no sampler sees. The default sampler runs several chains from the proposal, NUTS
and HMC one chain each from a state that the default sampler has reached, so that they need no
burn-in. Warmup is not counted for any of them; neither is rendering target pixels.

A quantity that never moved, or of which there are too few draws to tell, has 0 effective draws.
A chain that has only crept has one or two all the same, however long it ran: "spread" is the median
over quantities of its standard deviation over that of the default sampler's draws, and where that
is small the figures of the row flatter it. HMC takes the step size that NUTS has found.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import HMC, MCMC, NUTS
from torch import Tensor

from bayes_splat import convergence, diagnostics, held_out, inference, view_choice
from bayes_splat.config import RunConfig, compose_config
from bayes_splat.models import proposals
from bayes_splat.models.assembly import assemble
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer
from bayes_splat.samplers.base import Position
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Views

STILL = 1e-4
"""Standard deviation of the default sampler's draws below which a quantity is left out: what lies
in front of no Gaussian, say."""


@dataclass
class Record:
    """What a sampler came to.

    Attributes:
        draws: [draw, chain, quantity], one entry a draw.
        depths: [draw, chain, gaussian], relative disparities.
        seconds: of CPU time, warmup not counted.
        renders: of one chain's context views.
        note: what one should know.
        step_size: of a kernel of Pyro's, adapted.
    """

    draws: list[Tensor] = field(default_factory=list)
    depths: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    renders: float = 0.0
    note: str = ""
    step_size: float = 0.1

    def stacked(self) -> np.ndarray:
        """[chain, draw, quantity]."""
        return torch.stack(self.draws, 1).double().numpy()


class TimeUp(Exception):
    """Ends a run of Pyro's."""


@dataclass(frozen=True)
class Task:
    """A model, and what is watched of it."""

    model: SplatModel
    target: PyroTarget
    targets: Views
    pixels: int

    def watch(self, position: Position, record: Record) -> None:
        """Render the watched pixels of a position."""
        sites = self.target.constrain(position)
        with torch.no_grad():
            seen = self.model.render(sites["depth"], sites["opacity"], self.targets.cameras)
        grid = diagnostics.fixed_grid(
            self.targets.cameras.image_shape, len(self.targets), self.pixels
        )
        colors, depths = (
            p[:, grid.view, grid.row, grid.column] for p in (seen.colors, seen.depths)
        )
        record.draws.append(torch.cat([colors.flatten(1), depths], 1))
        record.depths.append(self.model.proposal.relative_disparity(sites["depth"]))

    @property
    def count(self) -> int:
        """Pictures of context views so far."""
        renderer = self.model.renderer
        assert isinstance(renderer, CountingRenderer)
        return renderer.count.forward


def task_of(config: RunConfig, pixels: int) -> Task:
    """The model that ``bayes-splat reconstruct`` would sample."""
    context, targets = view_choice.load_views(config)
    proposal = proposals.propose(context, config.proposal)
    model = assemble(proposal, context, config.model, "cpu")
    if config.model.noise_prior is None:
        model = held_out.learn(model, seed=config.seed).model
    return Task(model, PyroTarget(model, vectorized=True), targets, pixels)


def run_default(
    task: Task, config: RunConfig, seconds: float, warmup: int
) -> tuple[Record, Position]:
    """The composed sampler for so many CPU seconds; and where its chains end."""
    generators = make_generators(config.seed, config.chains)
    kernel = inference.make_kernel(task.model, task.target, config.sampler)
    state = kernel.init(inference.starting_position(task.model, task.target, generators))
    for _ in range(warmup):
        state, _ = kernel.step(generators, state, is_warmup=True)
    record = Record(note=f"{config.chains} chains")
    while record.seconds < seconds:
        renders, start = task.count, time.process_time()
        state, _ = kernel.step(generators, state)
        record.seconds += time.process_time() - start
        record.renders += (task.count - renders) / len(task.model.views)
        task.watch(state.position, record)
    return record, state.position


def run_pyro(
    task: Task, make: Callable[..., Any], start: Position, seconds: float, warmup: int, seed: int
) -> Record:
    """A kernel of Pyro's, one chain, for so many CPU seconds after its warmup."""
    record, clock = Record(), {"last": time.process_time(), "warmup": 0.0, "renders": task.count}

    def hook(kernel: Any, params: Position, stage: str, step: int) -> None:
        spent = time.process_time() - clock["last"]
        if stage.lower().startswith("warmup"):
            clock["warmup"] += spent
            clock["renders"] = task.count
            if clock["warmup"] > 3.0 * seconds:
                record.note = f"warmup unfinished after {step + 1} steps"
                raise TimeUp
        else:
            record.seconds += spent
            record.renders += (task.count - clock["renders"]) / len(task.model.views)
            task.watch({site: value.detach()[None] for site, value in params.items()}, record)
            clock["renders"] = task.count
            if record.seconds >= seconds:
                raise TimeUp
        clock["last"] = time.process_time()

    pyro.set_rng_seed(seed)
    kernel = make(task.model)
    mcmc = MCMC(
        kernel,
        num_samples=1_000_000,
        warmup_steps=warmup,
        initial_params={site: value[0] for site, value in start.items()},
        disable_progbar=True,
        hook_fn=hook,
    )
    with suppress(TimeUp):
        mcmc.run()
    record.step_size = float(kernel.step_size)
    record.note = record.note or f"warmup {clock['warmup']:.0f} s"
    return record


def effective(record: Record, kept: np.ndarray) -> np.ndarray:
    """Effective draws of the kept quantities, 0 where they cannot be told."""
    if len(record.draws) < 4:
        return np.zeros(int(kept.sum()))
    draws = record.stacked()[..., kept]
    # Of what never moves all draws are equal, which the estimate takes for independent.
    has_moved = np.ptp(draws, axis=(0, 1)) > np.finfo(float).resolution
    return np.where(has_moved, np.nan_to_num(convergence.ess_bulk(draws)), 0.0)


def spread(record: Record, reference: Record, kept: np.ndarray) -> float:
    """Median over quantities of a chain's standard deviation over that of another sampler's."""
    if len(record.draws) < 2:
        return 0.0
    deviation, whole = (r.stacked()[..., kept].std((0, 1)) for r in (record, reference))
    return float(np.median(deviation / whole))


def movement(record: Record) -> tuple[float, float]:
    """Share of draws that differ from the one before, and the mean step of relative disparity."""
    if len(record.depths) < 2:
        return 0.0, 0.0
    steps = torch.stack(record.depths).diff(dim=0).abs()
    return float((steps.amax(-1) > 0).double().mean()), float(steps.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of each")
    parser.add_argument("--warmup", type=int, default=100, help="of the default sampler")
    parser.add_argument("--nuts-warmup", type=int, default=20, help="of NUTS and HMC")
    parser.add_argument(
        "--depth", type=int, default=6, help="log2 of NUTS's most and of HMC's leapfrog steps"
    )
    parser.add_argument("--pixels", type=int, default=256, help="watched, over all targets")
    parser.add_argument("--set", action="append", default=[], help="an option of reconstruct")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, _ = compose_config([f"resolution={arguments.resolution}", *arguments.set])
    task = task_of(config, arguments.pixels)
    samplers = ("NUTS", "HMC")
    kernels: dict[str, Callable[..., Any]] = {
        "NUTS": lambda model: NUTS(model, step_size=0.1, max_tree_depth=arguments.depth),
        "HMC": lambda model: HMC(
            model,
            step_size=records["NUTS"].step_size,
            num_steps=2**arguments.depth,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        ),
    }
    records: dict[str, Record] = {}
    records["default"], end = run_default(task, config, arguments.seconds, arguments.warmup)
    kept = records["default"].stacked().std((0, 1)) > STILL
    print(f"{len(task.model.proposal):,} Gaussians, prior {config.model.prior}, ", end="")
    print(f"{int(kept.sum()):,} of {len(kept):,} quantities move")
    print(
        "| sampler | draws | CPU s | renders a draw | draws that moved % | step of disparity, 1e-3 "
        "| spread % | least ESS | median ESS | least ESS/s | median ESS/s | |"
    )
    print("|---" * 12 + "|")
    rates = {}
    for name in ("default", *samplers):
        if name != "default":
            one = {site: value[:1] for site, value in end.items()}
            records[name] = run_pyro(
                task, kernels[name], one, arguments.seconds, arguments.nuts_warmup, config.seed
            )
        record = records[name]
        ess, (moved, step) = effective(record, kept), movement(record)
        seconds = max(record.seconds, 1e-9)
        rates[name] = np.array([ess.min(), np.median(ess)]) / seconds
        cells = (
            name,
            str(len(record.draws)),
            f"{record.seconds:.0f}",
            f"{record.renders / max(len(record.draws), 1):.0f}",
            f"{100 * moved:.0f}",
            f"{1e3 * step:.2f}",
            f"{100 * spread(record, records['default'], kept):.0f}",
            f"{ess.min():.1f}",
            f"{np.median(ess):.1f}",
            *(f"{rate:.4f}" for rate in rates[name]),
            record.note,
        )
        print("| " + " | ".join(cells) + " |", flush=True)
    for name in samplers:
        with np.errstate(divide="ignore", invalid="ignore"):
            least, median = rates["default"] / rates[name]
        print(f"default over {name}: {least:.3g} times the least ESS/s, {median:.3g} the median")


if __name__ == "__main__":
    main()
