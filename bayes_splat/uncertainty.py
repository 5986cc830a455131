"""Pictures of a posterior: moments, predictive scores and quantiles streamed over its draws.

The predictive distribution of a pixel's channel is the mixture over draws of
Normal(render, noise_scale). Its variance is the variance of the renders (epistemic: it shrinks with
more photographs) plus the mean of the noise variances (aleatoric: it does not).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bayes_splat.types import Rendering

QUANTILES = (0.05, 0.5, 0.95)
"""The quantiles of the predictive mixture that ``Prediction.quantiles`` holds, in this order."""


class Prediction(NamedTuple):
    """What the posterior says of every pixel of every target view.

    Colours lie in [0, 1] and depths are camera z in scene units, as in ``types.Rendering``. Depth
    moments are over the draws in which something covers the pixel; NaN where none does.

    Attributes:
        mean: posterior mean of the renders.
        epistemic_std: standard deviation of the renders over draws.
        aleatoric_std: root mean square of ``noise_scale``; where an error of new views was learned
            (``discrepancy``), what that has beyond the epistemic part.
        std: of the predictive distribution, epistemic and aleatoric together.
        depth_mean, depth_epistemic_std: of the rendered depth over draws.
        depth_std: what depth is wrong by; the same as the former where no error of new views was
            learned (``depth_error``).
        alpha_mean: mean accumulated opacity.
        quantiles: of the predictive distribution at ``QUANTILES``; those of a mixture over draws
            from at most ``max_kept`` renders.
        pit: predictive distribution function at the observed value; None without photographs.
        nll: minus the log predictive density there, nats a channel; None without photographs.
        num_draws: draws summed up, all chains together.
    """

    mean: Float[np.ndarray, "view height width 3"]
    epistemic_std: Float[np.ndarray, "view height width 3"]
    aleatoric_std: Float[np.ndarray, "view height width 3"]
    std: Float[np.ndarray, "view height width 3"]
    depth_mean: Float[np.ndarray, "view height width"]
    depth_epistemic_std: Float[np.ndarray, "view height width"]
    depth_std: Float[np.ndarray, "view height width"]
    alpha_mean: Float[np.ndarray, "view height width"]
    quantiles: Float[np.ndarray, "quantile view height width 3"]
    pit: Float[np.ndarray, "view height width 3"] | None
    nll: Float[np.ndarray, "view height width 3"] | None
    num_draws: int


class PredictionAccumulator:
    """Feeds on one draw of all chains at a time and forgets it, but for a thin even selection.

    Memory: about ten float64 maps, and ``max_kept`` float32 renders for the quantiles, however many
    draws pass. Nothing is random: of the draws every ``stride``-th is kept, and the stride doubles
    whenever the selection is full.

    Args:
        observed: photographs of the target views in [0, 1], laid out as ``Views.images``; NaN where
            a value is unknown. None where there are no photographs.
        max_kept: most renders (draws times chains) kept for the quantiles.
    """

    def __init__(
        self, observed: Float[Tensor, "view 3 height width"] | None = None, max_kept: int = 256
    ) -> None:
        self._observed = None if observed is None else observed.movedim(1, -1).double()
        self._max_kept = max_kept
        self._color = _Moments()
        self._depth = _Moments()
        self._alpha = _Moments()
        self._noise_variance = _Moments()
        self._cdf = _Moments()
        self._log_density: Tensor | None = None
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._stride = 1
        self._num_steps = 0
        self._num_draws = 0

    def add(
        self,
        rendering: Rendering,
        noise_scale: Float[Tensor, " chain"]
        | Float[Tensor, "chain view"]
        | Float[Tensor, "chain view height width 3"],
    ) -> None:
        """Take in one draw of every chain.

        Args:
            rendering: all target views: colors [chain view height width 3] and so on.
            noise_scale: standard deviation of the noise, colour units, one a chain, one a
                (chain, target view), or one a pixel and channel.

        Raises:
            ValueError: shapes that do not fit each other or the draws before.
        """
        colors = rendering.colors.detach().double()
        noise = _as_column(noise_scale.detach().double(), colors)
        if self._color.mean is not None and self._color.mean.shape != colors.shape[1:]:
            raise ValueError(
                f"rendering has pixels {tuple(colors.shape[1:])}, "
                f"earlier draws {tuple(self._color.mean.shape)}"
            )
        depths, alphas = rendering.depths.detach().double(), rendering.alphas.detach().double()
        self._color.add(colors)
        self._depth.add(depths, weights=(alphas > 0).double())
        self._alpha.add(alphas)
        self._noise_variance.add(noise.square().expand(len(colors), *noise.shape[1:]))
        if self._observed is not None:
            self._score((self._observed.to(colors.device) - colors) / noise, noise)
        self._keep(colors, noise)
        self._num_steps += 1
        self._num_draws += len(colors)

    def result(self) -> Prediction:
        """The maps over everything added so far; more may be added afterwards.

        Raises:
            ValueError: nothing was added.
        """
        if self._color.mean is None:
            raise ValueError("PredictionAccumulator.result: no draw was added")
        shape = self._color.mean.shape
        aleatoric = self._noise_variance.filled_mean().sqrt().expand(shape)
        epistemic = self._color.std()
        depth_spread = _numpy(self._depth.std())
        has_truth = self._log_density is not None
        return Prediction(
            mean=_numpy(self._color.filled_mean()),
            epistemic_std=_numpy(epistemic),
            aleatoric_std=_numpy(aleatoric),
            std=_numpy(torch.hypot(epistemic, aleatoric)),
            depth_mean=_numpy(self._depth.filled_mean()),
            depth_epistemic_std=depth_spread,
            depth_std=depth_spread,
            alpha_mean=_numpy(self._alpha.filled_mean()),
            quantiles=_numpy(
                mixture_quantiles(
                    torch.cat([color for color, _ in self._kept]),
                    torch.cat(
                        [noise.expand(len(color), *noise.shape[1:]) for color, noise in self._kept]
                    ),
                    QUANTILES,
                )
            ),
            pit=_numpy(self._cdf.filled_mean()) if has_truth else None,
            nll=_numpy(math.log(self._num_draws) - self._log_density)
            if self._log_density is not None
            else None,
            num_draws=self._num_draws,
        )

    def _score(self, residual: Tensor, noise: Tensor) -> None:
        """Distribution function and density at the photograph, summed over the draw's chains."""
        self._cdf.add(torch.special.ndtr(residual))
        log_normal = -0.5 * residual.square() - noise.log() - 0.5 * math.log(2 * math.pi)
        log_density = torch.logsumexp(log_normal, dim=0)
        if self._log_density is not None:
            log_density = torch.logaddexp(self._log_density, log_density)
        self._log_density = log_density

    def _keep(self, colors: Tensor, noise: Tensor) -> None:
        if self._num_steps % self._stride == 0:
            self._kept.append((colors.float(), noise.float()))
        if len(self._kept) > max(1, self._max_kept // len(colors)):
            self._kept = self._kept[::2]
            self._stride *= 2


class _Moments:
    """Weighted mean and squared deviations over a leading axis, updated batch by batch.

    Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1; the
    batch is one draw of all chains, the weights are 0 or 1.
    """

    def __init__(self) -> None:
        self.mean: Tensor | None = None
        self._weight = torch.zeros(())
        self._deviations = torch.zeros(())

    def add(self, values: Tensor, weights: Tensor | None = None) -> None:
        weights = torch.ones_like(values) if weights is None else weights
        weight = weights.sum(0)
        mean = (weights * values).sum(0) / weight.clamp(min=1)
        deviations = (weights * (values - mean).square()).sum(0)
        if self.mean is None:
            self.mean, self._weight, self._deviations = mean, weight, deviations
            return
        total = self._weight + weight
        share = weight / total.clamp(min=1)
        shift = mean - self.mean
        self.mean = self.mean + shift * share
        self._deviations = self._deviations + deviations + shift.square() * self._weight * share
        self._weight = total

    def filled_mean(self) -> Tensor:
        """The mean; NaN where nothing had weight."""
        assert self.mean is not None
        return torch.where(self._weight > 0, self.mean, torch.nan)

    def std(self) -> Tensor:
        """Population standard deviation (the draws are the distribution); NaN without weight."""
        return (self._deviations / self._weight).sqrt()


def mixture_quantiles(
    means: Float[Tensor, "draw *pixel"],
    stds: Float[Tensor, "draw *#pixel"],
    levels: tuple[float, ...],
    num_steps: int = 22,
    chunk: int = 2**22,
) -> Float[Tensor, "quantile *pixel"]:
    """Quantiles of a Normal mixture of equal weights, by bisection on its distribution function.

    The quantile lies between the least and the greatest of the components' own quantiles; each step
    halves that bracket, so the default leaves 2e-7 of it.

    Args:
        means, stds: of the components; ``stds`` are broadcast against ``means``.
        levels: probabilities in (0, 1).
        num_steps: halvings.
        chunk: most numbers worked on at once, which bounds the memory.
    """
    shape = means.shape[1:]
    flat_means = means.reshape(len(means), -1)
    flat_stds = stds.expand_as(means).reshape(len(means), -1)
    width = max(1, chunk // len(means))
    parts = [
        _bisect(flat_means[:, i : i + width], flat_stds[:, i : i + width], levels, num_steps)
        for i in range(0, flat_means.shape[1], width)
    ]
    return torch.cat(parts, dim=1).reshape(len(levels), *shape)


def _bisect(means: Tensor, stds: Tensor, levels: tuple[float, ...], num_steps: int) -> Tensor:
    precisions = stds.reciprocal()
    found = []
    for level in levels:
        own = means + stds * torch.special.ndtri(torch.tensor(level, dtype=torch.float64)).to(means)
        low, high = own.amin(0), own.amax(0)
        for _ in range(num_steps):
            middle = 0.5 * (low + high)
            is_below = torch.special.ndtr((middle - means) * precisions).mean(0) < level
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        found.append(0.5 * (low + high))
    return torch.stack(found)


def combine_channels(
    std: Float[np.ndarray, "*pixel channel"],
) -> Float[np.ndarray, " *pixel"]:
    """One standard deviation a pixel for pictures: root mean square over the colour channels."""
    return np.asarray(np.sqrt(np.mean(np.square(std), axis=-1)))


def _as_column(noise_scale: Tensor, colors: Tensor) -> Tensor:
    """``noise_scale`` with axes of length one, so that it broadcasts over views and pixels."""
    leading = tuple(colors.shape[: noise_scale.ndim])
    if noise_scale.ndim not in (1, 2, colors.ndim) or tuple(noise_scale.shape) != leading:
        raise ValueError(
            f"noise_scale has shape {tuple(noise_scale.shape)}; "
            f"expected [chain], [chain view] or that of the pixels for colors {tuple(colors.shape)}"
        )
    return noise_scale.reshape(*noise_scale.shape, *[1] * (colors.ndim - noise_scale.ndim))


def _numpy(values: Tensor) -> Any:
    return values.detach().cpu().double().numpy()
