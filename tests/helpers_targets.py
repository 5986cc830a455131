"""Targets with known answers, and the checks that a right kernel passes and a broken one fails.

Chains are independent, so averages a chain are independent numbers: their spread is the Monte
Carlo error, without any estimate of autocorrelation. Limits are in those standard errors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bayes_splat.samplers.base import BlockInfo, Generators, Position
from bayes_splat.samplers.positions import make_generators, rand, row

LIMIT = 4.5
"""Standard errors allowed; one comparison in 150,000 would fail by chance."""


@dataclass(frozen=True)
class FunctionTarget:
    """A potential energy given as a function, its gradient by autograd, nothing tidied up."""

    energy: Callable[[Position], Tensor]

    def potential_energy(self, position: Position) -> Tensor:
        return self.energy(position).detach()

    def potential_and_gradient(self, position: Position) -> tuple[Tensor, Position]:
        leaves = {site: value.detach().clone().requires_grad_() for site, value in position.items()}
        energy = self.energy(leaves)
        slopes = torch.autograd.grad(energy.sum(), list(leaves.values()))
        return energy.detach(), dict(zip(leaves, slopes, strict=True))


@dataclass(frozen=True)
class Given(FunctionTarget):
    """What a ``BlockOf`` is sampled from."""

    block: "BlockOf"
    fixed: Position

    def of_chain(self, chain: int) -> "Given":
        return self.block.given(row(self.fixed, chain))


@dataclass(frozen=True)
class BlockOf:
    """Some sites of a ``FunctionTarget`` with the rest held fixed."""

    target: FunctionTarget
    sites: tuple[str, ...]

    def given(self, position: Position) -> "Given":
        return Given(lambda block: self.target.energy({**position, **block}), self, dict(position))

    def extract(self, position: Position) -> Position:
        return {site: position[site] for site in self.sites}

    def insert(self, block: Position, position: Position) -> Position:
        return {**position, **block}


@dataclass(frozen=True)
class Everything:
    """All sites of a target, for a Gibbs sampler of one block."""

    target: Any

    def given(self, position: Position) -> Any:
        return self.target

    def extract(self, position: Position) -> Position:
        return dict(position)

    def insert(self, block: Position, position: Position) -> Position:
        return {**position, **block}


class Known(NamedTuple):
    """A target that can also be drawn from exactly.

    Attributes:
        target: the potential energy.
        draw: (number of chains, seed) -> exact draws.
    """

    target: FunctionTarget
    draw: Callable[[int, int], Position]


def normal(covariance: Tensor, mean: Tensor) -> Known:
    """A Normal on a scalar site ``level`` and a vector site ``slope``."""
    precision = torch.linalg.inv(covariance)
    factor = torch.linalg.cholesky(covariance)

    def energy(position: Position) -> Tensor:
        x = torch.cat([position["level"][:, None], position["slope"]], dim=1) - mean
        # Not matmul: its rounding depends on how many chains there are.
        squares: Tensor = x[:, :, None] * precision * x[:, None, :]
        return 0.5 * squares.sum((1, 2))

    def draw(chains: int, seed: int) -> Position:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(chains, len(mean), generator=generator, dtype=torch.float64)
        x = mean + noise @ factor.T
        return {"level": x[:, 0], "slope": x[:, 1:]}

    return Known(FunctionTarget(energy), draw)


def correlated() -> Known:
    """Three coordinates, correlations up to 0.8, standard deviations 0.5 to 2."""
    correlation = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 1.0]]).double()
    scales = torch.tensor([1.0, 0.5, 2.0]).double()
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    return normal(correlation * scales[:, None] * scales, mean)


def ill_conditioned() -> Known:
    """Standard deviations 0.01, 1 and 100: hopeless without a preconditioner."""
    scales = torch.tensor([0.01, 1.0, 100.0]).double()
    return normal(torch.diag(scales**2), torch.tensor([1.0, 0.0, 30.0]).double())


def rosenbrock() -> Known:
    """x ~ Normal(1, 0.5), y | x ~ Normal(x^2, 0.1) (variances): a banana with known moments."""

    def energy(position: Position) -> Tensor:
        x, y = position["x"], position["y"]
        return (x - 1.0) ** 2 / (2.0 * 0.5) + (y - x**2) ** 2 / (2.0 * 0.1)

    def draw(chains: int, seed: int) -> Position:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, chains, generator=generator, dtype=torch.float64)
        x = 1.0 + math.sqrt(0.5) * noise[0]
        return {"x": x, "y": x**2 + math.sqrt(0.1) * noise[1]}

    return Known(FunctionTarget(energy), draw)


def funnel() -> Known:
    """v ~ Normal(0, 1.5^2), x_1, x_2 | v ~ Normal(0, exp(v)): Neal's funnel, a bit tamer (2003)."""

    def energy(position: Position) -> Tensor:
        v, x = position["v"], position["x"]
        return v**2 / (2.0 * 1.5**2) + v + 0.5 * (x.square().sum(1) * (-v).exp())

    def draw(chains: int, seed: int) -> Position:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(chains, 3, generator=generator, dtype=torch.float64)
        v = 1.5 * noise[:, 0]
        return {"v": v, "x": noise[:, 1:] * (0.5 * v).exp()[:, None]}

    return Known(FunctionTarget(energy), draw)


def labelled() -> Known:
    """z in {0, 1, 2} with probabilities 0.2, 0.5, 0.3 and x | z ~ Normal(3 z, (1, 0.5, 2)_z)."""
    weights = torch.tensor([0.2, 0.5, 0.3]).double()
    scales = torch.tensor([1.0, 0.5, 2.0]).double()

    def energy(position: Position) -> Tensor:
        z, x = position["z"].long(), position["x"]
        residual = (x - 3.0 * z) / scales[z]
        return 0.5 * residual**2 + scales[z].log() - weights[z].log()

    def draw(chains: int, seed: int) -> Position:
        generator = torch.Generator().manual_seed(seed)
        z = torch.multinomial(weights, chains, replacement=True, generator=generator)
        noise = torch.randn(chains, generator=generator, dtype=torch.float64)
        return {"z": z.double(), "x": 3.0 * z + scales[z] * noise}

    return Known(FunctionTarget(energy), draw)


@dataclass(frozen=True)
class Enumerated:
    """A block that draws one discrete site from its exact conditional."""

    target: FunctionTarget
    site: str
    count: int
    name: str = "enumerated"

    def init(self, position: Position) -> None:
        return None

    def step(
        self, generators: Generators, position: Position, tuning: None, is_warmup: bool
    ) -> tuple[Position, None, BlockInfo]:
        values = [torch.full_like(position[self.site], k) for k in range(self.count)]
        energies = [self.target.potential_energy({**position, self.site: v}) for v in values]
        below = torch.softmax(-torch.stack(energies, 1), 1).cumsum(1)
        drawn = (rand(generators)[:, None] >= below[:, :-1]).sum(1).double()
        ones, none = torch.ones_like(drawn), torch.full_like(drawn, torch.nan)
        return {**position, self.site: drawn}, None, BlockInfo(ones, none, ones == 0)


@dataclass(frozen=True)
class Powers:
    """A ``PowerTarget`` given as energies of the prior and of the likelihood."""

    prior: Callable[[Position], Tensor]
    likelihood: Callable[[Position], Tensor]

    def at_power(self, power: Tensor) -> FunctionTarget:
        return FunctionTarget(lambda x: self.prior(x) + power * self.likelihood(x))

    def log_likelihood(self, position: Position) -> Tensor:
        return -self.likelihood(position).detach()


def two_peaks() -> FunctionTarget:
    """0.3 Normal(-6, 1) + 0.7 Normal(6, 1)."""

    def energy(position: Position) -> Tensor:
        x = position["x"]
        left = math.log(0.3) - 0.5 * (x + 6.0) ** 2
        right = math.log(0.7) - 0.5 * (x - 6.0) ** 2
        return -torch.logaddexp(left, right)

    return FunctionTarget(energy)


# ----- a little Pyro model with exact joint draws -----

NUM_OBSERVED = 3


def location_scale(data: Tensor | None = None, index: Tensor | None = None) -> None:
    """y_i ~ Normal(location, scale), location ~ Normal(0, 1), scale ~ LogNormal(0, 0.5)."""
    index = torch.arange(NUM_OBSERVED) if index is None else index
    zero = torch.zeros((), dtype=torch.float64)
    location = pyro.sample("location", dist.Normal(zero, 1.0))
    scale = pyro.sample("scale", dist.LogNormal(zero, 0.5))
    with pyro.plate("data", NUM_OBSERVED, subsample=index):
        pyro.sample(
            "y", dist.Normal(location, scale), obs=None if data is None else data[..., index]
        )


def location_scale_joint(chains: int, seed: int) -> tuple[Position, Tensor]:
    """Positions drawn from the prior, and data simulated from each: [chain, NUM_OBSERVED]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(chains, 2 + NUM_OBSERVED, generator=generator, dtype=torch.float64)
    position = {"location": noise[:, 0], "scale": 0.5 * noise[:, 1]}
    scale = position["scale"].exp()[:, None]
    return position, position["location"][:, None] + scale * noise[:, 2:]


# ----- checks -----


def coordinates(position: Position) -> Tensor:
    """All coordinates [chain, coordinate]."""
    return torch.cat([value.reshape(len(value), -1) for value in position.values()], dim=1)


def statistics(position: Position, extra: Tensor | None = None) -> Tensor:
    """First and second moments of all coordinates (and ``extra`` ones): [chain, function]."""
    x = coordinates(position)
    if extra is not None:
        x = torch.cat([x, extra], dim=1)
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1]).unbind()
    return torch.cat([x, x[:, rows] * x[:, columns], x.sin()], dim=1)


def run(kernel: Any, position: Position, generators: Generators, num_steps: int) -> Position:
    """The position after some steps without tuning."""
    state = kernel.init(position)
    for _ in range(num_steps):
        state, _ = kernel.step(generators, state)
    result: Position = state.position
    return result


def check_invariance(
    kernel: Any, exact: Position, num_steps: int, data: Tensor | None = None, seed: int = 1
) -> None:
    """Exact draws must still be exact draws after some steps (Gandy & Scott 2020).

    The mean over chains of f(after) - f(before) is zero for every f. With ``data`` simulated from
    each chain's own position this is a test of the joint distribution (Geweke 2004), data included
    among the coordinates.
    """
    before = statistics(exact, data)
    chains = len(before)
    after = statistics(run(kernel, exact, make_generators(seed, chains), num_steps), data)
    change = after - before
    moving = change.std(0) > 0
    assert moving.any(), "nothing moved"
    error = change[:, moving].std(0) / math.sqrt(chains)
    worst = (change[:, moving].mean(0) / error).abs().max().item()
    assert worst < LIMIT, f"moments changed by {worst:.1f} standard errors"


def check_mean(values: Tensor, truth: float) -> None:
    """The mean of [chain, draw] values is ``truth`` within the spread of the chain means."""
    means = values.double().mean(1)
    error = means.std() / math.sqrt(len(means))
    deviation = ((means.mean() - truth) / error).abs().item()
    assert deviation < LIMIT, f"{means.mean():.4f} is {deviation:.1f} standard errors off {truth}"
    assert error < 0.2 * max(abs(truth), 1.0), f"error {error:.3f}: too few draws to tell"
