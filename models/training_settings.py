"""Options of training. No PyTorch here, so that ``--help`` answers at once."""

from dataclasses import dataclass

from bayes_splat.options import Options, option


@dataclass(kw_only=True)
class TrainingSettings(Options):
    """How an encoder is trained, whichever it is."""

    steps: int = option(10_000, "optimizer steps of the whole run", at_least=1)
    batch: int = option(2, "examples a step, of every process", at_least=1)
    learning_rate: float = option(1e-3, "of AdamW, at its highest", above=0)
    warmup_steps: int = option(300, "steps over which the learning rate rises", at_least=0)
    weight_decay: float = option(0.01, "of AdamW", at_least=0)
    gradient_clip: float = option(1.0, "most norm of a step's gradient", above=0)
    average: float = option(
        0.999, "decay of the moving average of weights, which is what is kept", at_least=0, below=1
    )
    precision: str = option(
        "float32", "of the network's products; bf16: mixed", choices=("float32", "bf16")
    )
    seed: int = option(0, "of weights and examples", at_least=0)
    log_every: int = option(50, "steps between lines of the log", at_least=1)
    validate_every: int = option(500, "steps between validations", at_least=1)
    checkpoint_every: int = option(250, "steps between checkpoints", at_least=1)
    seconds: float | None = option(
        None, "stop after so long with a checkpoint, to be resumed; null: run to the end", above=0
    )
