"""What a network sees of a validation scene, as a figure."""

from matplotlib.figure import Figure
from torch import Tensor, nn

from bayes_splat.models.encoder import border
from bayes_splat.models.encoder import propose as learned
from bayes_splat.models.encoder.encoder import PixelSplatEncoder
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.small_encoder import propose as small
from bayes_splat.models.small_encoder.network import SmallEncoder
from bayes_splat.scenes.examples import Example


def figure(model: nn.Module, example: Example, title: str) -> Figure:
    """Photograph, true depth, most probable depth and opacity of the first context view.

    Args:
        model: either encoder.
        example: its context is shown to the network.
        title: above all.
    """
    proposal = _propose(model, example)
    height, width = example.context.cameras.image_shape
    first = slice(0, height * width)
    depth = proposal.mode()[first].reshape(height, width).cpu()
    photograph = example.context.images[0].movedim(0, -1)
    panels: list[tuple[str, Tensor, dict[str, float]]] = [("photograph", photograph, {})]
    ends = {"vmin": 1.0 / float(proposal.far[0]), "vmax": 1.0 / float(proposal.near[0])}
    if example.context.depths is not None:
        panels.append(("true disparity", 1.0 / example.context.depths[0], ends))
    panels.append(("disparity of the mode", 1.0 / depth, ends))
    opacity = proposal.opacities[first].reshape(height, width).cpu()
    panels.append(("opacity", opacity, {"vmin": 0.0, "vmax": 1.0}))
    made = Figure(figsize=(3 * len(panels), 3.2), layout="constrained")
    made.suptitle(f"{example.key}, {title}")
    for axes, (name, picture, limits) in zip(made.subplots(1, len(panels)), panels, strict=True):
        image = axes.imshow(picture.cpu().numpy(), **limits)
        axes.set_title(name)
        axes.set_axis_off()
        if limits:
            made.colorbar(image, ax=axes, shrink=0.8)
    return made


def _propose(model: nn.Module, example: Example) -> DepthProposal:
    config = EncoderConfig(device="cpu")
    if isinstance(model, SmallEncoder):
        return small.to_proposal(model(example.context), example.context, config)
    assert isinstance(model, PixelSplatEncoder)
    context, frame = border.to_context(example.context, model.sizes.patch_multiple)
    encoded = learned.Encoded(context, frame, model(context))
    return learned.to_proposal(encoded, example.context, model, config)
