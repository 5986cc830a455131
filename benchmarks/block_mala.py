"""Acceptance and mixing of block-local MALA as scenes grow, with global MALA beside it.

Photographs are drawn from the model itself: two views of a smooth surface, one Gaussian a pixel,
the parallax in pixels the same for every size. The prior is the proposal (`prior=proposal`), and
the photographs come from a draw of it, so that this draw, the teacher, is an exact draw of the
posterior: chains start there, and nothing has to converge. What moves are offsets inside the depth
buckets, and opacities.

What a block accepts depends on how many coordinates it has, and the picture's edges cut blocks: of
16 pixels, a quarter of a 32x32 picture lies in whole ones, of a 256x256 picture seven eighths. Cut
blocks accept more. So a picture that grows changes its local statistics for that reason alone, and
acceptance is shown twice: in all blocks, and in whole ones, which look the same in every size.
Blocks also differ among each other, and a small picture has few: all sizes are averaged over the
same number of pixels, that is over many small scenes, each with textures, opacities and noise of
its own. Errors are standard errors between scenes.

    python benchmarks/block_mala.py                     # 32x32 to 256x256 pixels, two views
    python benchmarks/block_mala.py --sides 32 64 --steps 40
"""

import argparse
import math
import statistics
import time
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bayes_splat import convergence, geometry, harmonics
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.models.tile_blocks import TileBlocks, TilePartition, TileTarget
from bayes_splat.rendering.renderer import CountingRenderer, RenderCount, make_renderer
from bayes_splat.samplers.base import Generators, Position
from bayes_splat.samplers.block_mala import BlockMALA
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.potential import PyroTarget
from bayes_splat.types import Cameras, Views

NOISE = 0.05
BUCKETS = 32
PARALLAX = 12.0
"""Pixels between the places of the nearest and of the farthest depth in the other view."""


def scene(side: int, seed: int = 0) -> tuple[SplatModel, dict[str, Tensor]]:
    """A model of ``side`` x ``side`` x 2 Gaussians, and the sites that its photographs show."""
    near, far, focal = 1.0, 4.0, 1.2 * side
    extrinsics = torch.eye(4).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = PARALLAX / (focal * (1 / near - 1 / far))
    rows = [[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]]
    ends = torch.full((2,), near), torch.full((2,), far)
    cameras = Cameras(extrinsics, torch.tensor(rows).repeat(2, 1, 1), *ends, (side, side))
    origins, directions = (rays.reshape(-1, 3) for rays in geometry.camera_rays(cameras))
    # Waves of the same length in pixels whatever the picture's size.
    generator = torch.Generator().manual_seed(seed)
    x, y = geometry.pixel_centres((side, side)).T.repeat(1, 2).float()
    # Where they begin is drawn: what is whole in a small picture lies in its middle, and must not
    # see the same slope in every scene.
    first, second = torch.rand(2, generator=generator).tolist()
    wave = torch.sin(2 * math.pi * (x / 40 + first)) * torch.sin(2 * math.pi * (y / 32 + second))
    bucket = (BUCKETS * (0.5 + 0.2 * wave)).long()
    probabilities = torch.full((len(origins), BUCKETS), 1e-6)
    probabilities[torch.arange(len(origins)), bucket] = 1.0
    texture = torch.rand(len(origins), 3, generator=generator)
    proposal = DepthProposal(
        origins=origins,
        directions=directions,
        near=torch.full((len(origins),), near, dtype=torch.float64),
        far=torch.full((len(origins),), far, dtype=torch.float64),
        probabilities=probabilities / probabilities.sum(-1, keepdim=True),
        offsets=torch.full((len(origins), BUCKETS), 0.5),
        footprints=torch.full((len(origins), 3), 0.4 / focal),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(len(origins), 4),
        opacities=torch.full((len(origins),), 0.5),
        harmonics=harmonics.from_colors(texture),
        cameras=cameras,
    )
    blank = Views(cameras, torch.zeros(2, 3, side, side), ("left", "right"))
    renderer = CountingRenderer(make_renderer("cpu"), RenderCount())
    model = SplatModel(proposal, blank, renderer, ModelConfig(prior="proposal"))
    opacity = torch.rand(1, len(origins), generator=generator, dtype=torch.float64) * 0.999
    sites = {
        "depth": proposal.sample([generator]).double(),
        "opacity": opacity,
        "noise_scale": torch.full((1,), NOISE, dtype=torch.float64),
    }
    colors = model.predict_pixels(sites["depth"], sites["opacity"])[0]
    colors = colors + NOISE * torch.randn(colors.shape, generator=generator, dtype=torch.float64)
    images = colors.reshape(2, side, side, 3).movedim(-1, 1).float()
    return replace(model, views=replace(blank, images=images)), sites


def fisher(target: TileTarget, position: Position, chains: int) -> Position:
    """The preconditioner: an average over probes at the teacher, one for all chains."""
    seen = target.fisher_diagonal(make_generators(7, chains), position, 32 // chains)
    return {site: 1.0 / value.mean(0, keepdim=True) for site, value in seen.items()}


@dataclass(frozen=True)
class WatchedTarget(TileTarget):
    """A target that shows the partition it drew last."""

    last: list[TilePartition] = field(default_factory=list)

    def draw_partition(self, generators: Generators) -> TilePartition:
        self.last[:] = [super().draw_partition(generators)]
        return self.last[0]


def whole_blocks(partition: TilePartition) -> Tensor:
    """Blocks [chain, block] that no edge of a picture cuts: all their tiles are there in each view.

    Tiles of the other view follow a curved surface, so one row or column of them may be missing.
    """
    labels, parts = partition.labels, partition.target.parts
    side = parts.block_size // parts.tile
    counts = torch.zeros(*labels.shape[:2], partition.num_blocks)
    ones = torch.ones_like(labels, dtype=counts.dtype).flatten(2)
    counts.scatter_add_(2, labels.flatten(2), ones)
    return (counts.amax(1) == side * side) & (counts.amin(1) >= side * (side - 1))


def coins_of_blocks(kernel: BlockMALA, start: Position, chains: int, steps: int) -> Tensor:
    """Active coordinates and how many moved, the same of whole blocks; summed over all moves."""
    target = kernel.target
    assert isinstance(target, WatchedTarget)
    kernel = replace(kernel, num_moves=1)
    generators, state = make_generators(4, chains), kernel.init(start)
    sums = torch.zeros(4, dtype=torch.float64)
    for _ in range(steps):
        before = state.position
        state, _ = kernel.step(generators, state)
        owner = target.last[0].owners(before)["opacity"]
        is_active, whole = owner >= 0, whole_blocks(target.last[0])
        is_whole = is_active & whole.gather(1, owner.clamp_min(0))
        moved = state.position["opacity"] != before["opacity"]
        parts = is_active, is_active & moved, is_whole, is_whole & moved
        sums += torch.stack([part.double().sum() for part in parts])
    return sums


def share(counts: Tensor, part: int, whole: int) -> tuple[float, float]:
    """A ratio of sums over scenes [scene, count], and its standard error between scenes, in %."""
    above, below = counts[:, part], counts[:, whole]
    ratio = above.sum() / below.sum()
    scenes = len(counts)
    spread = (above - ratio * below).square().sum() / max(scenes - 1, 1)
    return 100 * float(ratio), 100 * float((spread / scenes).sqrt() / below.mean())


def share_of_active(target: TileTarget, position: Position, chains: int) -> float:
    """Mean over some partitions of the share of Gaussians that move."""
    generators = make_generators(3, chains)
    owners = [target.draw_partition(generators).owners(position)["opacity"] for _ in range(10)]
    return float((torch.stack(owners) >= 0).double().mean())


def run(kernel: MALA | BlockMALA, start: Position, chains: int, steps: int, watch: Tensor) -> dict:
    """Draws of watched coordinates, acceptance, renders and seconds after a short transient."""
    target = kernel.target
    assert isinstance(target, TileTarget)
    renderer = target.parts.model.renderer
    assert isinstance(renderer, CountingRenderer)
    generators, state = make_generators(1, chains), kernel.init(start)
    before, begin = renderer.count.forward, time.process_time()
    draws, rates = [], []
    for _ in range(steps):
        state, info = kernel.step(generators, state)
        rates.append(info.acceptance_rate)
        draws.append(torch.cat([value[:, watch] for value in state.position.values()], 1))
    seconds = time.process_time() - begin
    renders = (renderer.count.forward - before) / (chains * len(target.parts.model.views))
    series = torch.stack(draws, 1).numpy()
    least = convergence.ess_bulk(series)
    jumps = torch.stack(draws, 1).diff(dim=1).square().mean((0, 1))
    return {
        "acceptance": float(torch.stack(rates).mean()),
        "ess": float(torch.tensor(least).nanmedian()) / (chains * renders),
        "squares": float(jumps.mean()) * (steps - 1) / renders,
        "ms": 1e3 * seconds / (renders * chains),
    }


def prepared(
    side: int, seed: int, block_size: int, chains: int
) -> tuple[WatchedTarget, Position, Tensor]:
    """A scene's target, its teacher for all chains, and which Gaussians are watched."""
    model, sites = scene(side, seed)
    pyro = PyroTarget(model, vectorized=True)
    position = {s: v.expand(chains, *v.shape[1:]) for s, v in pyro.unconstrain(sites).items()}
    parts = TileBlocks(model, ("offset", "opacity"), block_size=block_size)
    # The same number of Gaussians is watched in every scene.
    watch = torch.linspace(0, len(model.proposal) - 1, 512).long()
    return WatchedTarget(parts, position), parts.extract(position), watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--blocks", type=int, nargs="+", default=[16])
    parser.add_argument("--steps", type=int, default=40, help="partitions")
    parser.add_argument(
        "--pixels", type=int, default=2 * 256**2, help="of a view, over all scenes of a size"
    )
    parser.add_argument("--moves", type=int, default=4, help="a partition")
    parser.add_argument("--chains", type=int, default=1)
    parser.add_argument("--step-size", type=float, default=0.08)
    parser.add_argument("--mala", type=int, default=1, help="0: leave global MALA out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| Gaussians | kernel | active % | in whole blocks % | step | acceptance % | in whole "
        "blocks % | squared jump a render, 1e-3 | ESS a 1,000 renders | ms a render and chain |"
    )
    print("|---" * 10 + "|")
    chains = arguments.chains
    for side in arguments.sides:
        size = f"{2 * side**2:,}"
        scenes = max(1, arguments.pixels // side**2)
        for block_size in arguments.blocks:
            counts, runs, active = [], [], []
            for seed in range(scenes):
                target, start, watch = prepared(side, seed, block_size, chains)
                mass = fisher(target, start, chains)
                shared = {"preconditioner": mass, "adapt_step_size": False}
                kernel = BlockMALA(target, arguments.step_size, num_moves=arguments.moves, **shared)
                counts.append(coins_of_blocks(kernel, start, chains, arguments.steps))
                if seed < max(1, scenes // 4):
                    active.append(share_of_active(target, start, chains))
                    runs.append(run(kernel, start, chains, arguments.steps, watch))
            found = {name: statistics.mean(r[name] for r in runs) for name in runs[0]}
            of_scenes = torch.stack(counts)
            found |= {"all": share(of_scenes, 1, 0), "whole": share(of_scenes, 3, 2)}
            found["in_whole"] = share(of_scenes, 2, 0)[0]
            name = f"blocks of {block_size}"
            print_row(size, name, statistics.mean(active), arguments.step_size, found)
        if not arguments.mala:
            continue
        target, start, watch = prepared(side, 0, arguments.blocks[0], chains)
        mass = fisher(target, start, chains)
        shared = {"preconditioner": mass, "adapt_step_size": False}
        tuned = MALA(target, 0.02, preconditioner=mass)
        state, generators = tuned.init(start), make_generators(2, chains)
        for _ in range(100):
            state, _ = tuned.step(generators, state, is_warmup=True)
        best = float(state.adaptation.step_size.step_size(False).mean())
        for step_size in (arguments.step_size, best):
            whole = MALA(target, step_size, **shared)
            found = run(whole, start, chains, 5 * arguments.steps, watch)
            print_row(size, "MALA", 1.0, step_size, found)


def print_row(size: str, name: str, active: float, step_size: float, found: dict) -> None:
    rate = 100 * found["acceptance"]
    cells = (
        size,
        name,
        f"{100 * active:.0f}",
        f"{found['in_whole']:.0f}" if "in_whole" in found else "",
        f"{step_size:.4f}",
        "{:.1f} ± {:.1f}".format(*found["all"]) if "all" in found else f"{rate:.1f}",
        "{:.1f} ± {:.1f}".format(*found["whole"]) if "whole" in found else "",
        f"{1e3 * found['squares']:.2f}",
        f"{1e3 * found['ess']:.1f}",
        f"{found['ms']:.0f}",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
