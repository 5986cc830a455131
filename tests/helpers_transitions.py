"""Single-transition tests of kernels (Gandy & Scott 2020, "Unit testing for MCMC").

Exact draws from the target take one step; if the kernel leaves the target invariant they are exact
draws still. No chain is run, nothing has to mix, and a fault is not diluted by many steps.

The number of draws grows only while the answer is in doubt (their algorithm 3): a right kernel
fails with a probability of at most ``FALSE_ALARM``, whatever the number of attempts.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from bayes_splat.samplers.positions import make_generators
from tests.helpers_targets import coordinates

FALSE_ALARM = 1e-5
ATTEMPTS = 3
GROWTH = 4


class Start(NamedTuple):
    """Exact draws, ready to take a step.

    Attributes:
        kernel: the transition under test, on a target that may hold data of each chain.
        state: of the kernel, its chains independent exact draws.
        extra: further quantities that belong to the joint distribution, such as data simulated
            from each chain's position, [chain, quantity].
    """

    kernel: Any
    state: Any
    extra: Tensor | None = None


def starting(kernel: Any, position: dict[str, Tensor], extra: Tensor | None = None) -> Start:
    """Exact draws of the positions, of a kernel whose state follows from them."""
    return Start(kernel, kernel.init(position), extra)


def p_values(
    begin: Callable[[int, int], Start],
    chains: int,
    seed: int,
    num_steps: int = 1,
    whiten: Callable[[Any], Tensor] = lambda state: coordinates(state.position),
) -> Tensor:
    """Of many comparisons of the draws before and after: [comparison].

    Means of functions before and after are compared chain by chain, which cancels most of the
    spread; distributions of coordinates after the step and of draws made apart by Kolmogorov and
    Smirnov's test.

    Args:
        begin: (number of chains, seed) -> exact draws.
        chains: draws to use.
        seed: of all random numbers.
        num_steps: of the kernel. A state that goes stale shows after the second only.
        whiten: state -> coordinates in which the target has light tails, [chain, coordinate].
    """
    start = begin(chains, seed)
    state, generators = start.state, make_generators(seed + 1, chains)
    for _ in range(num_steps):
        state, _ = start.kernel.step(generators, state)
    before, after = (_with(whiten(s), start.extra) for s in (start.state, state))
    change = _functions(after) - _functions(before)
    spread = change.std(0)
    assert (spread > 0).any(), "nothing moved"
    change, spread = change[:, spread > 0], spread[spread > 0]
    scores = change.mean(0) / spread * math.sqrt(chains)
    paired = torch.special.erfc(scores.abs() / math.sqrt(2.0))
    apart = begin(chains, seed + 2)
    fresh = _with(whiten(apart.state), apart.extra)
    pairs = zip(after.unbind(1), fresh.unbind(1), strict=True)
    return torch.cat([paired, torch.tensor([_smirnov(a, b) for a, b in pairs]).double()])


def check_transition(
    begin: Callable[[int, int], Start],
    *,
    chains: int = 3000,
    seed: int = 0,
    **settings: Any,
) -> None:
    """Raises AssertionError where a step changes the distribution of exact draws.

    With alpha the probability of a false alarm and k attempts, attempt i fails where the smallest
    p value, corrected for the number of comparisons, is at most beta_i = alpha/k gamma^(1 - i) with
    gamma = (alpha/k)^(1/k), passes above gamma + beta_i, and else is repeated.
    """
    fail = FALSE_ALARM / ATTEMPTS
    gamma = fail ** (1.0 / ATTEMPTS)
    for attempt in range(ATTEMPTS):
        values = p_values(begin, chains, seed + 10 * attempt, **settings)
        worst = min(1.0, values.min().item() * len(values))
        assert worst > fail, f"a step changes the target: p = {worst:.1e} with {chains} draws"
        if worst > gamma + fail:
            return
        fail /= gamma
        chains *= GROWTH if attempt == 0 else 1


def _with(values: Tensor, extra: Tensor | None) -> Tensor:
    return values if extra is None else torch.cat([values, extra], dim=1)


def _functions(x: Tensor) -> Tensor:
    """Moments up to the second and bounded functions: [chain, function]."""
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1]).unbind()
    return torch.cat([x, x[:, rows] * x[:, columns], x.sin(), (2.0 * x).cos()], dim=1)


def _smirnov(one: Tensor, other: Tensor) -> float:
    return float(stats.ks_2samp(one.numpy(), other.numpy(), method="asymp").pvalue)
