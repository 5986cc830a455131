"""Options of ``bayes-splat evaluate``: its own, and those of reconstruct for every method."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from bayes_splat.config import GROUPS, RunConfig, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.files import distinct_names
from bayes_splat.options import Options, build, option
from bayes_splat.own_options import of_one, separate

_MANY = 10_000

BASELINES = ("deterministic", "proposal", "ensemble", "laplace", "appearance")
"""Methods that are no samplers."""

LEARNED = "+error"
"""After a baseline's name: with the error of new views that samplers learn from held-out context
views, in place of its own noise. What is left of a difference is then not due to that term."""

USUAL = (*BASELINES, "sgld", "mala", "gibbs", "nuts")
"""What is evaluated unless the user says otherwise."""

NOT_HERE = ("sampler", "out", "save", "save_dtype")
"""Options of reconstruct that evaluate does not take."""

_COMMON = ("context", "targets", "resolution", "near", "far", "proposal", "renderer", "threads")
"""What must be the same for all methods."""

OTHERS = (
    f"Any option of reconstruct but {', '.join(NOT_HERE)} may follow and goes to every method; "
    "<sampler>.<option> goes to that sampler, <method>/<key> to the method of that name."
)

EXAMPLES = """
examples:
  bayes-splat evaluate methods=[deterministic,ensemble,gibbs] resolution=32
      three methods on the scene made on the spot
  bayes-splat evaluate scene=photos/garden split=pair_small_0 chains=2 gibbs.patch_sizes=[]
  bayes-splat evaluate --multirun data=photos scene=garden,street split=pair_small_0,pair_large_0
      every scene with every split
  bayes-splat evaluate data=photos methods=[ensemble,gibbs,gibbs:rough] rough/model.prior=uniform
      every two-view split of every scene; one method twice, the second time with another prior
  bayes-splat evaluate runs=[results/monday,results/tuesday] out=results/both
      tables and figures of earlier evaluations together; nothing is run"""


@dataclass(kw_only=True)
class EvaluateConfig(Options):
    """Methods and baselines on the same scenes, judged on target views."""

    methods: list[str] = option(
        list(USUAL),
        "what to evaluate, one after the other: "
        f"{', '.join(BASELINES)}, or a sampler; ensemble+error is ensemble with the error of new "
        "views that samplers learn; a second entry of one kind needs a name: kind:name",
        length=(1, _MANY),
    )
    scenes: list[str] | None = option(
        None, "scenes and splits, such as [fox:pair_small_0,fern:pair_large_1]", length=(1, _MANY)
    )
    data: str | None = option(
        None,
        "folder that scene= and scenes= are looked for in; alone: every split of two context views "
        "with targets or true depth, of every scene in it",
    )
    multirun: bool = option(
        False, "scene= and split= hold lists such as fox,fern; the same as --multirun"
    )
    runs: list[str] | None = option(
        None, "folders of earlier evaluations to be put together; nothing is run", length=(1, _MANY)
    )
    components: int = option(
        128, "draws that make up the predictive mixture", at_least=1, at_most=_MANY
    )
    scale_from: str = option(
        "own",
        "context pixels that one scale of each method is fitted on: own: as rendered; cross: every "
        "context view predicted from the Gaussians of the others",
        choices=("own", "cross"),
    )
    out: str = option("outputs/evaluate", "folder for tables, figures and results; done work stays")

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*BASELINES, *GROUPS["sampler"])
        for entry in self.methods:
            kind = kind_of(entry)
            if kind not in known:
                raise ConfigError(
                    f"methods holds {kind!r}, which does not exist; choose out of "
                    f"{', '.join(known)}"
                )
            if has_learned_error(entry) and kind not in BASELINES:
                raise ConfigError(f"methods holds {entry!r}, but {kind} learns that error anyway")
        labels = [label_of(entry) for entry in self.methods]
        if len(set(labels)) < len(labels):
            raise ConfigError(
                f"methods is {self.methods} but each name may be there only once; write kind:name"
            )


class PlannedScene(NamedTuple):
    """One scene and split to be evaluated.

    Attributes:
        name: of its folder below ``out``.
        scene, split: what stands in the tables.
        configs: by the label of every method.
        settings: by the label: what the results depend on, to tell whether they are still good.
    """

    name: str
    scene: str
    split: str
    configs: dict[str, RunConfig]
    settings: dict[str, list[str]]


class Plan(NamedTuple):
    """What is to be done: the options, and the scenes one after the other."""

    options: EvaluateConfig
    scenes: list[PlannedScene]


def kind_of(entry: str) -> str:
    """The method of an entry of ``methods``."""
    return entry.partition(":")[0].removesuffix(LEARNED)


def has_learned_error(entry: str) -> bool:
    """Whether an entry of ``methods`` is a baseline with the learned error of new views."""
    return entry.partition(":")[0].endswith(LEARNED)


def is_baseline(label: str) -> bool:
    """Whether a name in the tables is that of a baseline."""
    return label.removesuffix(LEARNED) in BASELINES


def label_of(entry: str) -> str:
    """The name under which an entry of ``methods`` stands in the tables."""
    kind, _, name = entry.partition(":")
    return name or kind


def compose_evaluate(overrides: Sequence[str]) -> Plan:
    """Read and check everything before the first method begins.

    Args:
        overrides: ``key=value``: options of evaluate; options of reconstruct, which go to every
            method; ``<sampler>.<option>=value``, which goes to that sampler; and
            ``<method>/<key>=value``, which goes to the method of that name.

    Raises:
        ConfigError: an unknown key, method or value, or options that do not go together.
        SceneError: a scene or split that does not exist.
    """
    own, shared, single = _sorted(overrides)
    options = build(EvaluateConfig, own)
    if options.runs is not None:
        if shared or single:
            given = (shared or [text for _, text in single])[0]
            raise ConfigError(f"{given} does not go with runs=: nothing is run")
        _require_once([str(Path(folder).resolve()) for folder in options.runs])
        return Plan(options, [])
    places = _places(options, shared)
    rest = [text for text in shared if text.partition("=")[0] not in ("scene", "split")]
    settings, configs = {}, {}
    for entry in options.methods:
        label = label_of(entry)
        kind = kind_of(entry)
        is_sampler = kind in GROUPS["sampler"]
        mine = [text for owner, text in single if owner in (label, f".{kind}")]
        settings[label] = [
            *rest,
            f"sampler={kind if is_sampler else 'gibbs'}",
            *mine,
        ]
        configs[label], _ = compose_config(settings[label])
        settings[label] += [
            f"method={entry.partition(':')[0]}",
            f"components={options.components}",
            f"scale_from={options.scale_from}",
        ]
    _require_known(single, options.methods)
    _require_same_views(configs)
    scenes = list(dict.fromkeys(scene for scene, _ in places))
    short = (name.replace("/", "-") for name in distinct_names(scenes))  # they name folders
    names = dict(zip(scenes, short, strict=True))
    return Plan(options, [_planned(place, names[place[0]], configs, settings) for place in places])


def _planned(
    place: tuple[str, str | None],
    short: str,
    configs: dict[str, RunConfig],
    settings: dict[str, list[str]],
) -> PlannedScene:
    scene, split = place
    here = {name: replace(one, scene=scene, split=split) for name, one in configs.items()}
    return PlannedScene(
        name=f"{short}-{split}" if split else short,
        scene=short,
        split=split or "",
        configs=here,
        settings={name: [f"scene={scene}", f"split={split}", *settings[name]] for name in here},
    )


def _sorted(
    overrides: Sequence[str],
) -> tuple[dict[str, object], list[str], list[tuple[str, str]]]:
    """Options of evaluate, those for all methods, and those for one, with its owner."""
    own, others = separate(EvaluateConfig, overrides, "evaluate", "chains=2")
    shared: list[str] = []
    single: list[tuple[str, str]] = []
    for key, value in others:
        text = f"{key}={value}"
        owner, slash, rest = key.partition("/")
        found = of_one(key, value, "sampler")
        if slash:
            single.append((owner, f"{rest}={value}"))
        elif key in NOT_HERE or key.partition(".")[0] == "sampler":
            raise ConfigError(
                f"{text} does not go with evaluate; write methods=[mala,gibbs], mala.step_size=0.1 "
                "for an option of one sampler, and out=<folder>"
            )
        elif found is not None:
            single.append((f".{found[0]}", found[1]))
        else:
            shared.append(text)
    return own, shared, single


def _require_known(single: Sequence[tuple[str, str]], methods: Sequence[str]) -> None:
    owners = {label_of(entry) for entry in methods} | {f".{kind_of(entry)}" for entry in methods}
    for owner, text in single:
        if owner not in owners:
            raise ConfigError(
                f"{text} is for {owner.lstrip('.')}, but methods is [{', '.join(methods)}]"
            )


def _require_same_views(configs: dict[str, RunConfig]) -> None:
    first, one = next(iter(configs.items()))
    for name, other in configs.items():
        for key in _COMMON:
            if getattr(other, key) != getattr(one, key):
                raise ConfigError(
                    f"{key} differs between {first} and {name}, but all methods are judged on the "
                    "same pictures and Gaussians; give it once, without <method>/"
                )


def _places(options: EvaluateConfig, shared: Sequence[str]) -> list[tuple[str, str | None]]:
    """(folder, split) of every scene."""
    given = dict(text.split("=", 1) for text in shared)
    named = [key for key in ("scene", "split") if key in given]
    if options.scenes is not None:
        if named:
            raise ConfigError(f"scenes and {named[0]} are given both; give one of them")
        found = [_folder_and_split(text, options.data) for text in options.scenes]
    elif named or options.data is None:
        scenes, parts = (
            text.split(",") if options.multirun and text is not None else [text]
            for text in (given.get("scene", "demo"), given.get("split"))
        )
        found = [(_in(options.data, scene or ""), part) for scene, part in product(scenes, parts)]
    else:
        found = _every_pair(Path(options.data))
    from bayes_splat.scenes import loader, splits  # late: PyTorch, and --help must not wait

    for folder, split in found:
        if folder != "demo":
            loader.find(Path(folder))
        if split is not None:
            splits.load_split(Path(folder), split)
    _require_once([":".join(part for part in place if part) for place in found])
    return found


def _require_once(given: Sequence[str]) -> None:
    """Rows that count twice would make intervals look narrower than they are."""
    for text, number in Counter(given).items():
        if number > 1:
            raise ConfigError(f"{text} is given {number} times; once is enough")


def _folder_and_split(text: str, data: str | None) -> tuple[str, str | None]:
    scene, colon, split = text.rpartition(":")
    return (_in(data, scene), split) if colon else (_in(data, text), None)


def _in(data: str | None, scene: str) -> str:
    return scene if data is None or scene == "demo" else str(Path(data) / scene)


def _every_pair(data: Path) -> list[tuple[str, str | None]]:
    """Every split of two context views with something to judge by, of every scene in a folder."""
    from bayes_splat.scenes import splits  # late, see above

    found: list[tuple[str, str | None]] = []
    for folder in sorted(path.parent for path in data.glob(f"*/{splits.FILE_NAME}")):
        for name in splits.names(folder):
            split = splits.load_split(folder, name)
            if len(split.context) == 2 and (split.targets or split.depth_eval):
                found.append((str(folder), name))
    if not found:
        raise ConfigError(
            f"data is {data} but no folder in it has a {splits.FILE_NAME} with a split of two "
            "context views and with targets"
        )
    return found
