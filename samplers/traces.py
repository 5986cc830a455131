"""What a run of a Pyro model tells about its sites."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro.poutine.subsample_messenger import _Subsample
from torch.distributions import biject_to


class Site(NamedTuple):
    """A latent variable of the model.

    Attributes:
        transform: unconstrained to constrained coordinates, a torch ``Transform``.
        batch_ndim: number of axes that belong to plates (or are independent without one).
        dtype: what the model draws, and hence expects.
    """

    transform: Any
    batch_ndim: int
    dtype: torch.dtype


def density_nodes(nodes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample sites that have a density: no plates, no deterministic values."""
    for name, node in nodes.items():
        is_density = node["type"] == "sample" and not isinstance(node["fn"], _Subsample)
        if is_density and not node["infer"].get("_deterministic", False):
            yield name, node


def latent_nodes(nodes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sites to sample.

    Raises:
        ValueError: a plate chooses part of the data at random.
    """
    for name, node in nodes.items():
        plate = node.get("fn")
        if isinstance(plate, _Subsample) and (plate.subsample_size or plate.size) < plate.size:
            raise ValueError(
                f"plate {name!r} subsamples at random, which makes the target random;"
                " give it subsample= from a keyword argument of the model and pass that as a batch"
            )
    for name, node in density_nodes(nodes):
        if not node["is_observed"]:
            yield name, node


def read_site(
    name: str, node: dict[str, Any], again: dict[str, Any] | None, dtype: torch.dtype | None
) -> Site:
    """The site of a trace node, held against the same site in a second trace."""
    if again is None or again["value"].shape != node["value"].shape:
        raise ValueError(f"site {name!r} changes its shape from run to run, or is not always there")
    try:
        transform, other = (biject_to(trial["fn"].support) for trial in (node, again))
    except NotImplementedError as error:
        if node["fn"].support.is_discrete:
            raise ValueError(
                f"site {name!r} is discrete, and gradients need continuous sites:"
                " sum it out in the model, or condition on it and move it in a block of its own"
                " (then register coordinates for its support with biject_to)"
            ) from error
        raise ValueError(
            f"site {name!r} has support {node['fn'].support}, to which no unconstrained"
            " coordinates are known; express it through sites with an ordinary support"
        ) from error
    value = node["value"].detach().double()
    if not torch.equal(transform.inv(value).nan_to_num(), other.inv(value).nan_to_num()):
        raise ValueError(
            f"site {name!r} has a support that depends on other latent sites;"
            " express it through a site with a fixed support"
        )
    return Site(transform, len(node["fn"].batch_shape), dtype or node["value"].dtype)


def guess_max_plate_nesting(nodes: Mapping[str, Any]) -> int:
    """Axes taken by plates, declared or not."""
    nesting = [0]
    for _, node in density_nodes(nodes):
        nesting.append(len(node["fn"].batch_shape))
        nesting.extend(-frame.dim for frame in node["cond_indep_stack"] if frame.vectorized)
    return max(nesting)


@contextmanager
def clean_param_store() -> Iterator[None]:
    """Forget the parameters that a run of the model registers."""
    store = pyro.get_param_store()
    known = set(store.keys())
    try:
        yield
    finally:
        for name in set(store.keys()) - known:
            del store[name]
