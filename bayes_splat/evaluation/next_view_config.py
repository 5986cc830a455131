"""Options of ``bayes-splat next-view``: its own, and those of reconstruct."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bayes_splat.config import GROUPS, RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.evaluation.config import BASELINES, NOT_HERE
from bayes_splat.options import Options, build, option
from bayes_splat.own_options import separate

_MANY = 10_000

EXAMPLES = """
examples:
  bayes-splat next-view
      the views of the scene made on the spot
  bayes-splat next-view scene=photos/garden context=[0,4] resolution=32 draws=50
      all other frames of a folder
  bayes-splat next-view scene=photos/garden split=pair_small_0 candidates=[6,9,12] method=laplace"""


@dataclass(kw_only=True)
class NextViewConfig(Options):
    """Which photograph to take next: the view whose picture is expected to tell most."""

    method: str = option(
        "gibbs",
        "what draws the scene: a sampler, or another method of evaluate",
        choices=(*GROUPS["sampler"], *BASELINES[1:]),
    )
    candidates: list[int] | None = option(
        None,
        "frames to choose from; null: all that are not in context",
        at_least=0,
        length=(1, _MANY),
    )
    score: str = option(
        "pixels",
        "what ranks them: pixels: sum over pixels and channels of log(total / noise variance) / 2; "
        "joint: the same of whole pictures, whose pixels depend on each other",
        choices=("pixels", "joint"),
    )
    components: int = option(128, "draws that are rendered", at_least=2, at_most=_MANY)
    shown: int = option(4, "views in the figure", at_least=1, at_most=12)
    out: str = option("outputs/next-view", "folder for the table and the figure")


class NextViewPlan(NamedTuple):
    """What is to be done, checked: own options, and those of the scene and the method."""

    options: NextViewConfig
    config: RunConfig


def compose_next_view(overrides: Sequence[str]) -> NextViewPlan:
    """Read and check the options.

    Args:
        overrides: ``key=value``: options of next-view, and of reconstruct but for the sampler's
            name; ``sampler.<option>`` goes to the sampler that ``method`` names.

    Raises:
        ConfigError: an unknown key or value, or options that do not go together.
    """
    own, others = separate(NextViewConfig, overrides, "next-view", "chains=2")
    shared = []
    for key, value in others:
        text = f"{key}={value}"
        if key in (*NOT_HERE, "targets"):
            raise ConfigError(
                f"{text} does not go with next-view; write candidates=[2,3], method=mala and "
                "out=<folder>"
            )
        shared.append(text)
    options = build(NextViewConfig, own)
    sampler = options.method if options.method in GROUPS["sampler"] else "gibbs"
    return NextViewPlan(options, compose_config([*shared, f"sampler={sampler}"])[0])
