"""Sixteen Gaussians between memory, where each is a row of numbers, and lanes, one a Gaussian."""

# mypy: disable-error-code="no-untyped-def"
from bayes_splat.rendering.cpu_compile import inner
from bayes_splat.rendering.cpu_lanes import (
    deinterleave,
    interleave,
    load,
    load_strided,
    store,
    store_strided,
    transpose,
)
from bayes_splat.rendering.cpu_simd import LANES


@inner
def load1(array, first, count):
    """Sixteen neighbours, the last of ``count`` repeated where there are fewer; so below."""
    if count < LANES:
        return load_strided(array, first, 1, count)
    return load(array, first)


@inner
def load3(array, first, count):
    """Rows of three: the first numbers of sixteen rows, the second, the third."""
    if count < LANES:
        return (
            load_strided(array, first, 3, count),
            load_strided(array, first + 1, 3, count),
            load_strided(array, first + 2, 3, count),
        )
    return deinterleave((load(array, first), load(array, first + 16), load(array, first + 32)))


@inner
def load4(array, first, count):
    if count < LANES:
        return (
            load_strided(array, first, 4, count),
            load_strided(array, first + 1, 4, count),
            load_strided(array, first + 2, 4, count),
            load_strided(array, first + 3, 4, count),
        )
    return deinterleave(
        (
            load(array, first),
            load(array, first + 16),
            load(array, first + 32),
            load(array, first + 48),
        )
    )


@inner
def store1(array, first, count, values):
    """The first ``count`` of sixteen neighbours; so below."""
    if count < LANES:
        store_strided(array, first, 1, count, values)
    else:
        store(array, first, values)


@inner
def store3(array, first, count, values):
    if count < LANES:
        for i in range(3):
            store_strided(array, first + i, 3, count, values[i])
    else:
        parts = interleave(values)
        for i in range(3):
            store(array, first + LANES * i, parts[i])


@inner
def store4(array, first, count, values):
    if count < LANES:
        for i in range(4):
            store_strided(array, first + i, 4, count, values[i])
    else:
        parts = interleave(values)
        for i in range(4):
            store(array, first + LANES * i, parts[i])


@inner
def load_columns(array, first):
    """A matrix of sixteen rows of sixteen as its columns."""
    return transpose(
        (
            load(array, first),
            load(array, first + 16),
            load(array, first + 32),
            load(array, first + 48),
            load(array, first + 64),
            load(array, first + 80),
            load(array, first + 96),
            load(array, first + 112),
            load(array, first + 128),
            load(array, first + 144),
            load(array, first + 160),
            load(array, first + 176),
            load(array, first + 192),
            load(array, first + 208),
            load(array, first + 224),
            load(array, first + 240),
        )
    )
