"""Runs read back from their work folders: which folder is one, and what its config decides."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdhub.engine.workdir.identity import AFTER, decisive
from kdhub.engine.workdir.run_card import FILE_NAME, RunCard
from kdhub.errors import UsageError, near_matches

_NAMED = 5
"""How many runs an error names."""


def card_to_report(work_dir: Path) -> dict[str, Any]:
    """Read the card of a run.

    Raises:
        UsageError: If the folder is not there, or holds a job or no run; naming the runs below it or the nearest folder.
    """
    if not work_dir.is_dir():
        siblings = [one.name for one in work_dir.absolute().parent.glob("*") if one.is_dir()]
        raise UsageError(
            f"there is no folder {work_dir}",
            expected=f"the work folder of a run, with {FILE_NAME} in it",
            near=[str(work_dir.parent / name) for name in near_matches(work_dir.name, siblings)],
        )
    card = RunCard.read(work_dir)
    if card is None:
        raise UsageError("there is no run to report", where=str(work_dir), expected=FILE_NAME, fix=_fix(work_dir))
    run = card.content
    if "job" in run:
        raise UsageError(
            "the folder holds a job, which has no report",
            where=str(work_dir),
            got=f"{run['job']}, {run['status']}",
            fix=f"see its results in {card.path}, or report the run that used them",
        )
    return run


def _fix(work_dir: Path) -> str:
    below = sorted(str(path.parent) for pattern in ("*", "*/*") for path in work_dir.glob(f"{pattern}/{FILE_NAME}"))
    if not below:
        return "train first"
    more = f" and {len(below) - _NAMED} more" if len(below) > _NAMED else ""
    return f"name the runs below it: {' '.join(below[:_NAMED])}{more}"


def settings(work_dir: Path, known_as: str | None = None) -> dict[str, Any] | None:
    """Return what the ``config.py`` of a run decides, without running it: key path to value.

    Only parts that decide what is learned count. Paths below the folder are written from ``{work_dir}`` on, since two runs of one
    config differ in them. A predecessor in the folder is described by its own config, below ``predecessors.NAME``.

    Args:
        work_dir: Folder of the run.
        known_as: What the run itself called the folder, which may have been moved.

    Returns:
        ``None`` if there is no ``config.py``, or it is not what kdhub writes.
    """
    try:
        config = literal_config((work_dir / "config.py").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    names = [str(config["work_dir"])] if config.get("work_dir") else []
    names += [name for name in (known_as, str(work_dir)) if name]
    found = {path: _moved(value, names) for path, value in flattened(decisive(config))}
    for name in config.get(AFTER) or {}:
        before = settings(work_dir / name)
        if before is not None:
            found.pop(f"{AFTER}.{name}", None)
            found |= {f"predecessors.{name}.{path}": value for path, value in before.items()}
    return found


def literal_config(text: str) -> dict[str, Any]:
    """Read a config that holds nothing but values, as kdhub writes the resolved one.

    Raises:
        ValueError: If it holds anything else.
        SyntaxError: If it is no Python.
    """
    config = {}
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"line {statement.lineno} is no assignment")
        config[statement.targets[0].id] = _value(statement.value)
    return config


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key or node): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(one) for one in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:  # a class of Python's own, such as `float`
        return ast.unparse(node)


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key path and value of every leaf of a config; an empty dict or list is a leaf."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if not items or not value:
        yield path, value
        return
    for key, child in items:
        yield from flattened(child, f"{path}.{key}" if path else str(key))


def _moved(value: Any, names: list[str]) -> Any:
    if isinstance(value, str):
        for name in names:
            if value == name or value.startswith(f"{name}/"):
                return f"{{work_dir}}{value[len(name) :]}"
    return value
