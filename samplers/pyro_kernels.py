"""The same kernels under ``pyro.infer.MCMC``."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from bayes_splat.samplers import positions
from bayes_splat.samplers.base import Constrain, Info, Kernel, Position
from bayes_splat.samplers.failures import Failure, FailurePolicy, Supervisor
from bayes_splat.samplers.sampling import STATS, WARMUP_STATS, merge_stats
from bayes_splat.samplers.schedules import may_keep
from bayes_splat.samplers.store import MemoryStore, Store


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

    ``stats`` and ``warmup_stats`` hold what ``sampling.Draws`` does, [chain, draw] by ArviZ's
    names. A chain that fails is treated as ``on_failure`` says; under "stop_chain" its samples
    stay at the last good state, and ``stats["stopped"]`` tells from where on.
    """

    def __init__(
        self,
        kernel: Kernel,
        position: Position,
        constrain: Constrain,
        *,
        seed: int,
        on_failure: FailurePolicy | None = None,
        report: Callable[[Failure], None] | None = None,
    ) -> None:
        """
        Args:
            kernel: what to run.
            position: where the chains start, unconstrained.
            constrain: what to keep of a position.
            seed: of the chains' random streams.
            on_failure: what to do with a chain that fails; None: stop that chain.
            report: told of every failure as it happens.
        """
        super().__init__()
        self.kernel = kernel
        self.constrain = constrain
        self.seed = seed
        self.on_failure = on_failure or FailurePolicy()
        self.report = report
        self.transforms: dict[str, Any] = {}  # for Pyro: samples are constrained already
        self._start = position
        self._begin(0)

    def _begin(self, warmup_steps: int) -> None:
        """Forget an earlier run."""
        self._warmup_steps = warmup_steps
        self._steps = 0
        self._state: Any = None
        self._info: Info | None = None
        self._store: Store = MemoryStore()

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Begin a run. Arguments of ``MCMC.run`` are not used: the target holds its data."""
        self._begin(warmup_steps)
        generators = positions.make_generators(self.seed, positions.num_chains(self._start))
        self._supervisor = Supervisor(self.kernel, generators, self.on_failure, self.report)
        self._state = self.kernel.init(self._start)

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """The start, constrained: the form in which samples come."""
        return self.constrain(self._start)

    @initial_params.setter
    def initial_params(self, params: Position) -> None:
        self._start = dict(params)

    def sample(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """One draw of all chains from where they are; ``params`` are its own last result.

        That is one step, and as many more as a cyclical schedule leaves out of the draws.
        """
        is_warmup = self._steps < self._warmup_steps
        self._steps += 1
        number = self._steps if is_warmup else self._steps - self._warmup_steps
        phase = "warmup" if is_warmup else "sampling"
        made = [self._step(phase, number)]
        # Cyclical schedules explore in states that are not to be kept.
        while not (
            is_warmup
            or may_keep(self.kernel, self._state)
            or bool(self._supervisor.is_stopped.all())
        ):
            made.append(self._step(phase, number))
        stats = merge_stats(made, self._supervisor.is_stopped)
        self._store.append(WARMUP_STATS if is_warmup else STATS, stats)
        return self.constrain(self._state.position)

    def _step(self, phase: str, number: int) -> tuple[Info, Tensor]:
        """One step, and which chains were restarted in it."""
        self._state, self._info, restarted = self._supervisor.step(self._state, phase, number)
        return self._info, restarted

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
        stats = self.stats
        if not stats:
            return {"acceptance rate": [], "divergences": []}
        return {
            "acceptance rate": stats["acceptance_rate"].nanmean(1).tolist(),
            "divergences": stats["diverging"].any(0).nonzero()[:, 0].tolist(),
        }

    @property
    def stats(self) -> dict[str, Tensor]:
        """Of every step after warmup, [chain, draw]; empty before the first."""
        return dict(self._store.read(STATS))

    @property
    def warmup_stats(self) -> dict[str, Tensor]:
        """The same of warmup."""
        return dict(self._store.read(WARMUP_STATS))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Of single chains, in the order in which they came."""
        return tuple(self._supervisor.failures) if self._state is not None else ()
