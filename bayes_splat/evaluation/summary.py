"""What an evaluation says: the tables of ``summary.md``, and the same page as HTML."""

import html
import math
from collections.abc import Callable, Sequence

import numpy as np

from bayes_splat.evaluation import tables
from bayes_splat.evaluation.tables import Interval, Row

METRICS = (
    ("psnr", "PSNR, dB", 2),
    ("ssim", "SSIM", 3),
    ("lpips", "LPIPS", 3),
    ("nll", "NLL, nats", 3),
    ("crps", "CRPS", 4),
    ("ause_mae", "AUSE (MAE)", 3),
    ("random_ause_mae", "random order", 3),
    ("ause_rmse", "AUSE (RMSE)", 3),
    ("spearman", "Spearman", 3),
    ("spearman_surface", "Spearman, alpha > 0.5", 3),
    ("explained_share", "squared error explained by spread", 3),
)
"""Columns of the first table: means over target views."""

CALIBRATION = (
    ("coverage_50", "50 %", 3),
    ("coverage_80", "80 %", 3),
    ("coverage_90", "90 %", 3),
    ("coverage_95", "95 %", 3),
    ("ece", "ECE", 3),
    ("patch_coverage_90", "patches covered", 3),
    ("view_coverage_90", "views covered", 3),
    ("width_90", "width of 90 %", 3),
    ("relative_width_90", "width at matched coverage / constant", 3),
)
"""Columns of the second: of all target views of a scene, means over scenes."""

DEPTH = (
    ("depth_abs_rel", "abs rel", 3),
    ("depth_inliers", "delta < 1.25", 3),
    ("depth_ause", "AUSE", 3),
    ("random_depth_ause", "random order", 3),
    ("depth_spearman", "Spearman", 3),
    ("depth_coverage_90", "90 % covers", 3),
    ("depth_nll", "NLL, nats", 3),
)

COST = (
    ("seconds", "seconds", 1),
    ("predict_seconds", "of prediction", 1),
    ("renders", "renders", 0),
    ("renders_with_gradient", "with gradient", 0),
    ("peak_memory", "peak memory, MB", 0),
    ("scale", "scale", 2),
    ("median_rhat", "R-hat median", 2),
    ("worst_rhat", "worst", 2),
    ("median_ess_per_second", "ESS/s median", 2),
    ("least_ess_per_second", "least", 3),
    ("is_optimised", "converged (Adam)", 2),
)

BY_SCENE = (
    ("psnr", "PSNR, dB", 2),
    ("nll", "NLL", 2),
    ("crps", "CRPS", 4),
    ("ause_mae", "AUSE", 3),
    ("coverage_90", "90 % covers", 3),
    ("ece", "ECE", 3),
    ("patch_coverage_90", "patches covered", 3),
    ("relative_width_90", "relative width", 3),
    ("auroc_outside", "AUROC outside", 3),
    ("outside_pixels", "pixels outside", 0),
    ("depth_ause", "depth AUSE", 3),
    ("seconds", "seconds", 0),
)
"""Columns of the table of single scenes."""

DUELS = ("nll", "crps", "ause_mae", "depth_ause")
"""Metrics on which samplers are held against baselines; less is better."""


def markdown(
    views: Sequence[Row],
    scenes: Sequence[Row],
    contenders: Sequence[str],
    figures: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        views: rows a method, scaling and target view.
        scenes: rows a method, scaling and scene.
        contenders: methods that are held against all others.
        figures: files beside the page.
    """
    number = len({(row["scene"], row["split"]) for row in scenes})
    count = len({(row["scene"], row["split"], row["view"]) for row in views if row.get("view")})
    parts = [
        "# Evaluation",
        f"{_count(number, 'scene')}, {_count(count, 'target view')}. In brackets: where 95 % of "
        "bootstrap means over views lie. Each method twice: raw, and with one scale of its "
        "standard deviation fitted on context pixels.",
        "## Pictures and the order of uncertainty",
        _table(views, METRICS, _with_interval),
        "## Calibration",
        "All target views of a scene together; means over scenes.",
        _table(scenes, CALIBRATION, _plain),
        _extremes(scenes),
        *_depth(views),
        "## Cost and convergence",
        "Means over scenes; the proposal, which all methods share, is not counted.",
        _table([row for row in scenes if row.get("scaling") != "raw"], COST, _plain),
        *_duels(views, contenders),
        *_by_scene(scenes, contenders),
        *_failures(views),
        *[f"![{name}]({name})" for name in figures],
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short(views: Sequence[Row]) -> str:
    """What fits a terminal: means over target views, raw."""
    raw = [row for row in views if row["scaling"] == "raw"]
    chosen = {"psnr", "nll", "crps", "ause_mae", "coverage_90", "ece", "relative_width_90"}
    columns = [one for one in (*METRICS, *CALIBRATION, *COST[:1]) if one[0] in chosen | {"seconds"}]
    names = {"coverage_90": "90 % covers", "relative_width_90": "relative width"}
    headed = [(key, names.get(key, heading), digits) for key, heading, digits in columns]
    return "\n\n".join([_table(raw, headed, _plain), *_failures(raw)[1:]])


def as_html(text: str) -> str:
    """The page of ``markdown`` for browsers: headings, tables, pictures and paragraphs."""
    body = [_block(block) for block in text.strip().split("\n\n")]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evaluation</title>\n'
        "<style>body{font:15px sans-serif;margin:2em;max-width:90em}table{border-collapse:collapse}"
        "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:right}td:first-child,"
        "td:nth-child(2){text-align:left}img{max-width:100%}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _table(
    rows: Sequence[Row],
    columns: Sequence[tuple[str, str, int]],
    show: Callable[[Interval, int], str],
) -> str:
    found = tables.methods(rows)
    kept = [
        column
        for column in columns
        if any(tables.values(rows, *pair, column[0]).size for pair in found)
    ]
    head = ["method", "", *[heading for _, heading, _ in kept]]
    body = [
        [
            *pair,
            *[
                show(tables.bootstrap(tables.values(rows, *pair, column)), digits)
                for column, _, digits in kept
            ],
        ]
        for pair in found
    ]
    return _lines(head, body)


def _extremes(scenes: Sequence[Row]) -> str:
    """Least and greatest coverage over scenes; does the spread know what was never seen."""
    head = ["method", "", "90 % covers, least scene", "greatest scene"]
    head += ["AUROC of pixels outside every context view, mean", "least scene", "scenes"]
    head += ["AUROC of never seen pixels, mean", "least scene", "scenes"]
    body = []
    for pair in tables.methods(scenes):
        coverage = tables.values(scenes, *pair, "coverage_90")
        row = [*pair, _digits(_least(coverage), 3), _digits(-_least(-coverage), 3)]
        for column in ("auroc_outside", "auroc_never_seen"):
            found = tables.values(scenes, *pair, column)
            mean = float(found.mean()) if found.size else math.nan
            row += [_digits(mean, 3), _digits(_least(found), 3), str(found.size)]
        body.append(row)
    return _lines(head, body)


def _depth(views: Sequence[Row]) -> list[str]:
    pairs = tables.methods(views)
    if not any(tables.values(views, *pair, "depth_nll").size for pair in pairs):
        return []
    raw = [row for row in views if row["scaling"] == "raw"]
    text = "Views with true depth; the scale of colours does not touch depth."
    return ["## Depth", text, _table(raw, DEPTH, _with_interval)]


def _duels(views: Sequence[Row], contenders: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(method for method, _ in tables.methods(views)))
    body = []
    for ours in contenders:
        for other in names:
            for scaling in ("raw", "scaled"):
                for metric in DUELS:
                    if ours == other or other in contenders or ours not in names:
                        continue
                    found = tables.duel(views, ours, other, scaling, metric)
                    if found.scenes:
                        wins = f"{100 * found.wins:.0f} % of {found.scenes}"
                        difference = _with_interval(found.difference, 4)
                        body.append([f"{ours} - {other}", scaling, metric, difference, wins])
    if not body:
        return []
    head = ["methods", "", "metric", "mean difference over views (negative: the first is better)"]
    return ["## Against the baselines", _lines([*head, "better in scenes"], body)]


def _by_scene(scenes: Sequence[Row], contenders: Sequence[str]) -> list[str]:
    rows = [row for row in scenes if row["method"] in contenders and not row.get("error")]
    if not rows:
        return []
    head = ["scene", "split", "method", "", *[heading for _, heading, _ in BY_SCENE]]
    body = [
        [
            *[str(row[key]) for key in ("scene", "split", "method", "scaling")],
            *[_digits(float(row.get(key, math.nan)), digits) for key, _, digits in BY_SCENE],
        ]
        for row in rows
    ]
    return ["## Scene by scene", "All target views of a scene together.", _lines(head, body)]


def _failures(rows: Sequence[Row]) -> list[str]:
    found = [
        [str(row["scene"]), str(row["split"]), str(row["method"]), str(row["error"])]
        for row in rows
        if row.get("error")
    ]
    if not found:
        return []
    return ["## What failed", _lines(["scene", "split", "method", "why"], found)]


def _with_interval(found: Interval, digits: int) -> str:
    if not found.size:
        return "-"
    if found.size == 1:
        return _digits(found.mean, digits)
    ends = f"{found.low:.{digits}f}, {found.high:.{digits}f}"
    return f"{_digits(found.mean, digits)} [{ends}]"


def _plain(found: Interval, digits: int) -> str:
    return _digits(found.mean, digits)


def _digits(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _least(found: np.ndarray) -> float:
    return float(found.min()) if found.size else math.nan


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in body]
    return "\n".join(lines)


def _block(block: str) -> str:
    if block.startswith("#"):
        level = len(block) - len(block.lstrip("#"))
        return f"<h{level}>{html.escape(block.lstrip('# '))}</h{level}>"
    if block.startswith("!["):
        name = html.escape(block[2:].partition("]")[0], quote=True)
        return f'<p><img src="{name}" alt="{name}"></p>'
    if block.startswith("|"):
        head, _, *body = (
            [c.strip() for c in line.strip("| ").split(" | ")] for line in _rows(block)
        )
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in body
        )
        return f"<table><tr>{cells}</tr>\n{rows}</table>"
    return f"<p>{html.escape(block)}</p>"


def _rows(block: str) -> list[str]:
    return block.split("\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
