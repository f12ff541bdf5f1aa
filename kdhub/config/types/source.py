"""Finds classes and functions in source files, following re-exports, without importing anything.

Not griffe, the library for this: it parses in the same milliseconds, but a base class in another package needs its
``resolve_aliases(external=True)``, which took 127 s for one metric derived from mmengine's (it walks all of torch, sympy
and pandas), where following only the names asked for takes 0.05 s.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kdhub.plugins.modules import module_file, origin, parse

Node = ast.ClassDef | ast.FunctionDef


class Definition(NamedTuple):
    """Where something is defined.

    Attributes:
        module: Dotted name of the module that holds the definition itself, not a re-export of it.
        node: The definition.
        file: Its file.
    """

    module: str
    node: Node
    file: Path


def locate(dotted: str) -> Definition | None:
    """Find the definition behind ``package.module.attribute``, or ``None`` if the source does not tell."""
    try:
        return _locate(dotted, set())
    except _NoMemberError:
        return None


class _NoMemberError(LookupError):
    """A class is found, and what is meant in it stands elsewhere: no other module need be searched for the class."""


def _locate(dotted: str, seen: set[str]) -> Definition | None:
    if dotted in seen:  # on the way here, or in vain: torch re-exports itself from a hundred modules
        return None
    seen.add(dotted)
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:cut])
        file = module_file(module)
        if file is not None:
            return _inside(module, file, parts[cut], parts[cut + 1 :], seen)
    return None


def _inside(module: str, file: Path, name: str, inner: list[str], seen: set[str]) -> Definition | None:
    text = file.read_bytes()
    if not _may_bind(text, name):
        return None
    for node in _top_level(parse(file)):
        if isinstance(node, Node) and node.name == name:
            return _member(Definition(module, node, file), inner)
        meant = None
        if isinstance(node, ast.ImportFrom):
            meant = _imported(module, file, node, name)
        elif isinstance(node, ast.Assign) and any(dotted_name(target) == name for target in node.targets):
            meant = absolute(module, dotted_name(node.value))
        found = _locate(".".join((meant, *inner)), seen) if meant else None
        if found is not None:
            return found
    return None


def _may_bind(text: bytes, name: str) -> bool:
    """Whether a file is worth parsing: transformers has a thousand, and most of them speak of a ``model``."""
    if b"import *" in text or name.encode() not in text:
        return b"import *" in text
    imported = rb"from\s[^\n]*\bimport\s+(?:\((?:[^)#]|#[^\n]*)*|[^\n]*)\bNAME\b"
    bound = rb"^NAME\s*=|^[ \t]*(?:(?:async\s+def|def|class)\s+NAME\b|" + imported + rb")"
    return re.search(bound.replace(b"NAME", re.escape(name).encode()), text, re.MULTILINE) is not None


def _imported(module: str, file: Path, node: ast.ImportFrom, name: str) -> str | None:
    for alias in node.names:
        if alias.name == "*":
            source = origin(module, file, node)
            # what is compiled has no source to look into, and would lead back here: torch._C into torch
            return f"{source}.{name}" if module_file(source) is not None else None
        if (alias.asname or alias.name) == name:
            return f"{origin(module, file, node)}.{alias.name}"
    return None


def _member(found: Definition, inner: list[str]) -> Definition:
    for part in inner:
        node = next((node for node in found.node.body if isinstance(node, Node) and node.name == part), None)
        if node is None:
            raise _NoMemberError(part)
        found = found._replace(node=node)
    return found


def dotted_name(expression: ast.expr) -> str:
    """Return ``a.b`` for a name, a dotted name or its subscript (``a.b[T]``), and nothing for anything else."""
    if isinstance(expression, ast.Subscript):
        return dotted_name(expression.value)
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Attribute) and (owner := dotted_name(expression.value)):
        return f"{owner}.{expression.attr}"
    return ""


def absolute(module: str, dotted: str) -> str:
    """Spell a dotted name as the imports of ``module`` mean it: ``nn.Module`` as ``torch.nn.Module``."""
    file = module_file(module)
    if not dotted or file is None:
        return ""
    head, dot, rest = dotted.partition(".")
    for node in _top_level(parse(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname == head:
                    return alias.name + dot + rest
                if alias.asname is None and alias.name.partition(".")[0] == head:
                    return dotted
        elif isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == head for alias in node.names):
            return f"{_imported(module, file, node, head)}{dot}{rest}"
    return f"{module}.{dotted}"


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        yield node
        if isinstance(node, ast.If):
            pending[:0] = [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            pending[:0] = [*node.body, *(inner for handler in node.handlers for inner in handler.body), *node.orelse]
