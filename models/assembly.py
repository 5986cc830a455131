"""A splat model of photographs, put together as its settings say."""

from bayes_splat.models import colors
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.settings import ModelConfig
from bayes_splat.models.splat_model import SplatModel
from bayes_splat.rendering.renderer import CountingRenderer, RenderCount, make_renderer
from bayes_splat.types import Views


def assemble(
    proposal: DepthProposal,
    views: Views,
    config: ModelConfig | None = None,
    renderer: str = "auto",
    count: RenderCount | None = None,
) -> SplatModel:
    """The model of some context photographs.

    Args:
        proposal: of these views.
        views: the context photographs.
        config: priors and order; None: the defaults.
        renderer: name of an engine, see ``make_renderer``. Its pictures are counted
            (``model.renderer.count``).
        count: where they are counted, if others count there too.

    Raises:
        BayesSplatError: the renderer is not to be had here.
    """
    config = config or ModelConfig()
    plain = make_renderer(renderer, colors.render_settings(config))
    engine = CountingRenderer(plain, RenderCount() if count is None else count)
    background = None
    if config.background == "mean":
        background = views.images.double().mean((0, 2, 3)).to(views.images)
    return SplatModel(proposal, views, engine, config, background=background)
