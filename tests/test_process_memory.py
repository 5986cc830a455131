import sys

import numpy as np
import pytest

from bayes_splat import process_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts anew")
def test_peak_is_that_since_the_reset():
    block = np.ones(200_000_000 // 8)
    high = process_memory.peak_megabytes()
    del block
    process_memory.reset_peak()
    low = process_memory.peak_megabytes()
    assert low < high - 150
    again = np.ones(200_000_000 // 8)
    assert process_memory.peak_megabytes() > low + 150
    del again


def test_other_systems_tell_the_peak_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(process_memory, "_SELF", tmp_path / "nowhere")
    process_memory.reset_peak()
    assert process_memory.peak_megabytes() > 50
