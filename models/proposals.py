"""Which proposal the options ask for."""

from pathlib import Path

from bayes_splat.models import plane_sweep
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import PlaneSweepConfig
from bayes_splat.types import Views

ProposalConfig = PlaneSweepConfig | EncoderConfig
"""Options of every proposal there is."""


def propose(views: Views, config: ProposalConfig) -> DepthProposal:
    """Depth distributions for every pixel of two or more context views.

    Args:
        views: the context views.
        config: options; their class chooses the proposal, and of an encoder the checkpoint does.

    Raises:
        BayesSplatError: as ``plane_sweep.propose``, ``small_encoder.propose.propose`` or
            ``encoder.propose.propose``.
    """
    if isinstance(config, PlaneSweepConfig):
        return plane_sweep.propose(views, config)
    # Late, both: runs that do without one need not load it.
    if is_small(config):
        from bayes_splat.models.small_encoder import propose as small

        return small.propose(views, config)
    from bayes_splat.models.encoder import propose as learned

    return learned.propose(views, config)


def is_small(config: EncoderConfig) -> bool:
    """Whether the options ask for the small encoder: the shipped one, or one trained by us.

    Raises:
        ModelError: a ``.safetensors`` that is missing, broken, or none of ours.
    """
    if config.checkpoint is None:
        return True
    from bayes_splat.models import weight_files

    if Path(config.checkpoint).suffix != weight_files.SUFFIX:
        return False
    return weight_files.kind(config.checkpoint) == "bayes_splat.small_encoder"
