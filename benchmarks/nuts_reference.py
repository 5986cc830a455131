"""Long runs of Pyro's NUTS on the models of the tests: ``python benchmarks/nuts_reference.py``.

Prints what ``tests/helpers_pyro_models.py`` holds as constants: means of functions of the draws,
with their Monte Carlo errors.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyro
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from bayes_splat import convergence
from tests import helpers_pyro_models as models

DRAWS, WARMUP = 10_000, 1_000


def reference(model: Callable[[], None], functions: Callable[[dict[str, Tensor]], Tensor]) -> None:
    pyro.set_rng_seed(0)
    kernel = NUTS(model, jit_compile=True, ignore_jit_warnings=True, target_accept_prob=0.9)
    mcmc = MCMC(kernel, num_samples=DRAWS, warmup_steps=WARMUP, disable_progbar=True)
    mcmc.run()
    values = functions(mcmc.get_samples()).numpy()[None]
    error = convergence.mcse_mean(values)
    print(model.__name__)
    for mean, limit in zip(values.mean((0, 1)), np.atleast_1d(error), strict=True):
        print(f"    ({mean:.5f}, {limit:.5f}),")


if __name__ == "__main__":
    torch.set_num_threads(1)
    reference(models.eight_schools, models.schools_functions)
    reference(models.logistic_regression, models.regression_functions)
