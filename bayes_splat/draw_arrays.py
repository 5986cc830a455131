"""Draws that may lie on disk, looked at in pieces: some draws at a time, or some quantities."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

_PIECE = 2**23  # bytes looked at in one go


class DrawArray:
    """Values [chain, draw, ...] of one name, read piece by piece.

    Each piece is taken from the source anew and copied, so that a source on disk
    (``samplers.store.StoredArrays``) never lies in memory as a whole.

    Attributes:
        shape: (chains, draws, ...).
        dtype: numpy's, of the values.
    """

    def __init__(
        self, source: Mapping[str, Any], name: str, chains: Sequence[int] | None = None
    ) -> None:
        """
        Args:
            source: name -> tensor or array [chain, draw, ...].
            name: which of them.
            chains: use these only, in this order; None: all.
        """
        self._source = source
        self._name = name
        array = self._array()
        self._chains = list(range(len(array)) if chains is None else chains)
        self.shape: tuple[int, ...] = (len(self._chains), *array.shape[1:])
        self.dtype = array.dtype

    @property
    def num_columns(self) -> int:
        """Quantities: the product of the axes after chain and draw."""
        return int(np.prod(self.shape[2:]))

    def block(self, first: int, last: int) -> Shaped[np.ndarray, "chain draw *quantity"]:
        """The draws from ``first`` up to, not including, ``last``."""
        return np.array(self._array()[:, first:last][self._chains])

    def columns(self, chosen: slice) -> Shaped[np.ndarray, "chain draw quantity"]:
        """All draws of the chosen quantities, counted flat over the axes after chain and draw."""
        num_chains, num_draws = self.shape[:2]
        size = len(range(*chosen.indices(self.num_columns)))
        result = np.empty((num_chains, num_draws, size), self.dtype)
        for first, last in self.blocks():
            flat = self.block(first, last).reshape(num_chains, last - first, self.num_columns)
            result[:, first:last] = flat[..., chosen]
        return result

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first, last) of draws that fit into one piece, in order."""
        record = max(1, len(self._chains) * self.num_columns * self.dtype.itemsize)
        step = max(1, _PIECE // record)
        for first in range(0, self.shape[1], step):
            yield first, min(first + step, self.shape[1])

    def column_ranges(self, numbers: int, step: int = 1) -> Iterator[slice]:
        """Slices that together choose every ``step``-th quantity, each ``numbers`` long."""
        width = max(1, numbers // max(1, self.shape[0] * self.shape[1])) * step
        for first in range(0, self.num_columns, width):
            yield slice(first, min(first + width, self.num_columns), step)

    def _array(self) -> np.ndarray:
        values = self._source[self._name]
        return values if isinstance(values, np.ndarray) else np.asarray(values.detach().numpy())
