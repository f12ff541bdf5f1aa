"""Writes a new plugin from the templates."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kdhub.errors import UsageError, near_matches
from kdhub.files import atomic_folder
from kdhub.records import API_LEVEL
from kdhub.scaffold.tasks import TASKS

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def write_plugin(name: str, task: str, parent: Path) -> Path:
    """Write the folder of a new plugin.

    Args:
        name: Its name, such as ``my-method``: the folder. The distribution is ``kdhub-my-method``, package and scope are
            ``my_method``, the loss is ``MyMethod``.
        task: A key of `kdhub.scaffold.tasks.TASKS`.
        parent: The folder that the new one goes into; made if need be.

    Returns:
        The folder, written whole or not at all.

    Raises:
        UsageError: For a name that Python, pip or kdhub cannot take, an unknown task, and a folder that is there.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "bad name of a plugin",
            expected="lower-case letters and digits, joined by single dashes, such as my-method",
            got=repr(name),
            fix=_proposed(name),
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package):
        raise UsageError(f"{name!r} is a word of Python", fix=f"take another name, such as {name}-kd")
    if task not in TASKS:
        raise UsageError("unknown task", expected=", ".join(TASKS), got=repr(task), near=near_matches(task, TASKS))
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists", fix="take another name, or another folder with --into")
    with atomic_folder(folder) as unfinished:
        for path, text in _files(name, package, task):
            target = unfinished / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    return folder


def _files(name: str, package: str, task: str) -> Iterator[tuple[Path, str]]:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    chosen = TASKS[task]
    values = chosen._asdict() | {
        "name": name,
        "package": package,
        "loss": "".join(word.capitalize() for word in package.split("_")),
        "task": task,
        "api_level": API_LEVEL,
        "metric": package + chosen.metric if chosen.metric.startswith(".") else chosen.metric,
        "own_metric": chosen.metric[1:] if chosen.metric.startswith(".") else "",
        "model": chosen.model.replace("@", package),
        "model_class": "TwoTower" if "TwoTower" in chosen.model else "Net",
    }
    for part in ("common", chosen.ground, task):
        for template in sorted((_TEMPLATES / part).rglob("*.j2")):
            inside = template.relative_to(_TEMPLATES / part)
            path = Path(package, *inside.parts[1:]) if inside.parts[0] == "package" else inside
            path = Path(package) / path if part == task else path
            text = environment.get_template(template.relative_to(_TEMPLATES).as_posix()).render(values)
            yield path.with_suffix(""), text


def _proposed(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
    proposal = "-".join(words).lstrip("0123456789-")
    return f"write {proposal}" if _NAME.fullmatch(proposal) else "begin with a letter"
