"""Text that every machine has: the docstrings of Python's standard library."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdhub.api import integer, require


def docstrings(folder: Path, shortest: int = 20, longest: int = 400, validation: int = 20) -> dict[str, Any]:
    """Write paragraphs of the standard library's docstrings, one a line; a job.

    Nothing is imported or run: the sources are parsed. Text and split are the same wherever the same Python is installed.

    Args:
        folder: Folder of the job; ``train.txt`` and ``val.txt`` go there.
        shortest: Fewest characters of a paragraph.
        longest: Most characters; longer paragraphs are left out.
        validation: One paragraph of so many is for validation, by a hash of its text.

    Returns:
        ``train`` and ``val``, their numbers of lines.
    """
    require("docstrings", integer(1), shortest=shortest, longest=longest)
    require("docstrings", integer(2), validation=validation)
    root = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, None] = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        if not {"site-packages", "dist-packages", "test", "tests", "idlelib"} & set(inside):
            found.update(dict.fromkeys(_paragraphs(path)))
    kept = [text for text in found if shortest <= len(text) <= longest]
    parts: dict[str, list[str]] = {"train": [], "val": []}
    for text in kept:
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        parts["val" if number % validation == 0 else "train"].append(text)
    for name, lines in parts.items():
        Path(folder, f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {name: len(lines) for name, lines in parts.items()}


def _paragraphs(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return  # templates and sources in other encodings
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in inspect.cleandoc(ast.get_docstring(node, clean=False) or "").split("\n\n"):
                if ">>>" not in paragraph and paragraph.isprintable() | ("\n" in paragraph):
                    yield " ".join(paragraph.split())
