"""Overrides of a config's variables: ``--cfg-options data_root=/elsewhere`` where ``data_root`` is used further below.

mmengine runs a config first and puts overrides into the result, where nothing remembers that a value came from a
variable: only the top-level key changes, and the data sets keep the old folder in silence. Here the file is run again, with
the variable set anew after each statement that sets it, in the file and in each of its ``_base_``.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from kdhub.config.read.options import WHERE, apply_options, paths_in, put
from kdhub.config.types.places import TOP_LEVEL_KEYS
from kdhub.errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config


class _Override(NamedTuple):
    """A new value below a variable, and whether the finished variable had one there; if not, it is to be created."""

    keys: list[str]
    new: Any
    exists: bool


_ACTIVE: ContextVar[Mapping[str, list[_Override]]] = ContextVar("overrides of variables")
_SET_ANEW = "{0} = __import__('kdhub.config.read.variables', fromlist=['overridden']).overridden({0!r}, {0})"


def override_variables(cfg: Config, options: Mapping[str, Any], read: Callable[[], Config]) -> Config:
    """Return a config as it is when its variables have other values from the start.

    Variables are the top-level keys that nobody reads as such. Overrides of other keys are left to the caller, and so is
    what an earlier override has removed. What is not seen: uses of variables that a JSON or YAML ``_base_`` sets, or that a
    function sets as ``global``; and a stale old value that is a whole number, a boolean or ``None``, which under
    another key is equal by chance.

    Args:
        cfg: The config without overrides.
        options: Key path to value; each path exists or is accepted.
        read: Reads ``cfg`` once more.

    Raises:
        UsageError: If nothing uses the variable and its old value stands elsewhere, as in a config that a run has saved;
            if the file changes the variable in a way that an override does not survive, or sets it in a ``for`` or with
            ``:=``; or if it cannot be run with the new value.
    """
    before = cfg.to_dict()
    overrides: dict[str, list[_Override]] = {}
    for name, given in _by_variable(options).items():
        if name not in before:
            continue
        existing = set(paths_in(before[name], name))
        overrides[name] = [_Override(path.split(".")[1:], new, path in existing) for path, new in given.items()]
        try:
            with _running_with(overrides):
                cfg = read()
        except UsageError as error:
            raise UsageError(error.what, where=error.where, got=f"{WHERE} {_typed(given)}", fix=error.fix) from error
        after = cfg.to_dict()
        changed = [key for key in {**before, **after} if key != name and not _same(before.get(key), after.get(key))]
        if not changed:
            _refuse_stale(name, before[name], given, _merged(after, options))
        elif name not in after or not _same(after[name], _merged(before, given)[name]):
            raise UsageError(
                f"the config changes {name!r} after it has set it, and an override would be lost or misplaced",
                where=f"{WHERE} {_typed(given)}",
                fix=f"override what is made from it, in {', '.join(changed)}",
            )
        before = after
    return cfg


def overridden(name: str, value: Any) -> Any:
    """Return what a variable is to be instead of ``value``; called by the config while it runs."""
    for keys, new, exists in _ACTIVE.get()[name]:
        # until the file has run, a name stands for a base's variable, which has the override; and of two variables with
        # this name, in base and heir, one may lack the key: a SyncBN has no num_groups
        with suppress(LookupError):
            value = put(value, keys, new, create=not exists)
    return value


def _by_variable(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    variables: dict[str, dict[str, Any]] = {}
    for path, value in options.items():
        name = path.partition(".")[0]
        if name not in TOP_LEVEL_KEYS:
            variables.setdefault(name, {})[path] = value
    return variables


@contextmanager
def _running_with(overrides: Mapping[str, list[_Override]]) -> Iterator[None]:
    """Make mmengine run configs with these variables set anew, within the block."""
    from mmengine.config import config as mmengine_config  # here, since to list components one needs no mmengine

    def compile_with_overrides(source: Any, filename: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(source, ast.Module):
            source = _SettingAnew(overrides, str(filename)).visit(source)
        return compile(source, filename, *arguments, **options)

    token = _ACTIVE.set(overrides)
    mmengine_config.compile = compile_with_overrides  # a global of the module goes before the built-in function
    try:
        yield
    finally:
        del mmengine_config.compile
        _ACTIVE.reset(token)


class _SettingAnew(ast.NodeTransformer):
    """Adds after each statement that sets a variable, or a part of it, one that sets it anew."""

    def __init__(self, names: Collection[str], file: str) -> None:
        self._names = names
        self._file = file

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        return self._followed(node, *node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        return self._followed(node, node.target) if node.value is not None else [node]  # `size: int` sets nothing

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        return self._followed(node, node.target)

    def visit_For(self, node: ast.For) -> ast.AST:
        self._refuse(node.target)
        return self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.AST:
        self._refuse(node.target)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node  # its variables are its own

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return node

    def _followed(self, node: ast.stmt, *targets: ast.expr) -> list[ast.stmt]:
        self.generic_visit(node)
        return [node, *(_set_anew(name, node) for name in self._overridden_in(*targets))]

    def _overridden_in(self, *targets: ast.expr) -> list[str]:
        inside = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        return sorted(inside.intersection(self._names))

    def _refuse(self, target: ast.expr) -> None:
        for name in self._overridden_in(target):
            raise UsageError(
                f"{name!r} cannot be overridden: the config sets it in a `for` or with `:=`",
                where=f"{self._file}:{target.lineno}",
                fix="override what is made from it",
            )


def _set_anew(name: str, after: ast.stmt) -> ast.stmt:
    statement = ast.parse(_SET_ANEW.format(name)).body[0]
    for part in ast.walk(statement):
        ast.copy_location(part, after)
    return statement


def _merged(tree: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    apply_options(merged, options)
    return merged


def _refuse_stale(name: str, old: Any, given: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
    """Raise if the old value of a variable that nothing uses stands where something is read."""
    read = {key: value for key, value in tree.items() if key in TOP_LEVEL_KEYS}
    instead: dict[str, Any] = {}
    places = []
    for place, value in _places(read, lambda value: _same(value, old) or _inside(value, old, given.get(name))):
        if not _same(value, old):
            instead[place] = given[name].rstrip("/") + value[len(old.rstrip("/")) :]
        elif _is_telling(old) or place.rpartition(".")[2] == name:
            instead |= {place + path.removeprefix(name): new for path, new in given.items()}
        else:
            continue
        places.append(place)
    if places:
        raise UsageError(
            f"nothing in the config uses {name!r}, and its value stands at {', '.join(places)}",
            where=f"{WHERE} {_typed(given)}",
            fix=f"{WHERE} {_typed(instead)}",
        )


def _is_telling(value: Any) -> bool:
    """Return whether a value that stands in two places is the same thing; whole numbers and booleans are equal by chance."""
    if isinstance(value, float):
        return not value.is_integer()
    return isinstance(value, str | list | tuple | Mapping) and len(value) > 0


def _inside(value: Any, old: Any, new: Any) -> bool:
    """Return whether a text is a path in the folder ``old``, which is to become the folder ``new``."""
    texts = isinstance(value, str) and isinstance(old, str) and isinstance(new, str)
    return texts and bool(folder := old.rstrip("/")) and value.startswith(f"{folder}/")


def _places(value: Any, wanted: Callable[[Any], bool], path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        here = f"{path}.{key}".lstrip(".")
        if wanted(child):
            yield here, child
        else:
            yield from _places(child, wanted, here)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)  # an array's == gives no yes or no


def _typed(options: Mapping[str, Any]) -> str:
    texts = (
        (path, value if isinstance(value, str) else repr(value).replace(" ", "")) for path, value in options.items()
    )
    return " ".join(shlex.quote(f"{path}={text}") for path, text in texts)
