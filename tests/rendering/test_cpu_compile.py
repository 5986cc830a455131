"""Compiled code is kept where it can be, and nowhere else is needed."""

import subprocess
import sys
from pathlib import Path

import numba

from bayes_splat.rendering import cpu_compile

ROOT = Path(__file__).parents[2]

MODULE = """
from bayes_splat.rendering import cpu_compile
@cpu_compile.kernel
def double(x):
    return 2 * x
print(double(4))
"""


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "", "NUMBA_CACHE_DIR": str(folder / "kept")},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_cannot_be_kept_is_compiled_in_memory(tmp_path):
    """numba has no place for a function without a file, as for one in a read-only folder."""
    run = _start(tmp_path, "-c", MODULE)
    assert run.communicate()[0].strip() == "8"
    assert not list(tmp_path.rglob("*.nb[ic]"))


def test_two_processes_may_start_at_once(tmp_path):
    """Each compiles into the same empty folder, or finds there what the other left."""
    (tmp_path / "plain.py").write_text(MODULE, "utf-8")
    runs = [_start(tmp_path, str(tmp_path / "plain.py")) for _ in range(2)]
    assert [run.communicate()[0].strip() for run in runs] == ["8", "8"]
    assert list((tmp_path / "kept").rglob("*.nbi"))


def test_kept_code_is_found_again_until_a_module_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def compiled():
        kernel = cpu_compile.kernel(_triple)
        assert kernel(3) == 9
        return sum(kernel.stats.cache_hits.values())

    assert compiled() == 0
    assert compiled() == 1
    monkeypatch.setattr(cpu_compile, "_fingerprint", lambda: "another")
    assert compiled() == 0


def _triple(x):
    return 3 * x
