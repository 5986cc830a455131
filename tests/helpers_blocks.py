"""Targets that fall into blocks: a chain of Normals, and lights on a line of pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayes_splat.samplers.base import BlockEnergies, Generators, Position
from bayes_splat.samplers.positions import make_generators
from tests import helpers_targets as targets


def shifts(generators: Generators, length: int) -> Tensor:
    """A shift of the grid of blocks a chain."""
    return torch.stack([torch.randint(length, (1,), generator=g) for g in generators])


def sums(values: Tensor, owner: Tensor, num_blocks: int) -> tuple[Tensor, Tensor]:
    """[chain, term] by block, and those of nobody."""
    column = torch.where(owner < 0, num_blocks, owner)
    total = values.new_zeros(len(values), num_blocks + 1).scatter_add(1, column, values)
    return total[:, :-1], total[:, -1]


def slopes(target: Any, position: Position) -> Position:
    gradient: Position = target.potential_and_gradient(position)[1]
    return gradient


# ----- a chain of Normals -----


@dataclass(frozen=True)
class NormalChain(targets.FunctionTarget):
    """U = a/2 sum x_i^2 + c/2 sum (x_i - x_{i+1})^2: terms are nodes and edges between them."""

    size: int = 12
    length: int = 5
    own: float = 0.5
    coupling: float = 4.0

    def precision(self) -> Tensor:
        size, c = self.size, self.coupling
        matrix = torch.diag(torch.full((size,), self.own + 2.0 * c, dtype=torch.float64))
        matrix[0, 0] = matrix[-1, -1] = self.own + c
        steps = torch.arange(size - 1)
        matrix[steps, steps + 1] = matrix[steps + 1, steps] = -c
        return matrix

    def draw(self, chains: int, seed: int) -> Position:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(chains, self.size, generator=generator, dtype=torch.float64)
        factor = torch.linalg.cholesky(torch.linalg.inv(self.precision()))
        return {"x": noise @ factor.T}

    def draw_partition(self, generators: Generators) -> "ChainPartition":
        edges = torch.arange(self.size - 1) + shifts(generators, self.length)
        return ChainPartition(self, torch.div(edges, self.length, rounding_mode="floor"))

    def fisher_diagonal(self, generators: Generators, position: Position, probes: int) -> Position:
        return {"x": self.precision().diagonal().expand_as(position["x"])}


def normal_chain(**options: Any) -> NormalChain:
    plain = NormalChain(lambda _: torch.zeros(()), **options)

    def energy(position: Position) -> Tensor:
        x = position["x"]
        edges = x.diff(dim=1).square().sum(1)
        return 0.5 * plain.own * x.square().sum(1) + 0.5 * plain.coupling * edges

    return NormalChain(energy, **options)


@dataclass(frozen=True)
class ChainPartition:
    """The block of every edge; a node whose two edges are of one block is that block's."""

    target: NormalChain
    labels: Tensor

    @property
    def num_blocks(self) -> int:
        return (self.target.size + self.target.length) // self.target.length + 1

    def owners(self, position: Position) -> Position:
        left = torch.cat([self.labels[:, :1], self.labels], 1)
        right = torch.cat([self.labels, self.labels[:, -1:]], 1)
        return {"x": torch.where(left == right, left, -1)}

    def evaluate(self, position: Position) -> BlockEnergies:
        x, target = position["x"], self.target
        terms = torch.cat(
            [0.5 * target.own * x.square(), 0.5 * target.coupling * x.diff(dim=1).square()], 1
        )
        owner = torch.cat([self.owners(position)["x"], self.labels], 1)
        return BlockEnergies(*sums(terms, owner, self.num_blocks), slopes(target, position))


# ----- lights on a line -----

NUM_LIGHTS, NUM_PIXELS, RADIUS = 16, 38, 1.3
NOISE = 0.3


def places() -> Tensor:
    """Where the lights are at home: between the pixels."""
    return torch.linspace(1.0, NUM_PIXELS - 2.0, NUM_LIGHTS, dtype=torch.float64)


def shine(position: Position) -> Tensor:
    """What every light gives to every pixel: nothing beyond the radius, with a step there."""
    offset = offsets(position)
    return position["glow"].exp()[..., None] * torch.exp(-(offset**2)) * (offset.abs() <= RADIUS)


def offsets(position: Position) -> Tensor:
    """From every pixel to every light."""
    return (places() + position["place"])[..., None] - torch.arange(NUM_PIXELS)


@dataclass(frozen=True)
class Lights(targets.FunctionTarget):
    """place_i ~ Normal(0, 0.7), glow_i ~ Normal(0, 0.5), pixels ~ Normal(sum of lights, NOISE).

    A light whose pixels, where it is now, all lie in the block of its home is that block's own:
    lights may leave their block.
    """

    data: Tensor | None = None
    length: int = 5

    def draw_partition(self, generators: Generators) -> "LightPartition":
        pixels = torch.arange(NUM_PIXELS) + shifts(generators, self.length)
        return LightPartition(self, torch.div(pixels, self.length, rounding_mode="floor"))


def light_terms(position: Position, data: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of the pixels and of the lights."""
    pixels = (data - shine(position).sum(-2)).square() / (2.0 * NOISE**2)
    place, glow = position["place"], position["glow"]
    return pixels, place.square() / (2.0 * 0.7**2) + glow.square() / (2.0 * 0.5**2)


def lights(chains: int, seed: int) -> tuple[Lights, Position, Tensor]:
    """The target, an exact joint draw a chain, and its pictures."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(chains, 2 * NUM_LIGHTS, generator=generator, dtype=torch.float64)
    position = {"place": 0.7 * noise[:, :NUM_LIGHTS], "glow": 0.5 * noise[:, NUM_LIGHTS:]}
    scatter = torch.randn(chains, NUM_PIXELS, generator=generator, dtype=torch.float64)
    data = shine(position).sum(-2) + NOISE * scatter

    def energy(position: Position) -> Tensor:
        pixels, own = light_terms(position, data)
        return pixels.sum(1) + own.sum(1)

    return Lights(energy, data=data), position, data


@dataclass(frozen=True)
class LightPartition:
    """The block of every pixel."""

    target: Lights
    labels: Tensor

    @property
    def num_blocks(self) -> int:
        return (NUM_PIXELS + self.target.length) // self.target.length + 1

    def owners(self, position: Position) -> Position:
        home = self.labels[:, places().round().long()]
        centre = places() + position["place"]
        first = torch.ceil(centre - RADIUS).long().clamp(0, NUM_PIXELS - 1)
        last = torch.floor(centre + RADIUS).long().clamp(0, NUM_PIXELS - 1)
        # Labels grow along the line: both ends of one label, all of one label.
        ends = self.labels.gather(1, first), self.labels.gather(1, last)
        is_inside = (ends[0] == home) & (ends[1] == home)
        owner = torch.where(is_inside, home, -1)
        return {"place": owner, "glow": owner}

    def evaluate(self, position: Position) -> BlockEnergies:
        assert self.target.data is not None
        leaves = {site: value.detach().clone().requires_grad_() for site, value in position.items()}
        terms = torch.cat(light_terms(leaves, self.target.data), 1)
        gradient = torch.autograd.grad(terms.sum(), list(leaves.values()))
        owner = torch.cat([self.labels, self.owners(position)["place"]], 1)
        energies = sums(terms.detach(), owner, self.num_blocks)
        return BlockEnergies(*energies, dict(zip(leaves, gradient, strict=True)))


def light_score(kernel: Any, chains: int, steps: int, seed: int = 0) -> float:
    """How far ``kernel(target)`` moves the joint distribution, in standard errors."""
    target, before, data = lights(chains, seed)
    after = targets.run(kernel(target), before, make_generators(seed + 1, chains), steps)
    change = _statistics(after, data) - _statistics(before, data)
    return float((change.mean(0) / change.std(0)).abs().max()) * chains**0.5


def _statistics(position: Position, data: Tensor) -> Tensor:
    """Means over lights and pixels, which are all alike: [chain, function]."""
    residual, glow, place = data - shine(position).sum(-2), position["glow"], position["place"]
    values = [glow, glow**2, place**2, place**4, glow * place**2, place.abs(), residual**2]
    values += [residual, residual**4, residual[:, :-1] * residual[:, 1:], residual * data]
    values += [(offsets(position).abs() <= RADIUS).sum(-1).double(), shine(position).sum(-2) ** 2]
    return torch.stack([value.mean(1) for value in values], 1)
