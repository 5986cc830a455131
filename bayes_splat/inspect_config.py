"""Options of ``bayes-splat inspect-proposal``: its own, and those of the scene and the proposal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bayes_splat.config import RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, build, option
from bayes_splat.own_options import separate

_MOST_PIXELS = 12

NOT_HERE = ("sampler", "model", "chains", "draws", "warmup", "thinning", "targets", "save")
"""Options of reconstruct that have no meaning here."""


@dataclass(kw_only=True)
class InspectConfig(Options):
    """What a proposal believes of single pixels, and why."""

    view: int = option(0, "which of the context views the pixels belong to", at_least=0)
    columns: list[int] | None = option(
        None,
        "columns of the pixels, counted from the left; null: three pixels, from sure to unsure",
        at_least=0,
        length=(1, _MOST_PIXELS),
    )
    rows: list[int] | None = option(
        None, "their rows, counted from above", at_least=0, length=(1, _MOST_PIXELS)
    )
    out: str = option("outputs/inspect", "folder for the figures")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.columns or ()) != len(self.rows or ()):
            raise ConfigError(
                f"columns is {self.columns} and rows is {self.rows}, but each pixel needs one of "
                "each; write for example columns=[20,31] rows=[10,12]"
            )


class InspectPlan(NamedTuple):
    """Everything checked before anything is computed.

    Attributes:
        options: of the command.
        run: scene, context, resolution and proposal.
    """

    options: InspectConfig
    run: RunConfig


def compose_inspect(overrides: Sequence[str]) -> InspectPlan:
    """Read and check the command line.

    Args:
        overrides: ``key=value``: options of inspect-proposal; and those of reconstruct for scene,
            context, resolution and proposal.

    Raises:
        ConfigError: an unknown key or value, or options that do not go together.
    """
    own, others = separate(InspectConfig, overrides, "inspect-proposal", "view=1")
    shared = []
    for key, value in others:
        text = f"{key}={value}"
        if key.split(".")[0] in NOT_HERE:
            raise ConfigError(f"{text} does not go with inspect-proposal, which samples nothing")
        shared.append(text)
    return InspectPlan(build(InspectConfig, own), compose_config(shared)[0])
