"""Arithmetic on positions: dictionaries of tensors whose leading axis is the chain."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bayes_splat.samplers.base import Generators, Position

_PART = 32768
"""Numbers of a site that several operations in a row go over together: they stay in the cache."""

_ROW = 1024
"""Elements that ``per_chain_sum`` adds in one go; torch splits a sum over threads far above."""


def make_generators(seed: int, num_chains: int) -> list[torch.Generator]:
    """One well-mixed CPU random stream a chain; chain i's does not depend on ``num_chains``.

    Neighbouring seeds give unrelated streams (numpy's ``SeedSequence.spawn``), which seeding with
    ``seed + chain`` would not.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be zero or positive, got {seed}")
    children = np.random.SeedSequence(seed).spawn(num_chains)
    # torch's CPU engine keeps the low 32 bits of a seed only.
    seeds = [int(child.generate_state(1, np.uint32)[0]) for child in children]
    return [torch.Generator().manual_seed(number) for number in seeds]


def num_chains(position: Position) -> int:
    """How many chains a position holds."""
    return next(iter(position.values())).shape[0]


def row(position: Position, chain: int) -> Position:
    """One chain of a position, [1, ...]."""
    return {site: value[chain : chain + 1] for site, value in position.items()}


def clone(position: Position) -> Position:
    """A copy that shares no memory with ``position`` and takes no part in its gradients."""
    return {site: value.detach().clone() for site, value in position.items()}


def select(mask: Bool[Tensor, " chain"], chosen: Position, other: Position) -> Position:
    """``chosen`` in the chains where ``mask`` holds, ``other`` elsewhere.

    Where all chains agree that is one of the two itself, not a copy: values are never changed.
    """
    if bool(mask.all()):
        return chosen
    return {
        site: torch.where(per_chain(mask, value), value, other[site])
        for site, value in chosen.items()
    }


def per_chain(values: Tensor, like: Tensor) -> Tensor:
    """[chain] values shaped so that they broadcast against ``like`` [chain, ...]."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def parts(value: Tensor) -> list[slice]:
    """Ranges of chains, small enough that what is computed for one of them stays in the cache."""
    chains = max(1, _PART // max(1, value[0].numel()))
    return [slice(first, first + chains) for first in range(0, len(value), chains)]


def randn_like(generators: Generators, position: Position) -> Position:
    """Standard Normal noise of the shapes of ``position``, every chain from its own stream."""
    return {
        site: _normals(generators, value[0].numel()).reshape(value.shape).to(value)
        for site, value in position.items()
    }


def _normals(generators: Generators, size: int) -> Float[Tensor, "chain size"]:
    """Standard Normal numbers, float64, by the sine and cosine of Box and Muller (1958).

    In whole arrays that is twice as fast as ``torch.randn``, which makes them one by one.
    """
    half = -(-size // 2)
    radius, angle = torch.empty(2, half, dtype=torch.float64)
    result = torch.empty(len(generators), 2 * half, dtype=torch.float64)
    # Row by row, so that what is at work stays near the processor.
    for row, generator in zip(result, generators, strict=True):
        # Uniform numbers may be the lower end and never the upper: minus those has a logarithm.
        radius.uniform_(-1.0, 0.0, generator=generator).neg_().log_().mul_(-2.0).sqrt_()
        angle.uniform_(0.0, 2.0 * math.pi, generator=generator)
        torch.cos(angle, out=row[:half]).mul_(radius)
        torch.sin(angle, out=row[half:]).mul_(radius)
    return result[:, :size]


def rand(generators: Generators) -> Float[Tensor, " chain"]:
    """One uniform number in [0, 1) a chain, float64."""
    return torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators])


def per_chain_sum(values: Float[Tensor, "chain ..."]) -> Float[Tensor, " chain"]:
    """Sum of all elements of a chain in float64, the same whatever the number of threads.

    Torch splits a sum down to one number over its threads, so that the rounding depends on how many
    there are. Summing rows of fixed length first, and then the row sums, does not.
    """
    flat = values.to(torch.float64).reshape(len(values), -1)
    if flat.shape[1] > _ROW:
        if flat.shape[1] % _ROW:
            flat = torch.nn.functional.pad(flat, (0, -flat.shape[1] % _ROW))
        flat = flat.reshape(len(flat), -1, _ROW).sum(-1)
    return flat.sum(-1)


def total(terms: Sequence[Float[Tensor, "chain ..."]]) -> Float[Tensor, " chain"]:
    """Sum of all elements of all ``terms``, chain by chain, float64."""
    return torch.stack([per_chain_sum(term) for term in terms]).sum(0)


def is_finite(position: Position) -> Bool[Tensor, " chain"]:
    """Chains in which every element is finite."""
    # Where the sums are finite all elements are; sums of finite ones may still overflow.
    if bool(total(list(position.values())).isfinite().all()):
        return torch.ones(num_chains(position), dtype=torch.bool, device=_device(position))
    finite = [value.isfinite().reshape(len(value), -1).all(1) for value in position.values()]
    return torch.stack(finite).all(0)


def finite_or_zero(gradient: Position) -> Position:
    """``gradient``, with zeros in the chains where any element is infinite or NaN.

    Dropping the drift there keeps Metropolis kernels exact, as the rule looks at one point only and
    is applied in the same way forwards and backwards.
    """
    return or_zero(is_finite(gradient), gradient)


def or_zero(mask: Bool[Tensor, " chain"], gradient: Position) -> Position:
    """``gradient`` in the chains where ``mask`` holds, zeros elsewhere."""
    if bool(mask.all()):
        return gradient
    return select(mask, gradient, {site: torch.zeros_like(v) for site, v in gradient.items()})


def _device(position: Position) -> torch.device:
    return next(iter(position.values())).device
