"""Options of ``bayes-splat evaluate-encoder``: its own, and those of the proposals it measures."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import OmegaConf

from bayes_splat.config import GROUPS, compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.options import Options, build, describe, option, unknown
from bayes_splat.own_options import of_one, require_owners, separate

DATA = "BAYES_SPLAT_DATA"
"""Environment variable that names the folder of scenes where ``data`` does not."""

_NONE = "none"


@dataclass(kw_only=True)
class EvaluateEncoderConfig(Options):
    """Proposals on scenes whose depth or further views are known."""

    proposals: list[str] = option(
        ["encoder", "plane_sweep"], "what is measured, side by side", length=(1, 10)
    )
    scenes: str = option(
        "procedural",
        "random scenes with exact depth, made on the spot, or none of these",
        choices=("procedural", _NONE),
    )
    split: str = option(
        "test", "which of the random scenes; no two share any", choices=("train", "val", "test")
    )
    number: int = option(50, "how many of them", at_least=1)
    seed: int = option(0, "seed of the first of them; the others count on", at_least=0)
    targets: int = option(1, "views of each of them that are held out", at_least=1, at_most=100)
    data: str | None = option(
        None,
        "folder of scene folders: every split of two context views of every scene is measured; "
        f"null: what {DATA} names, if it is set; none: no such scenes",
    )
    re10k: str | None = option(
        None, "folder with test/ in pixelSplat's format (RealEstate10K or ACID); needs index"
    )
    index: str | None = option(
        None, "evaluation index for re10k: a JSON file that names context and target frames"
    )
    resolution: int = option(
        64,
        "pixels on the long side; scenes of re10k are cut to squares of it (officially 256)",
        at_least=16,
    )
    most: int | None = option(
        None, "examples of each source, evenly spread over it; null: all", at_least=1
    )
    panels: int = option(3, "examples of each source that are drawn", at_least=0, at_most=20)
    out: str = option("outputs/evaluate_encoder", "folder for tables and figures")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.proposals:
            if name not in GROUPS["proposal"]:
                raise ConfigError(
                    f"proposals holds {name!r}, which does not exist; choose out of "
                    f"{', '.join(GROUPS['proposal'])}"
                )
        if len(set(self.proposals)) < len(self.proposals):
            raise ConfigError(f"proposals is {self.proposals} but each may be named only once")
        if (self.re10k is None) != (self.index is None):
            given, lacking = ("re10k", "index") if self.index is None else ("index", "re10k")
            raise ConfigError(f"{given} is given without {lacking}; give both or neither")
        if self.scenes == _NONE and self.re10k is None and self.folder is None:
            raise ConfigError(
                "there is nothing to measure on: scenes is none; give data=<folder of scenes>, or "
                "re10k=<folder> index=<file>"
            )

    @property
    def folder(self) -> Path | None:
        """The folder of scene folders, if any."""
        named = os.environ.get(DATA) or None if self.data is None else self.data
        return None if named in (None, _NONE) else Path(str(named)).expanduser()


class EvaluateEncoderPlan(NamedTuple):
    """Everything checked before anything is computed.

    Attributes:
        options: of the command.
        proposals: by name, each with its options.
        renderer: name of the renderer.
        composed: all of it as YAML.
    """

    options: EvaluateEncoderConfig
    proposals: dict[str, PlaneSweepConfig | EncoderConfig]
    renderer: str
    composed: str


def compose_evaluate_encoder(overrides: Sequence[str]) -> EvaluateEncoderPlan:
    """Read and check the command line.

    Args:
        overrides: ``key=value``: options of evaluate-encoder, ``renderer=<name>``, and
            ``<proposal>.<option>=value``, which goes to that proposal.

    Raises:
        ConfigError: an unknown key or value, or options that do not go together.
    """
    own, others = separate(EvaluateEncoderConfig, overrides, "evaluate-encoder", "number=20")
    shared: list[str] = []
    single: list[tuple[str, str]] = []
    for key, value in others:
        text = f"{key}={value}"
        found = of_one(key, value, "proposal")
        if key.partition(".")[0] == "proposal":
            raise ConfigError(
                f"{text} is for one run; write proposals=[encoder,plane_sweep], and "
                "plane_sweep.window=5 for an option of one of them"
            )
        if key == "renderer":
            shared.append(text)
        elif found is not None:
            single.append(found)
        else:
            own_names = [entry.field for entry in describe(EvaluateEncoderConfig)]
            raise unknown(key, [*own_names, "renderer"], command="evaluate-encoder")
    options = build(EvaluateEncoderConfig, own)
    require_owners(single, options.proposals, "proposal")
    renderer = compose_config(shared)[0].renderer.name
    proposals, told = {}, {}
    for name in options.proposals:
        chosen = [f"proposal={name}", *(text for section, text in single if section == name)]
        run, tree = compose_config(chosen)
        proposals[name], told[name] = run.proposal, OmegaConf.to_container(tree.proposal)
    everything = {**vars(options), "renderer": renderer, "proposal": told}
    return EvaluateEncoderPlan(
        options, proposals, renderer, OmegaConf.to_yaml(OmegaConf.create(everything))
    )
