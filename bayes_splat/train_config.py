"""Options of ``bayes-splat train``. No PyTorch here, so that ``--help`` answers at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from omegaconf import OmegaConf

from bayes_splat import config
from bayes_splat.errors import ConfigError
from bayes_splat.models.training_settings import TrainingSettings
from bayes_splat.options import build, describe, option, unknown

PROCEDURAL = "procedural"


@dataclass(kw_only=True)
class DataOptions(TrainingSettings):
    """What an encoder is trained on, whichever it is."""

    data: str = option(
        PROCEDURAL,
        "procedural: random scenes, made on the spot; or a folder with train/ that holds "
        "pixelSplat's chunks of RealEstate10K or ACID",
    )
    scenes: int = option(
        10_000, "how many procedural scenes there are; then they come again", at_least=1
    )
    cache: str | None = option(
        None, "folder that keeps procedural scenes once they were drawn; null: draw them anew"
    )
    start: str | None = option(
        None, "weights to begin with (.safetensors, or pixelSplat's .ckpt); null: random ones"
    )
    photometric_weight: float = option(1.0, "of the squared error of target pictures", at_least=0)
    lpips_weight: float = option(
        0.0,
        "of their LPIPS, within the photometric loss; needs its package and weights",
        at_least=0,
    )
    validation: int = option(
        32, "procedural scenes to validate on, which training never sees", at_least=1
    )
    figures: int = option(2, "of them that are drawn at every validation", at_least=0)
    out: str = option(
        "outputs/train",
        "folder of checkpoint, weights, log and figures; an earlier run in it is resumed",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lpips_weight and not self.photometric_weight:
            raise ConfigError(
                "lpips_weight is within the photometric loss; photometric_weight is 0"
            )


@dataclass(kw_only=True)
class SmallTraining(DataOptions):
    """experiment=small_encoder: the encoder that is shipped, from depths and pictures."""

    depth_weight: float = option(
        1.0, "of minus the log density of true depths; 0: pictures alone", at_least=0
    )
    steps: int = option(5_000, "optimizer steps of the whole run", at_least=1)
    photometric_weight: float = option(20.0, "of the squared error of target pictures", at_least=0)
    warmup_steps: int = option(200, "steps over which the learning rate rises", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.depth_weight and not self.photometric_weight:
            raise ConfigError("depth_weight and photometric_weight are both 0; nothing is learned")
        if self.depth_weight and self.data != PROCEDURAL:
            raise ConfigError(
                f"data={self.data} has no depths to learn from; write depth_weight=0, or "
                f"data={PROCEDURAL}"
            )


@dataclass(kw_only=True)
class PixelSplatTraining(DataOptions):
    """experiment=pixelsplat: the faithful encoder, from pictures, as the paper trains it."""

    steps: int = option(300_000, "optimizer steps of the whole run", at_least=1)
    batch: int = option(7, "examples a step, of every process", at_least=1)
    learning_rate: float = option(1.5e-4, "of AdamW, at its highest", above=0)
    warmup_steps: int = option(2_000, "steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.0, "of AdamW", at_least=0)
    gradient_clip: float = option(0.5, "most norm of a step's gradient", above=0)
    average: float = option(
        0.0, "decay of the moving average of weights, which is what is kept", at_least=0, below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.photometric_weight:
            raise ConfigError("photometric_weight is 0, but pictures are all that is learned from")


Training: TypeAlias = SmallTraining | PixelSplatTraining

EXPERIMENTS: dict[str, type[Training]] = {
    "small_encoder": SmallTraining,
    "pixelsplat": PixelSplatTraining,
}
"""Name -> its options, the default one first."""


def compose_train(overrides: Sequence[str]) -> tuple[Training, str]:
    """Read and check the command line.

    Args:
        overrides: ``key=value``: ``experiment`` and its options.

    Returns:
        The checked options, and the composed YAML.

    Raises:
        ConfigError: an unknown key or value, or options that do not go together.
    """
    given = dict(config.split(text) for text in overrides)
    name = given.pop("experiment", next(iter(EXPERIMENTS)))
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"experiment={name} does not exist; choose one of {', '.join(EXPERIMENTS)}"
        )
    entries = {entry.field: entry for entry in describe(EXPERIMENTS[name])}
    strange = [key for key in given if key not in entries]
    if strange:
        raise unknown(strange[0], [*entries, "experiment"], command="train")
    texts = [config.readable(entries[key], key, value) for key, value in given.items()]
    tree = config.compose_file("train", [f"experiment={name}", *texts])
    values = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(values, dict)
    return build(EXPERIMENTS[name], {str(k): v for k, v in values.items()}), OmegaConf.to_yaml(tree)
