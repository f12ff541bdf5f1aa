"""From one Python file to pairs of a question and what answers it: the first sentence of a docstring, and the rest."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_ROLE = re.compile(r":[a-z:]+:`~?([^`]+)`")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Docstring:
    """One documented module, class or function.

    Attributes:
        name: Dotted name, such as ``json.decoder.JSONDecoder.decode``.
        sentence: First sentence of the docstring.
        signature: ``def`` or ``class`` line without annotations and default values, or ``module NAME``.
        rest: Docstring without the first sentence, white space squeezed.
    """

    name: str
    sentence: str
    signature: str
    rest: str


def docstrings(path: Path, module: str, dropped: Counter[str]) -> Iterator[Docstring]:
    """Yield the public documented objects of a file in the order of its text.

    Args:
        path: A Python file.
        module: Its dotted name.
        dropped: Counts a file that this Python cannot parse, and that yields nothing: packages ship templates and code for
            other versions.
    """
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        dropped["file that this Python cannot parse"] += 1
        return
    yield from _visit(tree, module)


def _visit(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            sentence, rest = _split(text)
            yield Docstring(name, sentence, _signature(node, name), rest)
    # what a function defines inside is not public
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                yield from _visit(child, f"{name}.{child.name}")


def _split(text: str) -> tuple[str, str]:
    paragraph, _, rest = _ROLE.sub(r"\1", text).partition("\n\n")
    first, *others = _SENTENCE_END.split(_squeeze(paragraph), maxsplit=1)
    return first.rstrip(". "), _squeeze(" ".join([*others, rest]))


def _squeeze(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _signature(node: ast.AST, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = node.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return f"def {node.name}({', '.join(name for name in names if name not in ('self', 'cls'))})"
    return f"module {name}"
