"""One sentence on a run: trust it, run it longer and about how much, or do not trust it.

How much longer. A chain of autocorrelation time tau looks, over n draws, like a stationary
Ornstein-Uhlenbeck process of length n: the variance of its mean over the variance of the quantity
is r(t) = 2 t (1 - t (1 - exp(-1/t))) with t = tau / (2 n), also when n is too short for the chain
to have forgotten its start. Since R-hat^2 = 1 + between / within, 1 - 1 / R-hat^2 estimates r, and
inverting r gives t, which falls as 1/n; the effective sample size grows as n. The answer is what
brings the wanted share of the quantities below the one threshold and above the other.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from bayes_splat.diagnostics import (
    MAX_RHAT,
    MIN_DRAWS,
    MIN_ESS,
    MIN_SHARE,
    PixelDiagnostics,
    PixelGrid,
    has_converged,
)

Advice: TypeAlias = Literal["trust", "longer", "distrust"]

MOST_TIMES = 50.0
"""A run that would take longer than this many times its draws needs something else than draws."""

BIASED = {
    "sgld": "sgld samples something else than the posterior, by an amount that chains do not show",
    "ula": "ula samples something else than the posterior, by an amount that chains do not show",
    "sgd": "sgd is an optimiser: how far its draws spread is a matter of its settings",
}
"""Samplers that no number of draws makes right, and why; where chains agree that means little."""

_OPENINGS = {"trust": "Trust it", "longer": "Run longer", "distrust": "Do not trust it, because"}
_MODES_RATIO = 12.0  # variance between chains over what their own autocorrelation explains
_MODES_ESS = 10.0  # a chain with less has not been through its own range: it may yet cross over
_DRIFT_SHARE = 0.5

_REGIONS = (
    ("upper left", "upper centre", "upper right"),
    ("middle left", "centre", "middle right"),
    ("lower left", "lower centre", "lower right"),
)


class Verdict(NamedTuple):
    """Whether to believe a run.

    Attributes:
        advice: "trust", "longer" or "distrust".
        sentence: one, which says why and what to do.
        times_as_many: draws that would do, over those made, where the advice is "longer" and that
            can be said; else NaN.
    """

    advice: Advice
    sentence: str
    times_as_many: float = float("nan")

    @property
    def is_converged(self) -> bool:
        """Whether the run is to be trusted."""
        return self.advice == "trust"


def verdict(
    pixels: PixelDiagnostics,
    grid: PixelGrid,
    image_shape: tuple[int, int],
    view_names: Sequence[str],
    *,
    num_diverging: int = 0,
    is_interrupted: bool = False,
    left_out: Sequence[int] = (),
    sampler: str = "",
    max_rhat: float = MAX_RHAT,
    min_ess: float = MIN_ESS,
    min_share: float = MIN_SHARE,
) -> Verdict:
    """Judge a run by its renders at the grid's pixels.

    To be trusted it needs a sampler that is not biased, at least 2 chains, no interruption, no
    diverging step, and at least
    ``min_share`` of the colours and depths with R-hat below ``max_rhat`` and bulk ESS above
    ``min_ess``. Otherwise the sentence says what is wrong, where, and what to do. More draws are
    advised where they would help: not to chains that stand still, that sit in different modes
    (each mixes, but around a value of its own), that all move in one direction, or that would take
    more than ``MOST_TIMES`` as many.

    Args:
        pixels: from ``diagnose_pixels``, at the pixels of ``grid``, of the complete chains.
        image_shape: (height, width) of the target views.
        view_names: of the target views.
        num_diverging: steps after warmup with a candidate of non-finite energy, all chains.
        is_interrupted: the run was stopped before its last draw.
        left_out: numbers of chains that were stopped on the way and are not in ``pixels``.
        sampler: its name, which tells those of ``BIASED``.
    """
    judged = pixels.is_judged
    passed = has_converged(pixels.statistics, max_rhat, min_ess)
    share = passed[judged].mean() if judged.any() else 0.0
    wanted = f"R-hat < {max_rhat:g} and bulk ESS > {min_ess:g}"
    notes = _left_out(left_out)
    wrong, short, times = [], [], float("nan")
    if sampler in BIASED:
        wrong.append(f"{BIASED[sampler]}, hold it against gibbs, block_mala or mala")
    if num_diverging:
        wrong.append(
            f"{num_diverging} {'step' if num_diverging == 1 else 'steps'} after warmup tried a "
            "state of non-finite energy, use more warmup or a smaller step size"
        )
    if is_interrupted:
        short.append(
            f"the run was interrupted after {pixels.num_draws} draws a chain, "
            "give it time to finish"
        )
    if pixels.num_chains < 2:
        wrong.append(
            ("a single chain" if pixels.num_chains else "no complete chain")
            + " cannot show whether others would agree, run at least two (chains=4 is the usual "
            "choice)"
        )
    elif pixels.num_draws < MIN_DRAWS:
        short.append(
            f"{pixels.num_draws} draws a chain are too few to judge, "
            f"take at least {int(min_ess)} (draws={int(min_ess)})"
        )
    elif not judged.any():
        wrong.append(
            "no Gaussian is seen at any of the target pixels, "
            "choose targets that look at what the context views see"
        )
    elif share < min_share:
        finding = (
            f"only {_percent(share)} of colours and depths at {judged.any(1).sum()} target pixels "
            f"have {wanted}, " + _where(judged, passed, pixels, grid, image_shape, view_names)
        )
        reason, times = _reason(pixels, judged, passed, max_rhat, min_ess, min_share)
        if reason:
            wrong.append(f"{reason}; {finding}")
        else:
            short.append(finding)
    if wrong:
        return _made("distrust", " ", [*wrong, *short, *notes])
    if short:
        longer = ""
        if np.isfinite(times):
            draws = int(np.ceil(times * pixels.num_draws / 10) * 10)
            longer = f", about {times:.2g} times as many draws (draws={draws})"
        return _made("longer", f"{longer}: ", [*short, *notes], times)
    num_left_out = int((~judged.any(1)).sum())
    text = f"{_percent(share)} of colours and depths at {judged.any(1).sum()} target pixels have "
    text += wanted
    if num_left_out:
        text += f" ({num_left_out} pixels that never change left out)"
    return _made("trust", ": ", [text, *notes])


def times_as_many(
    pixels: PixelDiagnostics, max_rhat: float = MAX_RHAT, min_ess: float = MIN_ESS
) -> Float[np.ndarray, "pixel quantity"]:
    """Draws that each quantity needs to meet both thresholds, over those made.

    Infinite for a quantity that more draws would not help, because a chain stands still or chains
    sit in different modes; 1 for one that meets the thresholds.
    """
    found = pixels.statistics
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.maximum(
            min_ess / found.ess_bulk, _memory(found.rhat) / _memory(np.array(max(max_rhat, 1.005)))
        )
    times = np.where(np.isfinite(times), np.maximum(times, 1.1), np.inf)
    times = np.where(pixels.is_still | _is_apart(pixels), np.inf, times)
    return np.where(has_converged(found, max_rhat, min_ess), 1.0, times)


def _memory(rhat: Float[np.ndarray, " *n"]) -> Float[np.ndarray, " *n"]:
    """t = tau / (2 n) of the process whose split chains show this R-hat; see the module."""
    t = np.logspace(-6, 4, 2000)
    r = 2 * t * (1 - t * -np.expm1(-1 / t))
    r[t > 100] = 1 - 1 / (3 * t[t > 100])  # where the formula loses its digits
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 - 1 / np.square(np.maximum(rhat, 1))
    return np.where(np.isnan(rhat), np.inf, np.interp(share, r, t))


def _is_apart(pixels: PixelDiagnostics) -> Bool[np.ndarray, "pixel quantity"]:
    """Chains mix, each around a value of its own."""
    with np.errstate(invalid="ignore"):
        # Half a chain's mean has variance 2 / chain_ess; R-hat^2 - 1 is the variance found.
        ratio = (np.square(pixels.statistics.rhat) - 1) * pixels.chain_ess / 2
        return np.asarray((ratio > _MODES_RATIO) & (pixels.chain_ess > _MODES_ESS))


def _reason(
    pixels: PixelDiagnostics,
    judged: np.ndarray,
    passed: np.ndarray,
    max_rhat: float,
    min_ess: float,
    min_share: float,
) -> tuple[str, float]:
    """Why more draws would not help, or "" and how many times as many would."""
    failed = judged & ~passed
    if not np.isfinite(pixels.statistics.mean[judged]).all():
        return "some renders are not finite, use a smaller step size", float("nan")
    still = pixels.still_chains
    if len(still):
        who = "all chains stand" if len(still) == pixels.num_chains else _chains(still, "stand")
        return f"{who} still, use a smaller step size or more warmup", float("nan")
    if (pixels.is_drifting & failed).sum() > _DRIFT_SHARE * failed.sum():
        reason = "all chains still move in one direction, use more warmup"
        return f"{reason} (warmup={2 * pixels.num_draws} or more)", float("nan")
    times = float(
        np.quantile(times_as_many(pixels, max_rhat, min_ess)[judged], min_share, method="higher")
    )
    if times <= MOST_TIMES:
        return "", times
    num_apart = ((_is_apart(pixels) | pixels.is_still) & failed).sum()
    if num_apart > (1 - min_share) * judged.sum() or num_apart > 0.5 * failed.sum():
        return (
            "chains sit in different modes, use more warmup, another sampler or another proposal",
            float("nan"),
        )
    return (
        "chains have hardly left their starts: it would take more than "
        f"{MOST_TIMES:g} times as many draws, use another sampler or another proposal",
        float("nan"),
    )


def _made(advice: Advice, link: str, parts: Sequence[str], times: float = float("nan")) -> Verdict:
    return Verdict(advice, f"{_OPENINGS[advice]}{link}{'; '.join(parts)}.", times)


def _left_out(chains: Sequence[int]) -> list[str]:
    if not len(chains):
        return []
    which = _chains(chains, "was" if len(chains) == 1 else "were", is_verb_plain=True)
    return [f"{which} stopped on the way and left out"]


def _chains(chains: Sequence[int], verb: str, is_verb_plain: bool = False) -> str:
    """ "chain 2 stands", "chains 0 and 2 stand"; numbered from 0, as ArviZ does."""
    numbers = " and ".join(map(str, chains))
    if len(chains) == 1:
        return f"chain {numbers} {verb if is_verb_plain else verb + 's'}"
    return f"chains {numbers} {verb}"


def _where(
    judged: np.ndarray,
    passed: np.ndarray,
    pixels: PixelDiagnostics,
    grid: PixelGrid,
    image_shape: tuple[int, int],
    view_names: Sequence[str],
) -> str:
    """The view and the ninth of it that fail most, and the pixel with the worst R-hat."""
    ninths = np.stack(
        [grid.view, 3 * grid.row // image_shape[0], 3 * grid.column // image_shape[1]]
    )
    places, members = np.unique(ninths, axis=1, return_inverse=True)
    members = members.ravel()
    num_judged = np.bincount(members, judged.sum(1), places.shape[1])
    num_failed = np.bincount(members, (judged & ~passed).sum(1), places.shape[1])
    failed = num_failed / np.maximum(num_judged, 1)
    if failed[num_judged > 0].min() > 0.9:
        text = "and hardly any anywhere"
    else:
        view, i, j = places[:, failed.argmax()].tolist()
        rows = _third(i, image_shape[0])
        columns = _third(j, image_shape[1])
        text = (
            f"fewest at the {_REGIONS[i][j]} of view {view_names[view]} "
            f"(rows {rows}, columns {columns})"
        )
    rhat = np.where(judged, pixels.statistics.rhat, np.nan)
    if np.isnan(rhat).all():
        return text
    pixel, quantity = np.unravel_index(np.nanargmax(rhat), rhat.shape)
    return (
        f"{text}, with the worst R-hat {rhat[pixel, quantity]:.3g} for "
        f"{pixels.quantities[quantity]} at row {grid.row[pixel]}, column {grid.column[pixel]} "
        f"of view {view_names[grid.view[pixel]]}"
    )


def _third(index: int, size: int) -> str:
    """The pixels p with 3 p // size == index, as "first-last"."""
    return f"{-(-index * size // 3)}-{-(-(index + 1) * size // 3) - 1}"


def _percent(share: float) -> str:
    """Rounded towards failure, so that 89.9 % does not read as 90 %."""
    return f"{np.floor(100 * share):.0f} %"
