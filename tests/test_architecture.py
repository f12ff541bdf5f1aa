"""The floors of the house: imports run only downwards, and the core knows no task library."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kdhub

PACKAGE = Path(kdhub.__file__).parent
# from the ground up; a module may import from its own floor and from those below
FLOORS = (
    (
        "errors",
        "records",
        "hookspec",
        "findings",
        "files",
        "jsonl",
        "asking",
        "sealed",
        "fingerprints",
        "values",
        "rng",
        "inner",
    ),
    ("plugins", "registry"),
    ("config", "scaffold"),
    ("checkpoint",),
    ("store",),
    ("distill",),
    ("models",),
    ("engine",),
    ("caching",),
    ("cli", "testing"),
)
# the door, its other forms and the core's own manifest: they name targets on every floor, and load none of them
DOORS = ("__init__", "__main__", "api", "autoload", "plugin")
TASK_LIBRARIES = {
    "mmcv",
    "mmdet",
    "mmseg",
    "mmpretrain",
    "transformers",
    "sentence_transformers",
    "faiss",
    "timm",
    "datasets",
    "kdret",
}
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(
    "manifest", sorted(PACKAGE.parent.glob("plugins/*/kd*/plugin.py")), ids=lambda path: path.parent.name
)
def test_a_manifest_says_its_level_as_a_number(manifest: Path) -> None:
    """The name is the installed core's level: a plugin of today would pass for one of any later core."""
    calls = [node for node in ast.walk(ast.parse(manifest.read_text("utf-8"))) if isinstance(node, ast.Call)]
    (info,) = (call for call in calls if getattr(call.func, "id", None) == "PluginInfo")
    (level,) = (keyword.value for keyword in info.keywords if keyword.arg == "api_level")
    assert isinstance(level, ast.Constant)
    assert isinstance(level.value, int)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield what a file imports when it runs; imports for type checkers do not count."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def test_nothing_goes_through_the_door():
    """``import kdhub`` hides what a module needs: through it every floor reaches every other one."""
    through = [path.name for path in SOURCES if part(path) not in DOORS and "kdhub" in imported(path)]
    assert not through


def test_the_folders_of_the_engine_have_no_cycle():
    """Two folders that need each other are one folder; the files beside them may use all."""
    needs: dict[str, set[str]] = {}
    for path in (PACKAGE / "engine").glob("*/*.py"):
        used = (name.split(".") for name in imported(path) if name.startswith("kdhub.engine."))
        needs.setdefault(path.parent.name, set()).update(pieces[2] for pieces in used)
    order = TopologicalSorter({folder: (used & needs.keys()) - {folder} for folder, used in needs.items()})
    order.prepare()


def floor(name: str) -> int:
    return next(height for height, parts in enumerate(FLOORS) if name in parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    """An import that runs upwards makes a floor unusable without the ones above it, and ends in a cycle."""
    if part(path) in DOORS:
        return
    for name in imported(path):
        pieces = name.split(".")
        if pieces[0] == "kdhub" and len(pieces) > 1 and any(pieces[1] in parts for parts in FLOORS):
            assert floor(pieces[1]) <= floor(part(path)), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_imports_no_task_library(path):
    """A core that imports mmcv, transformers or faiss cannot be installed where they cannot."""
    assert not TASK_LIBRARIES & {name.split(".")[0] for name in imported(path)}


def test_every_part_has_a_floor():
    """A new folder without a floor would escape the test above."""
    parts = {part(path) for path in SOURCES}
    assert parts <= {name for names in FLOORS for name in names} | set(DOORS)


def test_no_file_is_longer_than_500_lines():
    """Large files hide twins; the limit is part of the style."""
    long = [path.name for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    assert not long
