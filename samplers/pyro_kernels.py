"""The same kernels under ``pyro.infer.MCMC``."""

from collections import OrderedDict
from typing import Any

from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Constrain, Info, Kernel, Position


class VectorizedKernel(MCMCKernel):
    """Lets ``pyro.infer.MCMC`` drive a kernel that moves all chains at once.

        target = PyroTarget(model, args)
        start = target.initial_position(make_generators(seed, num_chains))
        mcmc = MCMC(
            VectorizedKernel(MALA(target), start, target.constrain, seed=seed),
            num_samples=1000, warmup_steps=500,
        )
        mcmc.run()
        mcmc.get_samples()  # constrained, [draw, chain, ...]

    Leave Pyro's ``num_chains`` at 1: the chains are an axis of the samples. The draws are exactly
    those of ``sampling.sample`` with ``make_generators(seed, num_chains)``; the global random state
    is neither read nor changed. ``initial_params`` given to MCMC, unconstrained and with the chain
    as leading axis, replace the start.
    """

    def __init__(
        self,
        kernel: Kernel,
        position: Position,
        constrain: Constrain,
        *,
        seed: int,
    ) -> None:
        """
        Args:
            kernel: what to run.
            position: where the chains start, unconstrained.
            constrain: what to keep of a position.
            seed: of the chains' random streams.
        """
        super().__init__()
        self.kernel = kernel
        self.constrain = constrain
        self.seed = seed
        self.transforms: dict[str, Any] = {}  # for Pyro: samples are constrained already
        self._start = position
        self._begin(0)

    def _begin(self, warmup_steps: int) -> None:
        """Forget an earlier run."""
        self._warmup_steps = warmup_steps
        self._steps = 0
        self._state: Any = None
        self._info: Info | None = None
        self._rates: Tensor | float = 0.0
        self._divergences: list[int] = []

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Begin a run. Arguments of ``MCMC.run`` are not used: the target holds its data."""
        self._begin(warmup_steps)
        self._generators = positions.make_generators(self.seed, positions.num_chains(self._start))
        self._state = self.kernel.init(self._start)

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """The start, constrained: the form in which samples come."""
        return self.constrain(self._start)

    @initial_params.setter
    def initial_params(self, params: Position) -> None:
        self._start = dict(params)

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of all chains from where they are; ``params`` are its own last result."""
        self._state, info = self.kernel.step(
            self._generators, self._state, is_warmup=self._steps < self._warmup_steps
        )
        self._steps += 1
        self._info = info
        if self._steps > self._warmup_steps:
            self._rates = self._rates + info.acceptance_rate
            if info.diverging.any():
                self._divergences.append(self._steps - self._warmup_steps - 1)
        return self.constrain(self._state.position)

    def logging(self) -> "OrderedDict[str, str]":
        """For Pyro's progress bar: means over the chains of the last step."""
        if self._info is None:
            return OrderedDict()
        return OrderedDict(
            [
                ("step size", f"{self._info.step_size.mean():.2e}"),
                ("acc. prob", f"{self._info.acceptance_rate.mean():.3f}"),
            ]
        )

    def diagnostics(self) -> dict[str, Any]:
        """Acceptance rate a chain and the draws at which any chain diverged, after warmup."""
        num_draws = max(self._steps - self._warmup_steps, 1)
        rates = self._rates / num_draws
        return {
            "acceptance rate": rates.tolist() if isinstance(rates, Tensor) else [],
            "divergences": list(self._divergences),
        }
