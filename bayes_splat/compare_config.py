"""Options of ``bayes-splat compare``: its own, and those of the runs that it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from omegaconf import OmegaConf

from bayes_splat.config import GROUPS, RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, build, option
from bayes_splat.own_options import of_one, require_owners, separate

_MANY = 1000

USUAL = ("gibbs", "block_mala", "mala", "sgld", "nuts")
"""What is compared unless the user says otherwise: one of every kind."""


@dataclass(kw_only=True)
class CompareConfig(Options):
    """Compare samplers on one scene, or runs that are there already."""

    samplers: list[str] | None = option(
        None,
        f"samplers to run, one after the other; null: {', '.join(USUAL)}",
        length=(1, _MANY),
    )
    runs: list[str] | None = option(
        None,
        "folders of earlier runs to compare instead; nothing is sampled",
        length=(1, _MANY),
    )
    seconds: float = option(
        60.0, "sampling of each run, after its warmup; all get the same", above=0
    )
    pixels: int = option(4, "target pixels whose chains are drawn", at_least=1, at_most=12)
    out: str = option("outputs/compare", "folder for the table, the figures and the runs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samplers is not None and self.runs is not None:
            raise ConfigError("samplers and runs are given both; give one of them")
        known = list(GROUPS["sampler"])
        for name in self.samplers or ():
            if name not in known:
                raise ConfigError(
                    f"samplers holds {name!r}, which does not exist; choose out of "
                    f"{', '.join(known)}"
                )
        for key, names in (("samplers", self.samplers), ("runs", self.runs)):
            if names is not None and len(set(names)) < len(names):
                raise ConfigError(f"{key} is {names} but each may be named only once")


class PlannedRun(NamedTuple):
    """A run to be made.

    Attributes:
        sampler: its name.
        overrides: what ``bayes-splat reconstruct`` is called with.
        config, composed: the same, checked, and as YAML.
    """

    sampler: str
    overrides: list[str]
    config: RunConfig
    composed: str


def compose_compare(overrides: Sequence[str]) -> tuple[CompareConfig, list[PlannedRun]]:
    """Read and check everything before the first run begins.

    Args:
        overrides: ``key=value``: options of compare; options of reconstruct, which go to every
            run; and ``<sampler>.<option>=value``, which goes to the run of that sampler.

    Raises:
        ConfigError: an unknown key, sampler or value, or options that do not go together.
    """
    own, others = separate(CompareConfig, overrides, "compare", "seconds=30")
    shared: list[str] = []
    single: list[tuple[str, str]] = []
    for key, value in others:
        text = f"{key}={value}"
        if key.partition(".")[0] == "sampler":
            raise ConfigError(
                f"{text} is for one run; write samplers=[mala,gibbs], and "
                "mala.step_size=0.1 for an option of one of them"
            )
        if key in ("draws", "time_limit", "sampling_limit"):
            raise ConfigError(f"{text} does not go with compare; write seconds=<sampling of each>")
        found = of_one(key, value, "sampler")
        if found is not None:
            single.append(found)
        else:
            shared.append(text)
    options = build(CompareConfig, own)
    if options.runs is not None:
        if shared or single:
            given = (shared or [text for _, text in single])[0]
            raise ConfigError(f"{given} does not go with runs=: nothing is sampled")
        return options, []
    names = options.samplers or list(USUAL)
    require_owners(single, names, "sampler")
    return options, [_planned(name, options, shared, single) for name in names]


def _planned(
    name: str, options: CompareConfig, shared: Sequence[str], single: Sequence[tuple[str, str]]
) -> PlannedRun:
    overrides = [
        *shared,
        f"sampler={name}",
        *(text for sampler, text in single if sampler == name),
        "draws=1000000",
        f"sampling_limit={options.seconds}",
        f"out={options.out}/{name}",
    ]
    config, tree = compose_config(overrides)
    return PlannedRun(name, overrides, config, OmegaConf.to_yaml(tree))
