"""Imports point down the page, each library has its rooms, and every module has its test."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from bayes_splat import types

ROOT = Path(__file__).parents[1]
ROOMS = {"bayes_splat": ROOT / "bayes_splat"} | {
    f"bayes_splat.{room}": ROOT / room for room in ("configs", "models", "samplers")
}

PAGE = (  # from top to bottom; a room stands for all its modules
    ("__main__",),
    ("cli",),
    ("cli_help",),
    ("compare", "evaluate_encoder", "inspect_proposal", "pipeline", "thermalize", "train"),
    ("evaluation", "held_out"),
    ("inference", "predictions", "proposal_scores", "view_choice"),
    (
        "compare_config",
        "config",
        "evaluate_encoder_config",
        "inspect_config",
        "own_options",
        "progress",
        "sampler_config",
        "thermalize_config",
        "train_config",
    ),
    (
        "arviz_bridge",
        "calibration",
        "calibration_metrics",
        "compare_report",
        "convergence",
        "depth_error",
        "depth_metrics",
        "diagnostics",
        "discrepancy",
        "draw_arrays",
        "energy_meeting",
        "error_law",
        "evaluate_encoder_figures",
        "evaluate_encoder_report",
        "export",
        "files",
        "image_metrics",
        "metrics",
        "mixture_distance",
        "mixtures",
        "process_memory",
        "proposal_figures",
        "report",
        "remoteness",
        "residuals",
        "results",
        "saved_runs",
        "site_table",
        "thermalize_report",
        "train_figures",
        "uncertainty",
        "unfinished",
        "verdict",
    ),
    ("models", "samplers", "configs"),
    ("rendering", "scenes"),
    ("geometry", "harmonics"),
    ("types", "errors", "options"),
)
FOUNDATION = {"torch", "jaxtyping"}  # all that the lowest row may import from outside

ONLY_IN = {  # library -> the modules that may import it
    "arviz": {"arviz_bridge", "diagnostics", "results"},
    "hydra": {"config", "cli"},
    "omegaconf": {
        "config",
        "cli",
        "compare_config",
        "evaluate_encoder_config",
        "own_options",
        "thermalize_config",
        "train_config",
    },
    "matplotlib": {
        "compare_report",
        "evaluate_encoder_figures",
        "evaluation",
        "proposal_figures",
        "report",
        "thermalize_report",
        "train_figures",
    },
    "rich": {"progress"},
    "gsplat": {"rendering"},
}

SAMPLERS_MAY_IMPORT = {"samplers", "errors"}  # they have never heard of Gaussians or cameras

WITHOUT_TESTS = {  # nothing in them to run, or run by another module's tests
    "bayes_splat.__main__",  # tests/test_cli.py
    "bayes_splat.cli_help",  # tests/test_cli.py
    "bayes_splat.errors",
    "bayes_splat.models.small_encoder.sizes",  # tests/models/small_encoder/test_network.py
    "bayes_splat.rendering.cpu_patch_steps",  # tests/rendering/test_cpu_patch_sweep.py
    "bayes_splat.rendering.cpu_site_steps",  # tests/rendering/test_cpu_site_sweep.py
    "bayes_splat.rendering.cpu_sweep_steps",  # tests/rendering/test_cpu_opacity_sweep.py
    "bayes_splat.samplers.base",  # protocols
}

MOST_LINES = 400


def test_every_module_has_a_place_on_the_page():
    places = {name for row in PAGE for name in row}
    missing = {name for module in _modules() if (name := _place(module)) and name not in places}
    assert not missing, "write them into PAGE, and into the page of the architecture"


def test_imports_point_down_the_page():
    row_of = {name: row for row, names in enumerate(PAGE) for name in names}
    upward = [
        f"{module} imports {other}"
        for module, other in _inner_imports()
        if row_of.get(_place(module), 0) > row_of.get(_place(other), len(PAGE))
    ]
    assert not upward


def test_imports_have_no_cycle():
    graph: dict[str, set[str]] = {}
    for module, other in _inner_imports():
        graph.setdefault(module, set()).add(other)
    while free := {module for module in graph if not graph[module] & graph.keys()}:
        for module in free:
            del graph[module]
    assert not graph, f"a cycle among {sorted(graph)}"


def test_models_and_samplers_never_meet():
    meetings = [
        f"{module} imports {other}"
        for module, other in _inner_imports()
        if {_place(module), _place(other)} == {"models", "samplers"}
    ]
    assert not meetings


def test_samplers_know_nothing_of_scenes():
    strangers = [
        f"{module} imports {other}"
        for module, other in _inner_imports()
        if _place(module) == "samplers" and _place(other) not in SAMPLERS_MAY_IMPORT
    ]
    assert not strangers


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_imported_only_where_it_belongs(library):
    elsewhere = [
        module
        for module, name, _ in _imports()
        if name.split(".")[0] == library and _place(module) not in ONLY_IN[library]
    ]
    assert not elsewhere


def test_the_lowest_row_needs_little():
    needed = {
        name.split(".")[0]
        for module, name, _ in _imports()
        if _place(module) in PAGE[-1] and name.split(".")[0] not in sys.stdlib_module_names
    }
    assert needed - {"bayes_splat"} <= FOUNDATION


def test_modules_import_modules_and_not_the_package_face():
    """``from bayes_splat import geometry`` is a module; only the version is taken from the face."""
    faces = [
        f"{module}: from {name} import {what}"
        for module, name, what in _imports()
        if name in ROOMS
        and what not in (None, "__version__")
        and f"{name}.{what}" not in _modules()
        and f"{name}.{what}" not in _packages()
    ]
    assert not faces


def test_imports_are_absolute_and_annotations_are_real():
    """jaxtyping checks annotations at run time and cannot check strings."""
    found = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in _modules().values()
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == "__future__")
    ]
    assert not found


def test_every_module_has_a_test_file_of_its_name():
    missing = [
        str(test.relative_to(ROOT))
        for module, path in _modules().items()
        if module not in WITHOUT_TESTS and path.name != "__init__.py"
        if not (test := _test_file(path)).is_file()
    ]
    assert not missing


def test_every_test_file_has_its_module():
    expected = {_test_file(path) for path in _modules().values()}
    whole = {"test_architecture.py", "test_packaging.py"}  # about all modules
    orphans = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path not in expected and path.name not in whole and "integration" not in path.parts
    ]
    assert not orphans


def test_shapes_are_checked_while_tests_run():
    one, two = torch.ones(1), torch.ones(2)
    poses, intrinsics = torch.eye(4)[None], torch.eye(3)[None]
    types.Cameras(poses, intrinsics, one, one, (2, 2))
    with pytest.raises(TypeCheckError, match="near"):
        types.Cameras(poses, intrinsics, two, one, (2, 2))


def test_files_are_short():
    paths = [*_modules().values(), *(ROOT / "tests").rglob("*.py")]
    lengths = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in paths}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


@cache
def _modules() -> dict[str, Path]:
    """Import name -> file of every module in the package."""
    return {
        ".".join((room, *path.relative_to(folder).with_suffix("").parts)): path
        for room, folder in ROOMS.items()
        for path in sorted(folder.rglob("*.py"))
    }


@cache
def _packages() -> set[str]:
    return {module.rpartition(".")[0] for module in _modules()} | set(ROOMS)


def _place(module: str) -> str:
    """``bayes_splat.scenes.crop`` stands where ``scenes`` stands; the face itself nowhere."""
    parts = module.split(".")[1:]
    return "" if parts[:1] in ([], ["__init__"]) else parts[0]


def _test_file(path: Path) -> Path:
    inside = path.relative_to(ROOT)
    parts = inside.parts[1:] if inside.parts[0] == "bayes_splat" else inside.parts
    return ROOT.joinpath("tests", *parts[:-1], f"test_{path.name}")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def _imports() -> list[tuple[str, str, str | None]]:
    """(module, imported, name taken from it) of every import statement, inside functions too."""
    return [(m, *found) for m, path in _modules().items() for found in _statements(path)]


def _statements(path: Path) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def _inner_imports() -> set[tuple[str, str]]:
    """(module, module of ours that it imports)."""
    found = set()
    for module, name, what in _imports():
        if name.split(".")[0] == "bayes_splat":
            full = f"{name}.{what}"
            is_module = full in _modules() or full in _packages()
            found.add((module, full if is_module else name))
    return {(module, other) for module, other in found if module != other and _place(other)}
