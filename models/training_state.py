"""Where a training run stands: what a checkpoint holds beside the weights."""

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bayes_splat.errors import ModelError

NAME = "training.pt"


@dataclass(frozen=True)
class TrainingState:
    """Steps done, and the moving average of the weights.

    Attributes:
        step: optimizer steps done; also the counter of examples and their random numbers.
        average: by name, as in the network's ``state_dict``.
    """

    step: int
    average: dict[str, Tensor]

    def advanced(self, model: nn.Module, decay: float) -> "TrainingState":
        """One step later; early averages forget faster, as their first weights mean nothing."""
        step = self.step + 1
        share = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, share)
                else:
                    self.average[name].copy_(value)
        return TrainingState(step, self.average)

    def averaged(self, model: nn.Module) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        made = copy.deepcopy(model)
        made.__dict__.pop("forward", None)  # mixed precision is for training
        made.load_state_dict(self.average)
        return made.eval().requires_grad_(False)

    def to(self, device: torch.device) -> "TrainingState":
        """The same elsewhere."""
        return TrainingState(
            self.step, {name: value.to(device) for name, value in self.average.items()}
        )


def save_state(folder: Path, model: nn.Module, optimizer: Any, state: TrainingState) -> None:
    """Write the checkpoint; an interruption leaves the earlier one."""
    content = {
        "step": state.step,
        "model": model.state_dict(),
        "average": state.average,
        "optimizer": optimizer.state_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{NAME}.partial"
    torch.save(content, partial)
    partial.rename(folder / NAME)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Fill network and optimizer from the folder's checkpoint; without one, the very beginning.

    Raises:
        ModelError: the checkpoint is broken or of another network.
    """
    path = folder / NAME
    if not path.exists():
        return TrainingState(0, {k: v.detach().clone() for k, v in model.state_dict().items()})
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        return TrainingState(int(content["step"]), dict(content["average"]))
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path} is no checkpoint of this network ({reason}); move it away to begin anew, or "
            "choose another folder with out=<folder>"
        ) from error
