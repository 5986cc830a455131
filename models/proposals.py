"""Which proposal the options ask for."""

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
        config: options; their class chooses the proposal.

    Raises:
        BayesSplatError: as ``plane_sweep.propose`` or ``encoder.propose.propose``.
    """
    if isinstance(config, PlaneSweepConfig):
        return plane_sweep.propose(views, config)
    from bayes_splat.models.encoder import propose as learned  # late: most runs do without

    return learned.propose(views, config)
