"""What a user installs is what stands in the tree, and what the code imports is declared."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from bayes_splat import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = {"bayes_splat": "bayes_splat"} | {
    room: f"bayes_splat/{room}" for room in ("configs", "models", "samplers")
}  # in the tree -> in the wheel


def _files() -> dict[str, Path]:
    """Every file that belongs into the wheel, by its place there."""
    return {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}": path
        for folder, target in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml") or path.name in ("py.typed", "weights.safetensors")
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with an sdist made from a copy of the tree, and a wheel made from that sdist."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    skip = shutil.ignore_patterns(
        ".*", "build", "dist", "outputs", "*.egg-info", "__pycache__", "benchmarks", "docs"
    )
    shutil.copytree(ROOT, source, ignore=skip, dirs_exist_ok=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    [path] = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_has_exactly_the_files_of_the_tree(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == set(_files())
    assert all(wheel.read(name) == path.read_bytes() for name, path in _files().items())
    assert {"bayes_splat/py.typed", "bayes_splat/configs/main.yaml"} <= inside


def test_wheel_says_what_it_is(wheel):
    [entry_points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "bayes-splat = bayes_splat.cli:main" in wheel.read(entry_points).decode()
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    text = wheel.read(metadata).decode()
    assert f"Version: {__version__}\n" in text
    assert "License-Expression: Apache-2.0\n" in text
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_sdist_has_tests_and_configs(built):
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = [p for folder in (*FOLDERS, "tests") for p in (ROOT / folder).rglob("*.py")]
    assert {p.relative_to(ROOT).as_posix() for p in expected} <= names
    assert {"constraints.txt", "Makefile", "CHANGELOG.md", "configs/main.yaml"} <= names


def test_installed_copy_stands_alone(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    program = """
import bayes_splat
from bayes_splat import config
import bayes_splat.configs, bayes_splat.models, bayes_splat.samplers
[folder] = bayes_splat.__path__
modules = (bayes_splat.models, bayes_splat.samplers, bayes_splat.configs)
assert all(module.__file__.startswith(folder) for module in modules)
print(folder, config.compose_config(["sampler=mala"])[0].sampler.name)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout.split() == [str(tmp_path / "site" / "bayes_splat"), "mala"], run.stderr


def test_package_list_names_every_folder_with_code_or_options():
    folders = {place.rpartition("/")[0].replace("/", ".") for place in _files()}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders)


def test_every_import_is_declared():
    declared = _declared(PROJECT["project"]["dependencies"])
    extra = _declared(PROJECT["project"]["optional-dependencies"]["train"])
    missing = {
        f"{path.relative_to(ROOT)}: {library}"
        for path in _files().values()
        for library in _libraries(path) - declared
        if not (library in extra and path.name == "training.py")  # says so where it is missing
    }
    assert not missing


def test_every_import_of_the_tests_is_declared():
    declared = _declared(
        PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    )
    missing = {
        f"{path.relative_to(ROOT)}: {library}"
        for path in (ROOT / "tests").rglob("*.py")
        for library in _libraries(path) - declared
    }
    assert not missing


def test_every_dependency_has_a_reason_and_a_tested_version():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {_normal(name) for name in re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)}
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in PROJECT["project"]["dependencies"]:
        assert re.search(rf'"{re.escape(requirement)}", +# \w', text), f"{requirement}: why?"
    for requirement in [*PROJECT["project"]["dependencies"], *(r for e in extras for r in e)]:
        assert _name(requirement) in pinned, f"{requirement} is not in constraints.txt"
    assert "torch==2.13.0\n" in constraints


def test_citation_has_the_version():
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _name(requirement: str) -> str:
    return _normal(re.split(r"[<>=!~; \[]", requirement)[0])


def _declared(requirements: list[str]) -> set[str]:
    """Import names that the requirements bring."""
    names = {_name(requirement) for requirement in requirements}
    return {
        library
        for library, distributions in packages_distributions().items()
        if names & {_normal(distribution) for distribution in distributions}
    }


def _libraries(path: Path) -> set[str]:
    """What a file imports from outside: neither ours nor Python's own."""
    if path.suffix != ".py":
        return set()
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
            names.add(str(ast.literal_eval(node.args[0])).split(".")[0])
    return names - {"bayes_splat", "tests"} - set(sys.stdlib_module_names)
