from dataclasses import replace

import numpy as np
import pytest

from bayes_splat import cli
from bayes_splat.config import compose_config
from bayes_splat.errors import ConfigError
from bayes_splat.evaluation import information, next_view, tables
from tests.helpers_evaluation import record
from tests.helpers_transforms import Scene

SMALL = ("resolution=12", "chains=2", "warmup=1", "draws=4", "components=8", "renderer=cpu")


def test_ranks_the_demo_and_writes_a_table_and_a_figure(tmp_path, capsys):
    assert cli.main(["next-view", *SMALL, f"out={tmp_path}"]) == cli.DONE
    text = capsys.readouterr().out
    rows = tables.read_plain(tmp_path / "candidates.csv")
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert sorted(row["frame"] for row in rows) == [2, 3, 4]
    nats = [row["information_pixels"] for row in rows]
    assert nats == sorted(nats, reverse=True)
    assert f"1. frame {rows[0]['frame']:.0f} ({rows[0]['view']}): {nats[0]:.1f} nats" in text
    assert (tmp_path / "candidates.png").stat().st_size > 1000


def test_an_interruption_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(next_view, "was_stopped", lambda draws, limit: True)
    assert cli.main(["next-view", *SMALL, f"out={tmp_path}"]) == cli.INTERRUPTED
    assert "made of the draws until then" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(next_view.proposals, "propose", None)
    assert cli.main(["next-view", *SMALL, f"out={tmp_path / 'file'}"]) == cli.MISTAKE
    assert "a file stands where a folder should be" in capsys.readouterr().err


def test_rank_follows_the_score():
    found, truth = record(draws=12, views=2)
    shrunk = found.means.copy()
    shrunk[:, 1] = shrunk[:, 1].mean(0) + 0.1 * (shrunk[:, 1] - shrunk[:, 1].mean(0))
    unknown = information.unknown(replace(found, means=shrunk))
    for score, function in information.SCORES.items():
        rows = next_view.rank(
            unknown, [7, 9], ("a", "b"), truth.is_outside, np.array([1.0, 2.0]), score
        )
        assert [row["frame"] for row in rows] == [7, 9]
        assert rows[0][f"information_{score}"] == pytest.approx(function(unknown)[0])
    assert rows[1]["gap_degrees"] == 2.0


def test_candidates_are_all_other_frames(tmp_path):
    def others(*overrides):
        return next_view.other_frames(compose_config(overrides)[0])

    assert others("resolution=12", "context=[1,3]") == [0, 2, 4]
    scene = Scene(tmp_path)
    scene.load()
    assert others(f"scene={tmp_path}") == [2]
    with pytest.raises(ConfigError, match="there is no choice"):
        others(f"scene={tmp_path}", "context=[0,1,2]")
