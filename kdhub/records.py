"""The frozen records that manifest hooks return: what a plugin offers, said without importing any of it.

A record names its class as ``"module:attribute"``, so that listing a thousand components imports none of them. The plugin
manager pairs each record with a `Source`; an author never writes one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

API_LEVEL = 1
"""Counts changes to hooks and records that can break a plugin."""

API_LEVEL_MIN = 1
"""The oldest level this core still loads."""

KINDS = (
    "loss",
    "adapter",
    "tap",
    "teacher",
    "distiller",
    "model",
    "schedule",
    "optim_wrapper",
    "metric",
    "dataset",
    "collate",
    "runner_hook",
    "index",
    "transform",
    "sampler",
    "constructor",
    "job",
)
"""Every kind of component; `kdhub.registry.roots` maps each to one of mmengine's root registries."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_target(record: str, target: str) -> None:
    _require(bool(_TARGET.fullmatch(target)), f"{record}: target must be 'module:attribute', got {target!r}")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What a plugin is; returned by the one mandatory hook.

    Attributes:
        summary: One line for `kdhub plugins list`.
        api_level: The `API_LEVEL` that the plugin was written against, as a number: the name would always say what is installed.
        tasks: Short task names, such as ``retrieval-dense``.
        extras: Extra of the distribution to the import names that it provides, for the message when one is missing.
    """

    summary: str
    api_level: int
    tasks: tuple[str, ...] = ()
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        _require(bool(self.summary.strip()), "PluginInfo: summary is empty")
        _require(isinstance(self.api_level, int), f"PluginInfo: api_level must be an integer, got {self.api_level!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One class or function that a config can name as ``scope.Name``.

    Attributes:
        kind: One of `KINDS`.
        target: Where it is, as ``"package.module:attribute"``; the module must lie inside the plugin's package.
        summary: One line for `kdhub list`.
        name: Name within the plugin's scope; by default that of the target's attribute.
        paper: Where it comes from, as a person would cite it.
    """

    kind: str
    target: str
    summary: str
    name: str = ""
    paper: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.target.rpartition(":")[2])
        label = f"{type(self).__name__} {self.name!r}"
        _require(self.kind in KINDS, f"{label}: unknown kind {self.kind!r}; kinds are {', '.join(KINDS)}")
        _require(bool(_NAME.fullmatch(self.name)), f"{label}: a name must be a plain identifier, got {self.name!r}")
        _require_target(label, self.target)
        _require(bool(self.summary.strip()), f"{label}: summary is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec(Component):
    """A loss, with what the checker and the distiller must know before it is built.

    Attributes:
        kind: Always ``"loss"``.
        inputs: Parameter names of ``forward`` that must be bound. ``student...`` comes from the student's tap,
            ``teacher...`` from the teacher's, any other name from the batch.
        optional: Parameter names of ``forward`` that may be bound, usually from the batch.
        fields: Where the batch keeps some of these inputs, as dotted paths, unless the objective's ``batch`` says otherwise.
        tags: Any of ``logits``, ``feature``, ``relation``, ``score``; ``logits`` turns on the class-name guard.
        match: What the two sides must share before the loss can compare them: ``shape``, ``batch`` (axis 0) or
            ``nothing``.
        zero_at_equality: Whether the loss is exactly its minimum, 0, when student equals teacher.
        reduction: How it reduces, such as ``batchmean``.
        unaugmented: Whether the method stands if the teacher saw the sample as it is and the student sees it augmented:
            what the teacher says of the sample as a whole is held against any view of it.
    """

    kind: str = "loss"
    inputs: tuple[str, ...] = ("student", "teacher")
    optional: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    match: str = "shape"
    zero_at_equality: bool = True
    reduction: str = "mean"
    unaugmented: bool = False

    def __post_init__(self) -> None:
        # slots=True makes a second class, which a zero-argument super() does not find
        Component.__post_init__(self)
        _require(self.kind == "loss", f"LossSpec {self.name!r}: kind must be 'loss', got {self.kind!r}")
        for name in self.fields:
            _require(name in (*self.inputs, *self.optional), f"LossSpec {self.name!r}: fields names no input {name!r}")
        _require(bool(self.inputs), f"LossSpec {self.name!r}: a loss without inputs compares nothing")
        _require(
            self.match in ("shape", "batch", "nothing"),
            f"LossSpec {self.name!r}: match must be 'shape', 'batch' or 'nothing', got {self.match!r}",
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A runnable config shipped inside a plugin's package, trained with ``kdhub train scope:name``.

    Attributes:
        name: Name within the plugin's scope, such as ``docstrings-minilm``.
        path: Path of the config inside the plugin's import package, with ``/``.
        summary: One line.
        task: One of the plugin's tasks.
        teacher: The teacher, as a person would name it.
        student: The student, as a person would name it.
        budget: ``cpu-minutes`` or ``gpu-hours``.
    """

    name: str
    path: str
    summary: str
    task: str
    teacher: str
    student: str
    budget: str

    def __post_init__(self) -> None:
        _require(bool(re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.name)), f"Recipe: bad name {self.name!r}")
        _require(self.path.endswith(".py"), f"Recipe {self.name!r}: path must be a .py config, got {self.path!r}")


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command that a plugin adds to ``kdhub``.

    Attributes:
        name: What the user types after ``kdhub``.
        summary: One line for ``kdhub --help``.
        target: ``"module:attribute"`` of a function ``(argv: list[str]) -> int`` that returns the exit code. Its
            ``argv`` excludes the command's name; it is imported only when the command runs.
    """

    name: str
    summary: str
    target: str

    def __post_init__(self) -> None:
        _require(bool(re.fullmatch(r"[a-z][a-z0-9-]*", self.name)), f"Command: bad name {self.name!r}")
        _require_target(f"Command {self.name!r}", self.target)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One line of ``kdhub doctor``.

    Attributes:
        level: ``ok``, ``warn`` or ``fail``.
        title: What was looked at.
        detail: What was found.
        fix: What to type if it is not ``ok``.
    """

    level: str
    title: str
    detail: str
    fix: str = ""

    def __post_init__(self) -> None:
        _require(self.level in ("ok", "warn", "fail"), f"Diagnostic {self.title!r}: bad level {self.level!r}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin comes from; filled in by the manager.

    Attributes:
        plugin: Plugin name, which is also its config scope.
        dist: Distribution name, or the file path of a one-off plugin.
        version: Version of the distribution; empty for a one-off plugin.
    """

    plugin: str
    dist: str
    version: str
