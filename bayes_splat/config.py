"""All options of a run: key=value in, checked dataclasses out. Hydra stays in this file.

The defaults stand twice, in the YAML files that Hydra composes and in the dataclasses that Python
users make directly; ``tests/test_config.py`` compares the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bayes_splat.errors import ConfigError
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import ModelConfig, PlaneSweepConfig
from bayes_splat.options import Entry, Options, build, describe, option, unknown
from bayes_splat.sampler_config import SAMPLERS, GibbsConfig, Sampler, num_warmup

_MANY = 1000


@dataclass(kw_only=True)
class RendererConfig(Options):
    """auto: fast and always at hand; cpu: compiled; cuda: NVIDIA GPU; reference: plain PyTorch."""

    section: ClassVar[str] = "renderer"

    name: str = option(
        "auto", "what draws the pictures", choices=("auto", "cpu", "cuda", "reference")
    )


GROUPS: dict[str, dict[str, type[Options]]] = {
    "proposal": {"encoder": EncoderConfig, "plane_sweep": PlaneSweepConfig},
    "model": {"default": ModelConfig},
    "sampler": SAMPLERS,
    "renderer": {
        "auto": RendererConfig,
        "cpu": RendererConfig,
        "cuda": RendererConfig,
        "reference": RendererConfig,
    },
}
"""Group -> its choices, the default one first."""


@dataclass(kw_only=True)
class RunConfig(Options):
    """Everything that one run of the main job depends on.

    Raises:
        ConfigError: a value is of the wrong type or out of its range, or two do not go together.
    """

    scene: str = option(
        "demo", "folder with images/ and transforms.json, or demo for a scene made on the spot"
    )
    split: str | None = option(
        None,
        "an entry of the folder's splits.json; it sets context, targets, near and far where these "
        "are not given",
    )
    context: list[int] | None = option(
        None,
        "frames that the model sees, two or more; null: those of the split, else [0,1]",
        at_least=0,
        length=(2, _MANY),
    )
    targets: list[int] | None = option(
        None,
        "frames held out for the scores; null: those of the split, else all of demo, else up to "
        "four that stand nearest to the context",
        at_least=0,
        length=(1, _MANY),
    )
    resolution: int = option(64, "pixels on the long side of every picture", at_least=8)
    near: float | None = option(
        None, "nearest depth looked at, scene units; null: the split's or the scene's", above=0
    )
    far: float | None = option(
        None, "farthest depth looked at, scene units; null: the split's or the scene's", above=0
    )
    chains: int = option(4, "independent chains, run side by side", at_least=1, at_most=64)
    draws: int = option(60, "draws kept a chain", at_least=1)
    warmup: int | None = option(
        None,
        "steps before the first draw, in which the sampler tunes itself; null: 30 for gibbs, which "
        "has nothing to tune unless it makes MALA or patch moves, 100 for others",
        at_least=0,
    )
    thinning: int = option(1, "steps a draw; the others are thrown away", at_least=1)
    seed: int = option(0, "start of all randomness; the same seed gives the same draws", at_least=0)
    time_limit: float | None = option(
        None, "seconds of sampling after which the run stops and keeps what it has", above=0
    )
    sampling_limit: float | None = option(
        None,
        "seconds of draws, warmup not counted, after which the run is complete with what it has",
        above=0,
    )
    save: list[str] = option(
        ["all"],
        "sites whose draws are kept in posterior.nc, such as [depth,noise_scale]; or all, or none",
        length=(1, _MANY),
    )
    save_dtype: str = option(
        "float32", "precision of kept draws", choices=("float16", "float32", "float64")
    )
    on_failure: str = option(
        "stop_chain",
        "what happens to a chain that is no longer finite; the others go on in any case but raise",
        choices=("continue", "stop_chain", "restart_chain", "raise"),
    )
    threads: int | None = option(
        None,
        "threads of PyTorch; null: its own choice. Results do not depend on it",
        at_least=1,
        at_most=1024,
    )
    out: str | None = option(None, "folder for the results; null: outputs/<scene>-<date>-<time>")

    proposal: EncoderConfig | PlaneSweepConfig = field(default_factory=EncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    sampler: Sampler = field(default_factory=GibbsConfig)
    renderer: RendererConfig = field(default_factory=RendererConfig)

    @property
    def num_warmup(self) -> int:
        """Steps of warmup, the sampler's usual number where none is given."""
        return num_warmup(self.sampler, self.warmup, self.model.prior)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, frames in (("context", self.context), ("targets", self.targets)):
            if frames is not None and len(set(frames)) < len(frames):
                raise ConfigError(f"{name} is {frames} but each frame may be named only once")
        both = sorted({*(self.context or ())} & {*(self.targets or ())})
        if both:
            raise ConfigError(
                f"targets is {self.targets} but {both} is in context too; "
                "a target must be a frame that the model does not see"
            )
        if self.near is not None and self.far is not None and self.near >= self.far:
            raise ConfigError(f"near is {self.near:g} but must be below far, which is {self.far:g}")


def compose_config(overrides: Sequence[str] = ()) -> tuple[RunConfig, DictConfig]:
    """Compose the shipped YAML files with what the user wants changed.

    Args:
        overrides: ``key=value`` as on the command line. ``sampler=mala`` picks a group,
            ``sampler.step_size=0.1`` changes an option of it; the last of equal keys wins.
            Paths need no quotes, whatever characters they have.

    Returns:
        The checked options, and the composed tree to be saved beside the results.

    Raises:
        ConfigError: an unknown key or choice, a value of the wrong type or out of its range.
    """
    given = dict(split(text) for text in overrides)
    choices = {group: _choice(group, given) for group in GROUPS}
    tree = compose_file("main", [_readable(key, value, choices) for key, value in given.items()])
    try:
        values = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"an option refers to what does not exist: {_line(error)}") from error
    values = cast(dict[str, Mapping[str, object]], values)
    groups = {group: build(cls, values.pop(group)) for group, cls in choices.items()}
    return build(RunConfig, values, **groups), tree


def load_saved(path: Path | str) -> tuple[RunConfig, str]:
    """The options of an earlier run, from the ``config.yaml`` beside its results.

    Returns:
        The checked options, and the file's text.

    Raises:
        ConfigError: there is no such file, or it is not one of this version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except (OSError, UnicodeDecodeError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as the options of a run: {_line(error)}"
        ) from error
    if not isinstance(values, dict) or not set(GROUPS) <= set(values):
        raise ConfigError(
            f"{path} does not hold the options of a run; it needs {', '.join(GROUPS)}"
        )
    known = cast(dict[str, Any], values)
    groups = {}
    for group, choices in GROUPS.items():
        section = known.pop(group)
        name = section.get("name", next(iter(choices)))
        if name not in choices:
            raise ConfigError(f"{path}: {group}={name} is none of {', '.join(choices)}")
        groups[group] = build(choices[name], section)
    return build(RunConfig, known, **groups), text


def split(text: str) -> tuple[str, str]:
    """Key and value of ``key=value``.

    Raises:
        ConfigError: there is no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is not an option; write key=value, for example chains=2")
    return key.strip(), value


def _choice(group: str, given: Mapping[str, str]) -> type[Options]:
    choices = GROUPS[group]
    name = given.get(group, next(iter(choices)))
    if name not in choices:
        raise ConfigError(f"{group}={name} does not exist; choose one of {', '.join(choices)}")
    return choices[name]


def _readable(key: str, value: str, choices: Mapping[str, type[Options]]) -> str:
    if key in GROUPS:
        return f"{key}={value}"
    section, _, name = key.rpartition(".")
    if section and section not in choices:
        raise unknown(section, list(choices))
    entries = {entry.field: entry for entry in describe(choices.get(section, RunConfig))}
    if name not in entries:
        _refuse_of_another_choice(section, name)
        raise unknown(name, [*entries, *([] if section else GROUPS)], section)
    if section and name == "name":
        raise ConfigError(f"{key}={value} does not choose a {section}; write {section}={value}")
    return readable(entries[name], key, value)


def _refuse_of_another_choice(group: str, name: str) -> None:
    """Say it where an option exists, but under another choice of its group."""
    for choice, cls in GROUPS.get(group, {}).items():
        if name in {entry.field for entry in describe(cls)}:
            raise ConfigError(f"{group}.{name} is an option of {group}={choice}; write that too")


def readable(entry: Entry, key: str, value: str) -> str:
    """An override as Hydra reads it; free text is quoted so that any path goes through.

    Raises:
        ConfigError: more than one value, or none that can be read.
    """
    if entry.is_list_of_text and value[:1] != "[":
        value = f"[{value}]"
    if entry.is_free_text and not (entry.is_optional and value == "null"):
        value = _quoted(value)
    _require_one_value(key, value)
    return f"{key}={value}"


def _quoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value
    if value.startswith("~"):
        value = str(Path(value).expanduser())
    return QuotedString(value.replace("${", "\\${"), Quote.single).with_quotes()


def _require_one_value(key: str, value: str) -> None:
    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException as error:
        raise ConfigError(f"cannot read {key}={value}: {_line(error)}") from error
    if override.is_sweep_override():
        raise ConfigError(f"{key}={value} is more than one value; write a list as {key}=[{value}]")


def compose_file(name: str, overrides: list[str]) -> DictConfig:
    """One of our YAML files with what it refers to.

    Raises:
        ConfigError: it cannot be composed.
    """
    try:
        with _own_hydra():
            return compose(name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"cannot compose {' '.join(overrides)}: {_line(error)}") from error


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra with our files, leaving that of a calling program as it was."""
    shared = GlobalHydra.instance()
    theirs, shared.hydra = shared.hydra, None
    try:
        with initialize_config_module("bayes_splat.configs", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
