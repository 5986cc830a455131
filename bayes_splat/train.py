"""``bayes-splat train``: data, network and loss of an experiment, put into the training loop."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bayes_splat import image_metrics, report, train_figures
from bayes_splat.errors import ConfigError, ModelError
from bayes_splat.files import atomic_path
from bayes_splat.models import training
from bayes_splat.models.encoder import checkpoints
from bayes_splat.models.encoder.architecture import EncoderSizes
from bayes_splat.models.encoder.encoder import PixelSplatEncoder
from bayes_splat.models.encoder.objective import PixelSplatObjective
from bayes_splat.models.photometric import Perceptual
from bayes_splat.models.small_encoder import weights
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.models.small_encoder.objective import SmallObjective
from bayes_splat.models.small_encoder.sizes import Sizes
from bayes_splat.models.training import Examples, Figures, Hooks, Objective
from bayes_splat.rendering.renderer import make_renderer
from bayes_splat.scenes.examples import Example
from bayes_splat.scenes.re10k import Re10kTraining
from bayes_splat.scenes.re10k_views import BoundedViews
from bayes_splat.scenes.training_scenes import training_examples, validation_examples
from bayes_splat.train_config import PROCEDURAL, PixelSplatTraining, SmallTraining, Training

WEIGHTS = "weights.safetensors"


class Trainee(NamedTuple):
    """What is trained.

    Attributes:
        model: with its first weights.
        objective: see ``training``.
        keep: writes weights with a note of where they come from.
    """

    model: nn.Module
    objective: Objective
    keep: Callable[[nn.Module, Path, dict[str, str]], None]


def train(
    config: Training,
    composed: str = "",
    tell: Callable[[str], None] = print,
    sizes: Sizes | EncoderSizes | None = None,
) -> str:
    """Train to the end, resuming what lies in ``config.out``.

    Args:
        config: the experiment.
        composed: YAML to be kept beside the results.
        tell: takes lines of the log.
        sizes: of the network; None takes the real ones.

    Returns:
        Where things are, for the screen.

    Raises:
        ConfigError: LPIPS is wanted but not at hand.
        ModelError: weights or a checkpoint that do not fit.
        SceneError: the data cannot be read.
    """
    out = Path(config.out)
    trainee = make_trainee(config, sizes)
    with atomic_path(out / "config.yaml") as partial:
        partial.write_text(composed, encoding="utf-8")
    cache = None if config.cache is None else Path(config.cache)
    held_out = validation_examples(config.validation, cache)

    def validate(model: nn.Module, step: int) -> Figures:
        for number, example in enumerate(held_out[: config.figures]):
            with torch.no_grad():
                figure = train_figures.figure(model, example, f"step {step}")
            report.save_figure(out / f"validation_{number}.png", figure)
        return mean_figures(model, trainee.objective, held_out)

    def keep(model: nn.Module, step: int) -> None:
        origin = {"steps": str(step), "batch": str(config.batch), "seed": str(config.seed)}
        trainee.keep(model, out / WEIGHTS, origin)

    hooks = Hooks(validate, keep, tell)
    training.train(trainee.model, trainee.objective, examples(config), config, out, hooks)
    return f"Weights lie in {out / WEIGHTS}, the log in {out / training.LOG}"


def make_trainee(config: Training, sizes: Sizes | EncoderSizes | None = None) -> Trainee:
    """Network, loss and file format of an experiment.

    Raises:
        ConfigError: LPIPS is wanted but not at hand.
        ModelError: the first weights do not fit.
    """
    torch.manual_seed(config.seed)
    renderer = make_renderer("auto")
    perceptual = _perceptual(config.lpips_weight)
    if isinstance(config, SmallTraining):
        assert sizes is None or isinstance(sizes, Sizes)
        small = SmallEncoder(sizes) if config.start is None else weights.load(config.start)
        objective = SmallObjective(
            renderer,
            config.depth_weight,
            config.photometric_weight,
            perceptual,
            config.lpips_weight,
        )
        return Trainee(small.train().requires_grad_(True), objective, _keep_small)
    assert isinstance(config, PixelSplatTraining)
    assert sizes is None or isinstance(sizes, EncoderSizes)
    faithful = (
        PixelSplatEncoder(sizes)
        if config.start is None
        else checkpoints.load_checkpoint(config.start)
    )
    pictures = PixelSplatObjective(
        renderer,
        config.photometric_weight,
        perceptual,
        config.lpips_weight,
        is_half=config.precision == "bf16",
    )
    return Trainee(faithful.train().requires_grad_(True), pictures, _keep_faithful)


def examples(config: Training) -> Examples:
    """The examples of an experiment, from any number on."""
    if config.data == PROCEDURAL:
        cache = None if config.cache is None else Path(config.cache)
        return lambda start, step: training_examples(
            start, step, seed=config.seed, num_scenes=config.scenes, folder=cache
        )

    def chunks(start: int, step: int) -> Iterator[Example]:
        data = Re10kTraining(
            Path(config.data),
            BoundedViews(),
            config.seed,
            batch_size=config.batch * step,
            rank=start % step,
            ranks=step,
        )
        # What came before is read and thrown away, so that the order is that of an unbroken run.
        return itertools.islice(iter(data), start // step, None)

    return chunks


def mean_figures(model: nn.Module, objective: Objective, held_out: list[Example]) -> Figures:
    """Means over examples; of each the same random numbers at every validation."""
    totals: Figures = {}
    with torch.no_grad():
        for number, example in enumerate(held_out):
            generator = torch.Generator().manual_seed(number)
            loss, figures = objective(model, example, generator)
            for name, value in {"loss": float(loss), **figures}.items():
                totals[name] = totals.get(name, 0.0) + value / len(held_out)
    return totals


def _perceptual(weight: float) -> Perceptual | None:
    if not weight:
        return None
    found = image_metrics.find_lpips()
    if found.network is None:
        raise ConfigError(f"lpips_weight is {weight:g} but {found.reason}; write lpips_weight=0")
    network = found.network

    def distance(pictures: Tensor, truth: Tensor) -> Tensor:
        value: Tensor = network.to(pictures.device)(pictures, truth, normalize=True)
        return value.mean()

    return distance


def _keep_small(model: nn.Module, path: Path, origin: dict[str, str]) -> None:
    if not isinstance(model, SmallEncoder):
        raise ModelError(f"{type(model).__name__} is no small encoder")
    weights.save(model, path, origin)


def _keep_faithful(model: nn.Module, path: Path, origin: dict[str, str]) -> None:
    if not isinstance(model, PixelSplatEncoder):
        raise ModelError(f"{type(model).__name__} is not pixelSplat's encoder")
    checkpoints.save_checkpoint(model, path, origin)
