"""Where and how a network runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bayes_splat.errors import ConfigError


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of matrix products depend on the number of threads in their last bits; ours may not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen(name: str) -> torch.device:
    """The device that ``proposal.device`` asks for.

    Raises:
        ConfigError: cuda without an NVIDIA GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("proposal.device is cuda but there is no NVIDIA GPU; write cpu or auto")
    has_gpu = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_gpu else "cpu")
