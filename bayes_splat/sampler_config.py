"""The options of every sampler, group by group of ``sampler=``."""

from dataclasses import dataclass
from typing import ClassVar

from bayes_splat.errors import ConfigError
from bayes_splat.models.settings import MARKOV_PRIORS
from bayes_splat.options import Options, option

_MANY = 1000


@dataclass(kw_only=True)
class GibbsConfig(Options):
    """sampler=gibbs: depths and opacities Gaussian by Gaussian and by patches; exact noise.

    Raises:
        ConfigError: a value is of the wrong type or out of its range; nothing would move depths, or
            opacities.
    """

    section: ClassVar[str] = "sampler"

    name: str = option("gibbs", "which sampler", choices=("gibbs",))
    sites: bool = option(
        True,
        "whether depth and opacity of every Gaussian move together once a sweep; "
        "prior=scanline_hmm and ihmm leave that and patches out, for stretch_lengths",
    )
    patch_sizes: list[int] = option(
        [],
        "sides in pixels of the patches of Gaussians whose depths move together; []: none do",
        at_least=1,
        at_most=4096,
        length=(0, 16),
    )
    mala_steps: int = option(
        0,
        "MALA steps on the depths inside their buckets a sweep; "
        "prior=scanline_hmm and ihmm: 0 is 2",
        at_least=0,
        at_most=_MANY,
    )
    step_size: float = option(0.02, "first step size of MALA; warmup adapts it", above=0)
    target_acceptance_rate: float = option(
        0.574, "acceptance rate of MALA that warmup aims at", above=0, below=1
    )
    jump_fraction: float = option(
        0.0,
        "share of Gaussians a sweep that try another depth with their opacity held; mind sites; "
        "prior=scanline_hmm and ihmm: 0 is 0.25",
        at_least=0,
        at_most=1,
    )
    jump_rounds: int = option(
        2,
        "times a sweep that such depths are tried from the proposal, and by a step",
        at_least=1,
        at_most=_MANY,
    )
    opacity_fraction: float = option(
        0.0,
        "share of opacities redrawn a sweep with their depth held; mind sites; "
        "prior=scanline_hmm and ihmm: 0 is 0.5",
        at_least=0,
        at_most=1,
    )
    count_fraction: float = option(
        0.1,
        "share of rays that are offered a birth, death, merge or split a round; "
        "with model.count=variable",
        above=0,
        at_most=1,
    )
    count_rounds: int = option(
        4, "such rounds a sweep; with model.count=variable", at_least=1, at_most=_MANY
    )
    stretch_lengths: list[int] = option(
        [2, 4, 8, 16],
        "pixels of a scanline that move together, length after length; with model.prior="
        "scanline_hmm and ihmm",
        at_least=1,
        length=(1, 16),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sites and self.opacity_fraction == 0:
            raise ConfigError(
                "sampler.opacity_fraction is 0 but must be above 0 with sampler.sites=false, "
                "or opacities would never move"
            )
        if not self.sites and self.jump_fraction == 0 and self.mala_steps == 0:
            raise ConfigError(
                "sampler.jump_fraction and sampler.mala_steps are 0, but one must be above 0 with "
                "sampler.sites=false, or single depths would never move"
            )


@dataclass(kw_only=True)
class MALAConfig(Options):
    """sampler=mala: Langevin steps on everything at once, accepted or rejected."""

    section: ClassVar[str] = "sampler"

    name: str = option("mala", "which sampler", choices=("mala",))
    step_size: float = option(0.02, "first step size; warmup adapts it", above=0)
    target_acceptance_rate: float = option(
        0.574, "acceptance rate that warmup aims at", above=0, below=1
    )


@dataclass(kw_only=True)
class BlockMALAConfig(Options):
    """sampler=block_mala: Langevin steps accepted block by block; noise from its conditional."""

    section: ClassVar[str] = "sampler"

    name: str = option("block_mala", "which sampler", choices=("block_mala",))
    block_size: int = option(
        16,
        "side of the blocks, pixels; Gaussians that touch more never move",
        at_least=8,
        at_most=4096,
    )
    moves: int = option(4, "Langevin steps a partition into blocks", at_least=1, at_most=_MANY)
    step_size: float = option(
        0.1, "first step size, in units of the preconditioner; warmup adapts it", above=0
    )
    target_acceptance_rate: float = option(
        0.574, "acceptance rate that warmup aims at", above=0, below=1
    )
    preconditioner: str = option(
        "fisher",
        "diagonal learned in warmup: inverse Fisher information, or none",
        choices=("fisher", "none"),
    )
    jump_fraction: float = option(
        0.25,
        "share of Gaussians a sweep that try another depth bucket; 0: none do, and Langevin steps "
        "carry depths over bucket edges, where the picture jumps",
        at_least=0,
        at_most=1,
    )


@dataclass(kw_only=True)
class MinibatchConfig(Options):
    """What the samplers that look at random parts of the photographs share."""

    section: ClassVar[str] = "sampler"

    name: str = option("", "which sampler")
    step_size: float = option(0.001, "step size at the start of the schedule", above=0)
    schedule: str = option(
        "polynomial", "how the step size moves", choices=("constant", "polynomial", "cyclical")
    )
    period: int = option(50, "steps a cycle of schedule=cyclical", at_least=2, at_most=1_000_000)
    exploration: float = option(
        0.0, "share of a cycle whose states are not kept, at its beginning", at_least=0, below=1
    )
    batch_fraction: float = option(
        0.25, "share of the context pixels rendered a step", above=0, at_most=1
    )
    anchor_every: int = option(
        0,
        "steps between gradients of all pixels that correct those of parts (a control variate); "
        "0: none",
        at_least=0,
        at_most=1_000_000,
    )


@dataclass(kw_only=True)
class SGLDConfig(MinibatchConfig):
    """sampler=sgld: Langevin steps on random parts of the photographs; fast, and biased."""

    name: str = option("sgld", "which sampler", choices=("sgld",))
    preconditioner: str = option(
        "rmsprop",
        "diagonal: of mean squared gradients, frozen after warmup; inverse Fisher information at "
        "the proposal's mode; or none",
        choices=("rmsprop", "fisher", "none"),
    )


@dataclass(kw_only=True)
class SGDConfig(MinibatchConfig):
    """sampler=sgd: descent on random parts of the photographs; optimises, to compare with."""

    name: str = option("sgd", "which sampler", choices=("sgd",))
    step_size: float = option(1e-5, "step size at the start of the schedule", above=0)
    noise_scale: float = option(
        0.0, "standard deviation of noise added a step; 0: plain descent", at_least=0
    )


@dataclass(kw_only=True)
class ULAConfig(Options):
    """sampler=ula: mala without accepting or rejecting; biased, to see what that is worth."""

    section: ClassVar[str] = "sampler"

    name: str = option("ula", "which sampler", choices=("ula",))
    step_size: float = option(0.0005, "first step size; warmup adapts it", above=0)
    target_acceptance_rate: float = option(
        0.9, "acceptance that mala would have had, which warmup aims at", above=0, below=1
    )


@dataclass(kw_only=True)
class RandomWalkConfig(Options):
    """sampler=random_walk: steps of everything at once without gradients, and jumps of depths."""

    section: ClassVar[str] = "sampler"

    name: str = option("random_walk", "which sampler", choices=("random_walk",))
    step_size: float = option(0.01, "first step size; warmup adapts it", above=0)
    target_acceptance_rate: float = option(
        0.234, "acceptance rate that warmup aims at", above=0, below=1
    )
    jump_fraction: float = option(
        0.25,
        "share of Gaussians a step whose depth may jump to a draw of the proposal; 0: none do",
        at_least=0,
        at_most=1,
    )


@dataclass(kw_only=True)
class TemperingConfig(Options):
    """sampler=tempering: mala at several powers of the likelihood that change places."""

    section: ClassVar[str] = "sampler"

    name: str = option("tempering", "which sampler", choices=("tempering",))
    powers: int = option(
        6, "how many powers, from 1 down; every chain runs at all", at_least=2, at_most=64
    )
    least_power: float = option(0.01, "the smallest of them", above=0, below=1)
    inner_steps: int = option(5, "mala steps between swaps", at_least=1, at_most=_MANY)
    step_size: float = option(0.02, "first step size of mala; warmup adapts it", above=0)
    target_acceptance_rate: float = option(
        0.574, "acceptance rate of mala that warmup aims at", above=0, below=1
    )


@dataclass(kw_only=True)
class HMCConfig(Options):
    """sampler=hmc: Pyro's HMC, chain after chain."""

    section: ClassVar[str] = "sampler"

    name: str = option("hmc", "which sampler", choices=("hmc",))
    step_size: float = option(0.01, "first leapfrog step; warmup adapts it", above=0)
    trajectory_length: float = option(
        0.5, "step size times leapfrog steps, in units of the mass matrix", above=0
    )
    target_acceptance_rate: float = option(
        0.8, "acceptance rate that warmup aims at", above=0, below=1
    )


@dataclass(kw_only=True)
class NUTSConfig(Options):
    """sampler=nuts: Pyro's NUTS, chain after chain."""

    section: ClassVar[str] = "sampler"

    name: str = option("nuts", "which sampler", choices=("nuts",))
    step_size: float = option(0.01, "first leapfrog step; warmup adapts it", above=0)
    max_tree_depth: int = option(
        6,
        "doublings of a trajectory; up to 2^this renders a chain and step",
        at_least=1,
        at_most=12,
    )
    target_acceptance_rate: float = option(
        0.8, "acceptance rate that warmup aims at", above=0, below=1
    )


Sampler = (
    GibbsConfig
    | MALAConfig
    | BlockMALAConfig
    | SGLDConfig
    | SGDConfig
    | ULAConfig
    | RandomWalkConfig
    | TemperingConfig
    | HMCConfig
    | NUTSConfig
)

SAMPLERS: dict[str, type[Options]] = {
    "gibbs": GibbsConfig,
    "mala": MALAConfig,
    "block_mala": BlockMALAConfig,
    "sgld": SGLDConfig,
    "sgd": SGDConfig,
    "ula": ULAConfig,
    "random_walk": RandomWalkConfig,
    "tempering": TemperingConfig,
    "hmc": HMCConfig,
    "nuts": NUTSConfig,
}
"""By name, the default first."""


def num_warmup(sampler: Sampler, given: int | None, prior: str) -> int:
    """Steps of warmup: those that are given, else the usual number of the sampler.

    Sweeps without a step size only have to leave the start; what tunes itself needs longer.

    Args:
        sampler: which.
        given: by the user, if at all.
        prior: of depth, ``model.prior``: under a Markov one sweeps are replaced by what tunes.
    """
    if given is not None:
        return given
    has_sizes = not isinstance(sampler, GibbsConfig) or sampler.mala_steps or sampler.patch_sizes
    return 100 if has_sizes or prior in MARKOV_PRIORS else 30
