"""Options of this room: what they mean and which values make sense.

No PyTorch here, so that ``bayes-splat --help`` answers at once.
"""

from dataclasses import dataclass
from typing import ClassVar

from bayes_splat.errors import ConfigError
from bayes_splat.options import Options, option

WEAK_NOISE_PRIOR = (2.0, 0.005)
"""Concentration and rate of the InverseGamma prior of the squared noise where none is given."""

MARKOV_PRIORS = ("scanline_hmm", "ihmm")
"""Priors of depth under which buckets follow each other along scanlines."""


@dataclass(kw_only=True)
class PlaneSweepConfig(Options):
    """proposal=plane_sweep: compare photographs on planes of constant depth; needs no weights."""

    section: ClassVar[str] = "proposal"

    name: str = option("plane_sweep", "what proposes depths", choices=("plane_sweep",))
    num_buckets: int = option(
        32, "depth buckets between near and far, even in disparity", at_least=2, at_most=1024
    )
    planes_per_bucket: int = option(4, "planes tried inside every bucket", at_least=1, at_most=64)
    window: int = option(7, "side of the comparison window, pixels, odd", at_least=1, at_most=99)
    color_bandwidth: float = option(
        0.1, "colour difference (0 to 1) at which a neighbour counts for 1/e", above=0
    )
    truncation: float = option(
        0.15, "colour differences above this count the same; tolerates occlusion", above=0
    )
    correlation_weight: float = option(
        0.5, "share of the correlation in the cost, the rest is colour", at_least=0, at_most=1
    )
    agreement_floor: float = option(
        0.05, "probability that a pixel is hidden in the other view", above=0, below=1
    )
    footprint: float = option(
        0.4, "standard deviation of a Gaussian, pixels of its view", above=0, at_most=100
    )
    sharpening: int = option(
        2,
        "iterations that sharpen colours until blurred by their footprints they are those of the "
        "photograph; 0: the pixels' own colours",
        at_least=0,
        at_most=100,
    )
    opacity: float = option(
        0.9, "starting opacity where the depth is certain", above=0, below=0.999
    )
    min_overlap: float = option(
        0.05, "least share of rays that another context view must see", at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0:
            raise ConfigError(
                f"proposal.window is {self.window} but must be odd, for example {self.window + 1}"
            )


@dataclass(kw_only=True)
class ModelConfig(Options):
    """model=default: what is believed before the photographs are seen."""

    section: ClassVar[str] = "model"

    prior: str = option(
        "smooth",
        "prior of depth: uniform in disparity, smooth (the same with neighbouring pixels coupled), "
        "the proposal's density, or buckets that follow each other along scanlines, with "
        "transitions that are learned (scanline_hmm; ihmm: and few layers of depth)",
        choices=("uniform", "smooth", "proposal", *MARKOV_PRIORS),
    )
    smoothness: float = option(
        20.0,
        "with prior=smooth, strength of the coupling, per unit of relative disparity",
        above=0,
    )
    contrast: float = option(
        0.1,
        "with prior=smooth, colour difference (0 to 1) of neighbours at which their coupling has "
        "fallen to 1/e",
        above=0,
    )
    scanlines: str = option(
        "rows",
        "lines that prior=scanline_hmm and ihmm follow in every context view",
        choices=("rows", "columns"),
    )
    transition_concentration: float = option(
        1.0,
        "alpha of those priors: weight, in pixels seen, of a jump to any bucket (ihmm: layer)",
        above=0,
    )
    transition_stickiness: float = option(
        4.0,
        "kappa of those priors: weight, in pixels seen, of staying in or near a bucket",
        at_least=0,
    )
    layer_concentration: float = option(
        4.0, "gamma of prior=ihmm: about how many layers of depth are expected", above=0
    )
    opacity_prior: list[float] = option(
        [1.0, 1.0], "a and b of the Beta prior of opacity", above=0, length=(2, 2)
    )
    count: str = option(
        "fixed",
        "whether every ray of the proposal holds a Gaussian, or an unknown number of them does",
        choices=("fixed", "variable"),
    )
    count_prior: list[float] = option(
        [1.0, 1.0],
        "with count=variable, a and b of the Beta prior of the share of rays that hold one; "
        "[1,1]: every number of Gaussians is equally likely",
        above=0,
        length=(2, 2),
    )
    noise_prior: list[float] | None = option(
        None,
        "concentration and rate of the InverseGamma prior of the squared noise; null: reconstruct "
        "learns it, and the error of new views, by predicting context views from each other",
        above=0,
        length=(2, 2),
    )
    noise: str = option(
        "global",
        "one noise scale for all context views or one for each",
        choices=("global", "per_view"),
    )
    background: str = option(
        "mean",
        "what is behind all Gaussians: the mean colour of the context photographs, or black",
        choices=("mean", "black"),
    )
    cutoff: float = option(
        0.02,
        "falloff from its centre at which a Gaussian ends; viewers have 1/255. Earlier ends make "
        "pictures and sweeps cheaper",
        above=0,
        at_most=0.1,
    )
    colors: str = option(
        "fixed",
        "colours of the Gaussians: the proposal's (fixed), or Normal around them (sampled)",
        choices=("fixed", "sampled"),
    )
    color_scale: float = option(
        0.1,
        "with colors=sampled, prior standard deviation of a colour (0 to 1), halved for every "
        "further degree of the harmonics",
        above=0,
    )
    order: str = option(
        "bucket",
        "sort Gaussians by the centre of their depth bucket (smooth, so that chains mix) or by "
        "their own centre (as viewers do; chains hardly move)",
        choices=("bucket", "center"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count == "variable" and self.prior not in ("uniform", "proposal"):
            raise ConfigError(
                f"model.prior is {self.prior}, which ties every ray to its neighbours, but with "
                "model.count=variable a ray may be empty; take model.prior=uniform or proposal"
            )
