"""``bayes-splat evaluate-encoder``: proposals on scenes whose depth or further views are known."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from bayes_splat import evaluate_encoder_figures as figures
from bayes_splat import evaluate_encoder_report as tables
from bayes_splat import process_memory, proposal_figures, proposal_scores, report
from bayes_splat.errors import BayesSplatError, ConfigError
from bayes_splat.evaluate_encoder_config import EvaluateEncoderPlan
from bayes_splat.evaluate_encoder_figures import Panel
from bayes_splat.evaluate_encoder_report import Row
from bayes_splat.files import atomic_path
from bayes_splat.image_metrics import Lpips, find_lpips
from bayes_splat.models import plane_sweep, proposals
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.models.proposals import ProposalConfig
from bayes_splat.rendering.renderer import Renderer, make_renderer
from bayes_splat.scenes import examples, re10k
from bayes_splat.scenes.examples import Example, Planned
from bayes_splat.scenes.procedural import Split, procedural_scene

BASELINE = "nearest_view"
"""The name of the nearest context photograph copied, in place of a proposal's."""

EVERYTHING = "all"
"""Source and example of an error that is about no example but about a proposal's options."""


class Evaluated(NamedTuple):
    """What an evaluation came to.

    Attributes:
        text: the table, and what is to be said about it.
        rows: of the table on disk.
        is_interrupted: whether examples are missing.
    """

    text: str
    rows: list[Row]
    is_interrupted: bool


class _Shown(NamedTuple):
    """A panel, and the entropy of knowing nothing."""

    panel: Panel
    most_bits: float


def evaluate(
    plan: EvaluateEncoderPlan, tell: Callable[[str], None] = lambda text: None
) -> Evaluated:
    """Measure every proposal on every example and write rows as they come, then the rest.

    An example or proposal that fails is a row with its error; options of a proposal that cannot
    work are told once. Interrupted, what there is is summed up.

    Args:
        plan: what is measured, and on what.
        tell: hears what happens.

    Raises:
        BayesSplatError: a folder or index that does not exist; results that cannot be written.
    """
    planned = plan_examples(plan)
    out = Path(plan.options.out)
    with atomic_path(out / "config.yaml") as partial:
        partial.write_text(plan.composed, encoding="utf-8")
    renderer = make_renderer(plan.renderer)  # over black and clipped, as the encoder was trained
    _warm_up(renderer)
    lpips = find_lpips()
    shown = _shown(planned, plan.options.panels)
    rows: list[Row] = []
    drawn: list[tuple[Row, _Shown]] = []
    is_interrupted = False
    with tables.open_table(out / tables.TABLE) as add:
        try:
            for row, panel in _measure(planned, shown, plan.proposals, renderer, lpips, tell):
                add(row)
                rows.append(row)
                drawn += [] if panel is None else [(row, panel)]
        except KeyboardInterrupt:
            if not rows:
                raise
            is_interrupted = True
    return Evaluated(_write(out, rows, drawn, lpips), rows, is_interrupted)


def plan_examples(plan: EvaluateEncoderPlan) -> list[Planned]:
    """Every example that the options ask for, none of them read yet.

    Raises:
        BayesSplatError: a folder or index that does not exist or is empty.
    """
    options = plan.options
    sources: list[list[Planned]] = []
    if options.scenes == "procedural":
        split = cast(Split, options.split)
        sources.append(
            examples.procedural(
                options.number, options.resolution, options.seed, split, options.targets
            )
        )
    if options.folder is not None:
        sources.append(examples.folders(options.folder, options.resolution))
    if options.re10k is not None and options.index is not None:
        square = re10k.Re10kOptions(image_shape=(options.resolution, options.resolution))
        sources.append(re10k.evaluation_examples(Path(options.re10k), Path(options.index), square))
    return [one for source in sources for one in _spread(source, options.most)]


def _measure(
    planned: Sequence[Planned],
    shown: set[tuple[str, str]],
    configs: Mapping[str, ProposalConfig],
    renderer: Renderer,
    lpips: Lpips,
    tell: Callable[[str], None],
) -> Iterator[tuple[Row, _Shown | None]]:
    """Rows in the order of the examples, with a panel where one is to be drawn."""
    live = dict(configs)
    for number, item in enumerate(planned, start=1):
        tell(f"{number} of {len(planned)}: {item.source} {item.key}")
        try:
            example = item.load()
        except Exception as error:
            for name in (*live, BASELINE):
                yield _failed(item, name, error), None
            continue
        is_shown = (item.source, item.key) in shown
        for name, config in list(live.items()):
            try:
                measured = _measure_one(item, example, name, config, renderer, lpips)
                yield measured.row, _panel(measured, example) if is_shown else None
            except ConfigError as error:  # about the proposal, not about the example
                tell(f"{name} is left out: {error}")
                del live[name]
                nowhere = item._replace(source=EVERYTHING, key=EVERYTHING)
                yield _failed(nowhere, name, error), None
            except Exception as error:
                yield _failed(item, name, error), None
        try:
            yield _copied(item, example, lpips), None
        except Exception as error:
            yield _failed(item, BASELINE, error), None


class _Measured(NamedTuple):
    row: Row
    proposal: DepthProposal
    pictures: proposal_scores.Pictures


def _measure_one(
    item: Planned,
    example: Example,
    name: str,
    config: ProposalConfig,
    renderer: Renderer,
    lpips: Lpips,
) -> _Measured:
    context, targets = example.context, example.targets
    process_memory.reset_peak()
    started = time.perf_counter()
    proposal = proposals.propose(context, config)
    encode_seconds = time.perf_counter() - started
    made = proposal_scores.render_mode(proposal, context, targets.cameras, renderer)
    peak = process_memory.peak_megabytes()
    depths = proposal_scores.score_depths(proposal, context)
    row = Row(
        item.source,
        item.key,
        name,
        targets=len(targets),
        **proposal_scores.score_pictures(made.pictures, targets, lpips)._asdict(),
        abs_rel=depths.abs_rel,
        delta=depths.delta,
        nll=depths.nll,
        impossible=depths.impossible,
        known=depths.known,
        inside=tuple(depths.reliability.inside.tolist()),
        mass=tuple(depths.reliability.mass.tolist()),
        encode_seconds=encode_seconds,
        render_seconds=made.seconds,
        peak_memory=peak,
    )
    return _Measured(row, proposal, made.pictures)


def _copied(item: Planned, example: Example, lpips: Lpips) -> Row:
    pictures = proposal_scores.nearest_views(example.context, example.targets)
    scores = proposal_scores.score_pictures(pictures, example.targets, lpips)
    return Row(item.source, item.key, BASELINE, targets=len(example.targets), **scores._asdict())


def _failed(item: Planned, name: str, error: Exception) -> Row:
    lines = str(error).strip().splitlines() or [""]
    kind = "" if isinstance(error, BayesSplatError) else f"{type(error).__name__}: "
    return Row(item.source, item.key, name, error=f"{kind}{lines[0]}")


def _warm_up(renderer: Renderer) -> None:
    """What is compiled or loaded once is nobody's cost."""
    views = procedural_scene(0, "val", 16, num_views=3)
    proposal = plane_sweep.propose(views[:2])
    proposal_scores.render_mode(proposal, views[:2], views[2:].cameras, renderer)


def _spread(planned: Sequence[Planned], most: int | None) -> list[Planned]:
    """Not more than ``most``, evenly spread."""
    if most is None or len(planned) <= most:
        return list(planned)
    return [planned[int(i)] for i in np.linspace(0, len(planned) - 1, most).round()]


def _shown(planned: Sequence[Planned], panels: int) -> set[tuple[str, str]]:
    """Source and key of the examples that are drawn."""
    sources = dict.fromkeys(item.source for item in planned)
    each = ([item for item in planned if item.source == source] for source in sources)
    if not panels:
        return set()
    return {(item.source, item.key) for group in each for item in _spread(group, panels)}


def _panel(measured: _Measured, example: Example) -> _Shown:
    row, proposal, pictures = measured
    context, is_any = example.context, len(example.targets) > 0
    shape = (len(context), *context.cameras.image_shape)
    phi = proposal.probabilities.double().numpy()
    scores = f"PSNR {row.psnr:.2f} dB" if is_any else "no target view"
    if row.known > 0:
        scores += f", abs-rel {row.abs_rel:.3f}, NLL {row.nll:.2f} nats"
    panel = Panel(
        title=f"{row.example}: {scores}",
        target=proposal_scores.photographs(example.targets)[0] if is_any else None,
        render=pictures[0] if is_any else None,
        photo=proposal_scores.photographs(context)[0],
        depth=proposal.mode().double().numpy().reshape(shape)[0],
        truth=None if context.depths is None else context.depths[0].double().numpy(),
        bits=proposal_figures.entropy(phi).reshape(shape)[0],
    )
    return _Shown(panel, float(np.log2(proposal.num_buckets)))


def _write(
    out: Path, rows: Sequence[Row], shown: Sequence[tuple[Row, _Shown]], lpips: Lpips
) -> str:
    """Summary and figures."""
    if not rows:
        return ""
    notes = [] if lpips.measure is not None else [f"LPIPS is missing: {lpips.reason}."]
    text = tables.summary(rows, notes)
    tables.write_summary(out, text)
    curves = figures.reliability_figure(rows)
    if curves is not None:
        report.save_figure(out / "reliability.png", curves)
    groups: dict[tuple[str, str], list[_Shown]] = {}
    for row, drawn in shown:
        groups.setdefault((row.source, row.proposal), []).append(drawn)
    for (source, name), several in groups.items():
        figure = figures.panel_figure(
            f"{name} on {source}", [one.panel for one in several], several[0].most_bits
        )
        report.save_figure(out / f"panel_{source}_{name}.png", figure)
    return f"{text}\nTables and figures lie in {out}"
