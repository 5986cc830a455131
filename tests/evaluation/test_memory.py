import sys

import numpy as np
import pytest

from bayes_splat.evaluation import memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps such a mark")
def test_peak_is_that_since_the_last_reset():
    block = np.ones(40_000_000, dtype=np.uint8)
    memory.reset_peak()
    with_block = memory.peak()
    assert with_block > 40
    del block
    memory.reset_peak()
    assert memory.peak() < with_block - 30


def test_unknown_where_nobody_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "clear")
    memory.reset_peak()
    assert np.isnan(memory.peak())
