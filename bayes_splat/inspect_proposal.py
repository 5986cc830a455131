"""``bayes-splat inspect-proposal``: what a proposal believes of single pixels, as figures."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayes_splat import geometry, proposal_figures, report, view_choice
from bayes_splat.errors import ConfigError
from bayes_splat.files import writable_folder
from bayes_splat.inspect_config import InspectConfig, InspectPlan
from bayes_splat.models import proposals
from bayes_splat.models.encoder import epipolar_sampler
from bayes_splat.models.encoder import propose as learned
from bayes_splat.models.encoder.propose import Encoded
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.proposal_figures import Look, PixelStory
from bayes_splat.types import Views

_QUANTILES = (0.05, 0.5, 0.95)  # of entropy, for the pixels that nobody chose


class Inspected(NamedTuple):
    """What was looked at.

    Attributes:
        text: a line a pixel, and where the figures are.
        files: the figures.
    """

    text: str
    files: list[Path]


def inspect(plan: InspectPlan, tell: Callable[[str], None] = lambda text: None) -> Inspected:
    """Propose depths and draw what is believed of some pixels.

    Args:
        plan: what to look at.
        tell: hears what happens.

    Raises:
        BayesSplatError: anything about the input that the user can mend.
    """
    out = writable_folder(plan.options.out)
    views, _ = view_choice.load_views(plan.run)
    tell(f"proposing depths for {len(views)} views by {plan.run.proposal.name}")
    encoded = None
    config = plan.run.proposal
    if isinstance(config, EncoderConfig) and not proposals.is_small(config):
        encoder = learned.load(config)
        encoded = learned.encode(views, encoder, config, keep_attention=True)
        proposal = learned.to_proposal(encoded, views, encoder, config)
    else:
        proposal = proposals.propose(views, config)
    pixels = choose_pixels(proposal, views, plan.options)
    stories = [tell_pixel(proposal, views, plan.options.view, *at, encoded) for at in pixels]
    return _write(out, proposal, views, plan.options.view, stories)


def choose_pixels(
    proposal: DepthProposal, views: Views, options: InspectConfig
) -> list[tuple[int, int]]:
    """(column, row) of the wanted pixels, or of a sure, a middling and an unsure one.

    Raises:
        ConfigError: a view or a pixel that is not there.
    """
    height, width = views.cameras.image_shape
    if options.view >= len(views):
        raise ConfigError(
            f"view is {options.view} but there are context views 0 to {len(views) - 1}"
        )
    if options.columns is None or options.rows is None:
        bits = _entropy_map(proposal, views, options.view).ravel()
        order = np.argsort(bits, kind="stable")
        chosen = [int(order[round(q * (len(order) - 1))]) for q in _QUANTILES]
        return [(index % width, index // width) for index in chosen]
    for name, found, most in (("columns", options.columns, width), ("rows", options.rows, height)):
        if max(found) >= most:
            raise ConfigError(f"{name} is {found} but the pictures have {name} 0 to {most - 1}")
    return list(zip(options.columns, options.rows, strict=True))


def tell_pixel(
    proposal: DepthProposal,
    views: Views,
    view: int,
    column: int,
    row: int,
    encoded: Encoded | None = None,
) -> PixelStory:
    """What the proposal believes of one pixel.

    Args:
        proposal: over all pixels of the views.
        views: the context.
        view, column, row: the pixel.
        encoded: the encoder's answer with its attention; without it the other views show where
            the buckets' centres lie, weighted by probability.
    """
    height, width = views.cameras.image_shape
    index = (view * height + row) * width + column
    edges = torch.arange(proposal.num_buckets + 1).double() / proposal.num_buckets
    truth = None
    if views.depths is not None and bool(views.depths[view, row, column].isfinite()):
        depth = views.depths[view, row, column].double()
        ends = proposal.near[index], proposal.far[index]
        relative = geometry.depth_to_relative_disparity(depth, *ends)
        truth = (float(relative) * proposal.num_buckets, float(depth))
    looks = [] if encoded is None else _attention(encoded, views, view, column, row)
    return PixelStory(
        title=f"column {column}, row {row} of {views.names[view]}",
        image=_photograph(views, view),
        column=column,
        row=row,
        edges=geometry.relative_disparity_to_depth(
            edges, proposal.near[index], proposal.far[index]
        ).numpy(),
        probabilities=proposal.probabilities[index].double().numpy(),
        depth=float(proposal.mode()[index]),
        truth=truth,
        looks=looks or _buckets(proposal, views, view, index),
    )


def _buckets(proposal: DepthProposal, views: Views, view: int, index: int) -> list[Look]:
    """The centres of the pixel's buckets in all other views."""
    centre = (torch.arange(proposal.num_buckets).double() + 0.5) / proposal.num_buckets
    depths = geometry.relative_disparity_to_depth(centre, proposal.near[index], proposal.far[index])
    points = proposal.origins[index] + depths[:, None].float() * proposal.directions[index]
    looks = []
    for other in range(len(views)):
        if other != view:
            xy, z = (t[0] for t in geometry.project_points(points, views.cameras[other]))
            looks.append(
                _look(
                    f"{views.names[other]}: bucket probability",
                    views,
                    other,
                    xy,
                    proposal.probabilities[index],
                    z > 0,
                )
            )
    return looks


def _attention(encoded: Encoded, views: Views, view: int, column: int, row: int) -> list[Look]:
    """Where the ray of the pixel's cell looks in all other views, layer by layer."""
    output, context = encoded.output, encoded.context
    if output.samples is None or not output.attention:
        return []
    padded_height, padded_width = context.images.shape[-2:]
    cells = output.samples.xy.shape[3]
    cell = round((padded_height * padded_width / cells) ** 0.5)
    ray = (row // cell) * (padded_width // cell) + column // cell
    size = torch.tensor([padded_width, padded_height])
    looks = []
    for place, other in enumerate(epipolar_sampler.other_views(len(views))[view].tolist()):
        xy = output.samples.xy[0, view, place, ray] * size
        is_seen = output.samples.is_seen[0, view, place, ray].expand(len(xy))
        for layer, attention in enumerate(output.attention, start=1):
            weights = attention[0, view, ray, place]
            title = f"{views.names[other]}: attention, layer {layer}"
            looks.append(_look(title, views, other, xy, weights, is_seen))
    return looks


def _look(
    title: str, views: Views, other: int, xy: Tensor, weights: Tensor, is_there: Tensor
) -> Look:
    """The points that lie in the picture."""
    height, width = views.cameras.image_shape
    inside = (xy >= 0).all(-1) & (xy <= torch.tensor([width, height])).all(-1) & is_there
    return Look(
        title=f"{title}\n{float(weights[inside].sum()):.0%} of it in this picture",
        image=_photograph(views, other),
        points=xy[inside].double().numpy(),
        weights=weights[inside].double().numpy(),
    )


def _photograph(views: Views, view: int) -> np.ndarray:
    return views.images[view].movedim(0, -1).double().numpy()


def _entropy_map(proposal: DepthProposal, views: Views, view: int) -> np.ndarray:
    phi = proposal.probabilities.double().numpy()
    return _map(proposal_figures.entropy(phi), views, view)


def _map(values: np.ndarray, views: Views, view: int) -> np.ndarray:
    """One view of a value a Gaussian."""
    maps: np.ndarray = values.reshape(len(views), *views.cameras.image_shape)
    return np.asarray(maps[view])


def _write(
    out: Path, proposal: DepthProposal, views: Views, view: int, stories: list[PixelStory]
) -> Inspected:
    figure = proposal_figures.overview(
        f"{views.names[view]}: {proposal.num_buckets} depth buckets",
        _photograph(views, view),
        _map(proposal.mode().numpy(), views, view),
        _entropy_map(proposal, views, view),
        _map(proposal.opacities.numpy(), views, view),
        float(np.log2(proposal.num_buckets)),
        [(story.column, story.row) for story in stories],
    )
    files = [out / "overview.png"]
    report.save_figure(files[0], figure)
    lines = []
    for number, story in enumerate(stories, start=1):
        files.append(out / f"pixel_{number}.png")
        report.save_figure(files[-1], proposal_figures.pixel_figure(story))
        known = "" if story.truth is None else f", in truth {story.truth[1]:.3g}"
        bits = float(proposal_figures.entropy(story.probabilities))
        lines.append(
            f"{number}: {story.title}: depth {story.depth:.3g}{known}, probability "
            f"{story.probabilities.max():.2f}, entropy {bits:.1f} bits"
        )
    return Inspected("\n".join([*lines, f"Figures lie in {out}"]), files)
