"""Conventions that a reviewer would otherwise have to look for."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted([*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")])


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_states_the_failure_it_prevents(path):
    """A test whose purpose nobody wrote down is loosened by the first person it stands in the way of."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert functions, f"{path.name} holds no test"
    silent = [node.name for node in functions if len(ast.get_docstring(node) or "") < 25]
    assert not silent


def test_test_files_have_names_of_their_own():
    """Two test files of one name hide each other in reports, and in import modes other than ours."""
    names = [path.name for path in TESTS]
    assert len(names) == len(set(names))


def test_changes_can_be_collected():
    """A fragment of another name is left out of the changelog, and nobody notices."""
    kinds = re.findall(r"^\| `(\w+)` \|", (ROOT / "changes/README.md").read_text(encoding="utf-8"), re.MULTILINE)
    fragments = [path for path in ROOT.glob("changes/*") if path.name != "README.md"]
    assert not [path.name for path in fragments if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(kinds)})\.md", path.name)]
    assert all(path.read_text(encoding="utf-8").strip().endswith(".") for path in fragments)
