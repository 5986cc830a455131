"""A short run on a known target."""

from typing import Any

from torch import Tensor

from bayes_splat.samplers.base import Position
from bayes_splat.samplers.mala import MALA
from bayes_splat.samplers.positions import make_generators
from bayes_splat.samplers.sampling import Draws, sample
from tests import helpers_targets as targets


def constrain(position: Position) -> dict[str, Tensor]:
    return {"level": position["level"].exp(), "slope": position["slope"]}


def run(**settings: Any) -> Draws:
    known = targets.correlated()
    chains = settings.pop("chains", 3)
    arguments: dict[str, Any] = {"num_warmup": 10, "num_draws": 6, "constrain": constrain}
    return sample(
        settings.pop("kernel", MALA(known.target)),
        {site: value[:chains] for site, value in known.draw(3, 0).items()},
        make_generators(0, chains),
        **{**arguments, **settings},
    )
