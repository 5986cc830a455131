"""R-hat, effective sample sizes and Monte Carlo errors of many quantities at once.

The definitions are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-
normalization, folding, and localization: an improved R-hat", Bayesian Analysis 16(2), and the
numbers are ArviZ's; only the loop over quantities is gone, since maps have thousands of them.

Arrays are [chain, draw, ...]; results have the remaining axes. NaN is returned where a draw is not
finite, where there are fewer than 4 draws, and for R-hat where there are fewer than 2 chains. A
quantity that never moves has no R-hat (NaN); chains that stand still at *different* values have
R-hat infinity.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import fft, special, stats

_MIN_DRAWS = 4
_CHUNK = 2**20  # numbers worked on at once: bounds the memory to some ten megabytes

_Series = NDArray[np.float64]  # [quantity, chain, draw]


def rhat(draws: Float[np.ndarray, "chain draw *quantity"]) -> Float[np.ndarray, " *quantity"]:
    """Rank-normalised split R-hat: the greater of the bulk and the folded (tail) one, eq. 4-8.

    1 when chains agree; 1.05 is already bad for publication, 1.2 is a different answer per chain.
    """
    return _over_quantities(_rhat, draws, min_chains=2)


def ess_bulk(draws: Float[np.ndarray, "chain draw *quantity"]) -> Float[np.ndarray, " *quantity"]:
    """Effective sample size of the rank-normalised split chains: how well the centre is known."""
    return _over_quantities(lambda series: _ess(_z_scores(_split(series))), draws)


def ess_tail(draws: Float[np.ndarray, "chain draw *quantity"]) -> Float[np.ndarray, " *quantity"]:
    """The lesser effective sample size of the 5 % and the 95 % quantile."""
    return _over_quantities(_ess_tail, draws)


def mcse_mean(draws: Float[np.ndarray, "chain draw *quantity"]) -> Float[np.ndarray, " *quantity"]:
    """Monte Carlo standard error of the mean, in the unit of the draws."""
    return _over_quantities(_mcse_mean, draws)


def ess_of_chains(
    draws: Float[np.ndarray, "chain draw *quantity"],
) -> Float[np.ndarray, " *quantity"]:
    """Effective sample size of one chain on its own, the mean over chains.

    It looks at each chain's autocorrelation and not at whether chains agree: chains that mix, each
    in a mode of its own, have a high one.
    """
    return _over_quantities(_ess_of_chains, draws)


def drift(draws: Float[np.ndarray, "chain draw *quantity"]) -> Float[np.ndarray, " *quantity"]:
    """p-value of the hypothesis that chains do not move in a common direction.

    The means of each chain's second half minus its first, tested against zero by Student's t over
    the chains, which are independent however slowly each moves. NaN for fewer than 3 chains.
    """
    return _over_quantities(_drift, draws, min_chains=3)


def autocorrelation(
    draws: Float[np.ndarray, "chain draw"],
) -> Float[np.ndarray, "chain lag"]:
    """Autocorrelation of every chain about its own mean; NaN for a chain that stands still."""
    covariance = _autocovariance(np.asarray(draws, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(covariance / covariance[:, :1])


def _over_quantities(
    function: Callable[[_Series], NDArray[np.float64]],
    draws: NDArray[np.floating],
    min_chains: int = 1,
) -> NDArray[np.float64]:
    """Apply ``function`` to [quantity, chain, draw] in pieces, and put NaN where it cannot say."""
    draws = np.asarray(draws)
    num_chains, num_draws = draws.shape[:2]
    shape = draws.shape[2:]
    flat = draws.reshape(num_chains, num_draws, math.prod(shape))
    result = np.full(flat.shape[-1], np.nan)
    if num_draws >= _MIN_DRAWS and num_chains >= min_chains:
        width = max(1, _CHUNK // (num_chains * num_draws))
        for start in range(0, len(result), width):
            series = flat[..., start : start + width].transpose(2, 0, 1).astype(np.float64)
            is_finite = np.isfinite(series).all((1, 2))
            if is_finite.any():
                result[start : start + width][is_finite] = function(series[is_finite])
    return result.reshape(shape)


def _split(series: _Series) -> _Series:
    """First and second halves as chains of their own; of an odd number the middle is left out."""
    half = series.shape[-1] // 2
    return np.concatenate([series[..., :half], series[..., -half:]], axis=1)


def _z_scores(series: _Series) -> _Series:
    """Normal scores of the ranks over all chains, ties averaged; Blom (1958) offset 3/8."""
    flat = series.reshape(len(series), -1)
    ranks = stats.rankdata(flat, axis=-1)
    scores = special.ndtri((ranks - 0.375) / (flat.shape[-1] + 0.25))
    return np.asarray(scores).reshape(series.shape)


def _rhat(series: _Series) -> NDArray[np.float64]:
    split = _split(series)
    folded = np.abs(split - np.median(split, axis=(1, 2), keepdims=True))
    result = np.maximum(_plain_rhat(_z_scores(split)), _plain_rhat(_z_scores(folded)))
    # Chains that stand still: rounding must not decide between 0/0 and x/0.
    is_still = (np.ptp(split, axis=2) == 0).all(axis=1)
    is_constant = np.ptp(split, axis=(1, 2)) == 0
    return np.where(is_still, np.where(is_constant, np.nan, np.inf), result)


def _plain_rhat(series: _Series) -> NDArray[np.float64]:
    """Gelman-Rubin: root of (n - 1 + between / within) / n."""
    num_draws = series.shape[-1]
    between = num_draws * series.mean(-1).var(-1, ddof=1)
    within = series.var(-1, ddof=1).mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = between / within
    # A folded quantity may stand still in every chain (two values at equal distance from the
    # median): it then has nothing to add to the bulk R-hat.
    ratio = np.where((between == 0) & (within == 0), 0.0, ratio)
    return np.asarray(np.sqrt((ratio + num_draws - 1) / num_draws))


def _ess(series: _Series) -> NDArray[np.float64]:
    """Effective sample size by Geyer's initial monotone sequence; sec. 3.2 of the paper.

    With the autocorrelations combined over chains in pairs P_k = rho_2k + rho_(2k+1), and K the
    first pair that is not positive: tau = -1 + 2 sum_(k<K) min_(j<=k) P_j + max(rho_2K, 0).
    """
    num_chains, num_draws = series.shape[1:]
    covariance = _autocovariance(series).mean(1)
    within = covariance[:, :1] * num_draws / (num_draws - 1)
    total = covariance[:, :1].copy()
    if num_chains > 1:
        total += series.mean(-1).var(-1, ddof=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance) / total
    rho[:, 0] = 1

    num_pairs = max(1, -(-(num_draws - 2) // 2))
    even = rho[:, 0 : 2 * num_pairs : 2]
    pairs = even + rho[:, 1 : 2 * num_pairs : 2]
    is_end = pairs <= 0
    end = np.where(is_end.any(1), is_end.argmax(1), num_pairs - 1)
    is_before = np.arange(num_pairs) < end[:, None]
    monotone = np.where(is_before, np.minimum.accumulate(pairs, axis=1), 0).sum(1)
    last_even = np.take_along_axis(even, end[:, None], 1)[:, 0]
    last_pair = np.take_along_axis(pairs, end[:, None], 1)[:, 0]
    tau = -1 + 2 * monotone + np.where((last_pair >= 0) | (last_even > 0), last_even, 0)

    size = num_chains * num_draws
    result = size / np.maximum(tau, 1 / np.log10(size))
    is_constant = np.ptp(series, axis=(1, 2)) < np.finfo(float).resolution
    return np.where(is_constant, float(size), result)


def _autocovariance(series: _Series) -> _Series:
    """Of every chain at all lags, divided by the number of draws, by zero-padded FFT."""
    num_draws = series.shape[-1]
    length = fft.next_fast_len(2 * num_draws, real=True)
    spectrum = fft.rfft(series - series.mean(-1, keepdims=True), n=length, axis=-1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(fft.irfft(power, n=length, axis=-1)[..., :num_draws] / num_draws)


def _ess_tail(series: _Series) -> NDArray[np.float64]:
    limits = np.quantile(series, (0.05, 0.95), axis=(1, 2))[..., None, None]
    low, high = (_ess(_split((series <= limit).astype(np.float64))) for limit in limits)
    return np.minimum(low, high)


def _mcse_mean(series: _Series) -> NDArray[np.float64]:
    std = series.std(axis=(1, 2), ddof=1)
    return np.asarray(std / np.sqrt(_ess(_split(series))))


def _ess_of_chains(series: _Series) -> NDArray[np.float64]:
    size, num_chains, num_draws = series.shape
    alone = _z_scores(series).reshape(size * num_chains, 1, num_draws)
    return np.asarray(_ess(alone).reshape(size, num_chains).mean(1))


def _drift(series: _Series) -> NDArray[np.float64]:
    num_chains, num_draws = series.shape[1:]
    scores = _z_scores(series)
    half = num_draws // 2
    moved = scores[..., -half:].mean(-1) - scores[..., :half].mean(-1)
    error = moved.std(-1, ddof=1) / math.sqrt(num_chains)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(moved.mean(-1)) / error
    return np.asarray(2 * stats.t.sf(ratio, num_chains - 1))
