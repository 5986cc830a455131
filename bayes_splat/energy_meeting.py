"""When do the energies of chains from two different starts meet?

Chains that start at an exact draw of the posterior (the teacher) are in equilibrium at once, so the
others have arrived when their energies cannot be told from these any more (Piccioli et al. 2024,
"Gibbs sampling the posterior of neural networks").
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_splat import convergence

AGREE = 2.0
"""Standard errors within which two means agree ..."""
PART = 4.0
"""... and beyond which chains that agreed have parted again."""
FIRST = 8
"""The first window ends at this step: fewer steps have no Monte Carlo error."""
PER_DOUBLING = 4
"""Windows looked at while the number of steps doubles."""


class Gaps(NamedTuple):
    """Differences of mean energies over windows of steps.

    Attributes:
        step: where each window ends; it began at half as many steps.
        difference: mean over the chains minus mean over those in equilibrium.
        error: the Monte Carlo error that it has between chains in equilibrium.
    """

    step: Int[np.ndarray, " window"]
    difference: Float[np.ndarray, " window"]
    error: Float[np.ndarray, " window"]

    @property
    def score(self) -> Float[np.ndarray, " window"]:
        """Size of the difference in standard errors; infinite where an energy is not finite."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.abs(self.difference) / self.error
        return np.where(np.isnan(ratio), np.inf, ratio)


def gaps(
    energies: Float[np.ndarray, "chain step"], reference: Float[np.ndarray, "other step"]
) -> Gaps:
    """Compare chains with some in equilibrium over windows (t/2, t], t growing by 2^(1/4).

    The error is what chains in equilibrium would have: each chain's own Monte Carlo standard error
    in the window (Vehtari et al. 2021), from the reference alone. Chains on their way, or that
    disagree among each other, would make it wide and pass.

    Args:
        energies: after every step.
        reference: of the chains in equilibrium, of as many steps.
    """
    num_steps = energies.shape[1]
    count = int(np.floor(PER_DOUBLING * np.log2(max(num_steps, FIRST) / FIRST))) + 1
    ends = np.unique(np.round(FIRST * 2.0 ** (np.arange(count) / PER_DOUBLING)).astype(np.int64))
    ends = ends[ends <= num_steps]
    difference, error = np.full((2, len(ends)), np.nan)
    for index, end in enumerate(ends):
        ours, theirs = energies[:, end // 2 : end], reference[:, end // 2 : end]
        if np.isfinite(ours).all() and np.isfinite(theirs).all():
            difference[index] = ours.mean() - theirs.mean()
            errors = np.nan_to_num(convergence.mcse_mean(theirs.T[None]))  # a chain a quantity
            each = np.sqrt(np.square(errors).mean())
            error[index] = each * np.sqrt(1.0 / len(ours) + 1.0 / len(theirs))
    return Gaps(ends, difference, error)


def meeting_step(
    energies: Float[np.ndarray, "chain step"], reference: Float[np.ndarray, "other step"]
) -> int | None:
    """The step at which chains meet those in equilibrium for good, or None where they do not.

    They meet at t if their mean energies over (t/2, t] agree within ``AGREE`` standard errors, and
    so do those of every window that ends between t and 2t, the last of which has no step in common
    with the first: one lucky crossing does not count. Meetings after half of the steps are
    therefore never confirmed. Chains have parted if any later window differs by more than ``PART``
    standard errors; then a later meeting is looked for.
    """
    found = gaps(energies, reference)
    agrees, parts = found.score <= AGREE, found.score > PART
    for index, step in enumerate(found.step):
        later = found.step[index:]
        if 2 * step > later[-1] + later[-1] // 16:  # ends are rounded
            return None
        is_confirming = later <= 2 * step
        if agrees[index:][is_confirming].all() and not parts[index:].any():
            return int(step)
    return None
