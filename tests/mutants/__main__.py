"""Plant faults and see whether the tests notice: ``make mutants``, or

    python -m tests.mutants [part of a name ...]

Every fault is planted in a copy of the working tree; the tree itself is never touched. First the
named tests must pass as they are. The last line is the score; the exit status is 0 if every fault
was caught.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.table import ROOT, Mutant, all_mutants

TIMEOUT = 300
SKIPPED = shutil.ignore_patterns(
    ".*", "build", "outputs", "shared", "*.egg-info", "__pycache__", "*.png", "*.nc"
)


def main(words: list[str]) -> int:
    """Run all faults whose name holds any of the words, and print what came of each."""
    mutants = [m for m in all_mutants() if not words or any(word in m.name for word in words)]
    if not mutants:
        print(f"no fault is called like {words}")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder, "tree")
        shutil.copytree(ROOT, tree, ignore=SKIPPED)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        status, output = run_tests(tree, tests, stop_at_first=False)
        if status != 0:
            print(f"the tests do not pass as they are:\n{output}")
            return 2
        caught = sum(is_caught(tree, mutant) for mutant in mutants)
    print(f"{caught} of {len(mutants)} planted faults caught")
    return 0 if caught == len(mutants) else 1


def is_caught(tree: Path, mutant: Mutant) -> bool:
    """Plant one fault, run its tests, take it out again."""
    file = tree / mutant.file
    right = file.read_text("utf-8")
    file.write_text(planted(right, mutant), "utf-8")
    begin = time.perf_counter()
    try:
        status, output = run_tests(tree, list(mutant.tests), stop_at_first=True)
    finally:
        file.write_text(right, "utf-8")
    # 1: tests failed. 2 and above: pytest could not run them, which shows nothing.
    verdict = {0: "NOT CAUGHT", 1: "caught"}.get(status, f"broken (pytest: {status})")
    by = next((line for line in output.splitlines() if line.startswith("FAILED")), "")
    by = by.removeprefix("FAILED ").split(" - ")[0]
    print(f"{verdict:10}  {mutant.name}  [{time.perf_counter() - begin:.0f} s]  {by}", flush=True)
    if status > 1:
        print(output)
    return status == 1


def planted(text: str, mutant: Mutant) -> str:
    """``text`` with the fault in it.

    Raises:
        ValueError: the text to replace is not there, or more than once.
    """
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(
            f"{mutant.name!r}: its text occurs {count} times in {mutant.file}, not once;"
            " the code has changed, so change the entry in tests/mutants"
        )
    return text.replace(mutant.old, mutant.new)


def run_tests(tree: Path, tests: list[str], stop_at_first: bool) -> tuple[int, str]:
    """Exit status and output of pytest in the copy; a test that hangs has noticed, too."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "--no-header", "--tb=line"]
    command += ["-p", "no:cacheprovider", *(["-x"] if stop_at_first else []), *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            timeout=TIMEOUT * (1 if stop_at_first else 10),
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return 1, "FAILED by taking too long"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
