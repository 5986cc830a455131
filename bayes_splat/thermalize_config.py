"""Options of ``bayes-splat thermalize``: its own, and those of the scene and the samplers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from omegaconf import OmegaConf

from bayes_splat.config import GROUPS, RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.models.settings import MARKOV_PRIORS
from bayes_splat.options import Options, build, option
from bayes_splat.own_options import of_one, require_owners, separate
from bayes_splat.sampler_config import Sampler, num_warmup

_MANY = 1000

NOT_HERE = ("draws", "thinning", "time_limit", "sampling_limit", "targets", "sampler")
"""Options of reconstruct that have no meaning here."""


@dataclass(kw_only=True)
class ThermalizeConfig(Options):
    """How long chains take to forget where they started."""

    samplers: list[str] | None = option(
        None, "samplers to run, one after the other; null: all there are", length=(1, _MANY)
    )
    steps: int = option(
        400, "most steps of each sampler, those in which it tunes itself included", at_least=16
    )
    seconds: float | None = option(
        None, "most seconds of each sampler's proposal-started chains; null: no limit", above=0
    )
    resolution: int = option(24, "pixels on the long side of every picture", at_least=8)
    out: str = option("outputs/thermalize", "folder for the tables and the figure")

    def __post_init__(self) -> None:
        super().__post_init__()
        known = list(GROUPS["sampler"])
        for name in self.samplers or ():
            if name not in known:
                raise ConfigError(
                    f"samplers holds {name!r}, which does not exist; choose out of "
                    f"{', '.join(known)}"
                )
        if self.samplers is not None and len(set(self.samplers)) < len(self.samplers):
            raise ConfigError(f"samplers is {self.samplers} but each may be named only once")


class ThermalizePlan(NamedTuple):
    """Everything checked before the first chain starts.

    Attributes:
        options: of the command.
        run: scene, model, proposal and renderer; ``chains`` of each kind; ``warmup``; ``seed``.
        samplers: settings by name, in the order of the runs.
        composed: ``run`` as YAML.
    """

    options: ThermalizeConfig
    run: RunConfig
    samplers: dict[str, Sampler]
    composed: str


def compose_thermalize(overrides: Sequence[str]) -> ThermalizePlan:
    """Read and check the command line.

    Args:
        overrides: ``key=value``: options of thermalize; options of reconstruct for scene, model,
            proposal, renderer, chains, warmup and seed; and ``<sampler>.<option>=value``.

    Raises:
        ConfigError: an unknown key, sampler or value, or options that do not go together.
    """
    own, others = separate(ThermalizeConfig, overrides, "thermalize", "steps=200")
    shared: list[str] = []
    single: list[tuple[str, str]] = []
    for key, value in others:
        text = f"{key}={value}"
        section = key.partition(".")[0]
        if section in NOT_HERE:
            hint = (
                "write samplers=[mala,gibbs], and mala.step_size=0.1 for an option of one of them"
                if section == "sampler"
                else "write steps=<number> or seconds=<number> for the budget"
            )
            raise ConfigError(f"{text} does not go with thermalize; {hint}")
        found = of_one(key, value, "sampler")
        if found is not None:
            single.append(found)
        else:
            shared.append(text)
    options = build(ThermalizeConfig, own)
    names = options.samplers or list(GROUPS["sampler"])
    require_owners(single, names, "sampler")
    shared = [*shared, f"resolution={options.resolution}"]
    run, tree = compose_config(shared)
    if run.model.prior in MARKOV_PRIORS:
        raise ConfigError(
            f"model.prior={run.model.prior} does not go with thermalize, which draws depths one by "
            "one; take model.prior=uniform"
        )
    samplers = {
        name: compose_config([f"sampler={name}", *(text for s, text in single if s == name)])[
            0
        ].sampler
        for name in names
    }
    longest = max(num_warmup(s, run.warmup, run.model.prior) for s in samplers.values())
    if longest >= options.steps:
        raise ConfigError(
            f"warmup is {longest} but must be below steps, which is {options.steps}; "
            f"write for example warmup={options.steps // 2} or steps={4 * longest}"
        )
    return ThermalizePlan(options, run, samplers, OmegaConf.to_yaml(tree))
