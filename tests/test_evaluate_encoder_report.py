import csv
import errno

import numpy as np
import pytest

from bayes_splat import evaluate_encoder_report as tables
from bayes_splat.depth_metrics import LEVELS
from bayes_splat.errors import OutputError
from bayes_splat.evaluate_encoder_report import Row


def row(example="a", proposal="encoder", **values) -> Row:
    return Row("procedural", example, proposal, **values)


def test_rows_are_on_disk_as_soon_as_they_are_added(tmp_path):
    path = tmp_path / "new" / "t.csv"
    inside = tuple(0.1 * i for i in range(len(LEVELS)))
    with tables.open_table(path) as add:
        add(row(psnr=20.5, inside=inside))
        add(row("b, c", error="it failed, twice"))
        found = list(csv.DictReader(path.open(encoding="utf-8")))
    assert [r["example"] for r in found] == ["a", "b, c"]
    assert float(found[0]["psnr"]) == 20.5
    assert float(found[0]["inside_90"]) == pytest.approx(0.8)
    assert np.isnan(float(found[0]["mass_95"]))
    assert found[1]["error"] == "it failed, twice"


def test_table_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="choose another folder"),
        tables.open_table(tmp_path / "file" / "t.csv"),
    ):
        pass


def test_full_disk_says_so(tmp_path, monkeypatch):
    with tables.open_table(tmp_path / "t.csv") as add:

        def full(self, row):
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(csv.DictWriter, "writerow", full)
        with pytest.raises(OutputError, match="the disk is full"):
            add(row())


def test_means_leave_out_what_failed_or_is_unknown():
    levels = (0.5,) * len(LEVELS)
    rows = [
        row("a", psnr=20.0, nll=1.0, encode_seconds=1.0, peak_memory=100.0, inside=levels),
        row("b", psnr=30.0, encode_seconds=2.0, peak_memory=300.0, targets=2),
        row("c", nll=2.0, encode_seconds=9.0, peak_memory=200.0, targets=1),
        row("d", error="broken"),
    ]
    found = tables.mean_row(rows)
    assert found.example == "3 of 4"
    assert (found.psnr, found.nll, found.encode_seconds, found.peak_memory) == (25, 1.5, 2, 300)
    assert found.targets == 3
    assert found.inside == levels
    assert np.isnan(found.ssim)


def test_table_for_people():
    good = row(psnr=20.123, inside=(0.95,) * len(LEVELS), mass=(0.9,) * len(LEVELS))
    text = tables.markdown([good, row(proposal="nearest_view", ssim=0.5), row("b", error="no")])
    head, rule, first, second = text.splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|") == 14
    assert first.startswith("| procedural | encoder | 1 of 2 | 20.12 | - |")
    assert "| 0.950 (0.900) |" in first
    assert "| nearest_view | 1 of 1 | - | 0.500 |" in second


def test_proposals_are_compared_on_the_examples_that_both_have():
    rows = [
        row("a", psnr=22.0, abs_rel=0.1, nll=-1.0),
        row("b", psnr=20.0, abs_rel=0.1),
        row("c", psnr=25.0, abs_rel=0.3),
        row("d", psnr=99.0),
        row("a", "plane_sweep", psnr=20.0, abs_rel=0.2, nll=1.0),
        row("b", "plane_sweep", psnr=21.0, abs_rel=0.2),
        row("c", "plane_sweep", psnr=23.0),
        row("d", "plane_sweep", error="broken"),
        row("a", "nearest_view", psnr=21.0),
    ]
    assert tables.comparisons(rows) == [
        "procedural: encoder against plane_sweep: PSNR higher in 2 of 3 (67%), by +1.00 dB; mean "
        "abs-rel -50%; NLL -2.000 nats.",
        "procedural: encoder against nearest_view: PSNR higher in 1 of 1 (100%), by +1.00 dB.",
        "procedural: plane_sweep against nearest_view: PSNR higher in 0 of 1 (0%), by -1.00 dB.",
    ]


def test_what_nll_leaves_out_is_said():
    rows = [row("a", impossible=0.001), row("b", impossible=0.0), row("a", "other", impossible=0.0)]
    assert tables.impossibilities(rows) == [
        "procedural: encoder holds 0.050% of the true depths for impossible (density zero); NLL is "
        "that of the others."
    ]
    assert "0.050%" in tables.summary(rows, [])


def test_summary_tells_reasons_once(tmp_path):
    rows = [row(str(i), error="scene is bad; mend it") for i in range(3)] + [row("x", psnr=9.0)]
    text = tables.summary(rows, ["LPIPS is missing: why."])
    assert "LPIPS is missing: why." in text
    assert "3 rows failed; each is in evaluate_encoder.csv" in text
    assert text.count("scene is bad; mend it") == 1
    assert "- procedural 0, encoder and 2 more: scene is bad; mend it" in text
    tables.write_summary(tmp_path, text)
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == text + "\n"
