"""Building one component from a config's dict."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.registry import Registry

from kdhub.errors import UnknownComponentError, UsageError, near_matches
from kdhub.plugins.classes import component_of
from kdhub.plugins.modules import find_module
from kdhub.plugins.names import RESERVED_SCOPES
from kdhub.plugins.unknown import a_kind
from kdhub.records import Component
from kdhub.registry.active import init
from kdhub.registry.roots import root_registry


def find(type_: Any, kind: str | None = None) -> Component | None:
    """Return the record of a plugin's component, or ``None`` for a type that is nobody's.

    Args:
        type_: ``"scope.Name"``, a class, or its import path.
        kind: Kind of component that has a place here.

    Raises:
        UnknownComponentError: If the scope is a plugin's and the component cannot be used.
    """
    manager = init()
    if isinstance(type_, str) and manager.owns(type_):
        return manager.find(type_, kind).component
    entry = component_of(type_, manager)
    return entry.component if entry is not None else None


def build(kind: str, cfg: Any, *, where: str | None = None, **offered: Any) -> Any:
    """Build one component.

    Args:
        kind: Kind of component that has a place here.
        cfg: A dict with ``type``, a name or a class, and the constructor's keywords; anything but a dict or a string is
            taken as built already and returned.
        where: Place in the config, for errors.
        **offered: Keywords that the constructor gets if it names them.

    Returns:
        The object, or ``cfg`` itself.

    Raises:
        UsageError: If there is no ``type``, a keyword is unknown or one is missing.
        UnknownComponentError: If the type cannot be used here; says why.
        PluginError: If the component's module cannot be imported.
    """
    if isinstance(cfg, str) or (isinstance(cfg, Mapping) and "type" not in cfg):
        fix = f"dict(type={cfg!r})" if isinstance(cfg, str) else None
        raise UsageError(f"not {a_kind([kind])}", where=where, expected="a dict with 'type'", got=repr(cfg), fix=fix)
    if not isinstance(cfg, Mapping):
        return cfg
    keywords = dict(cfg.items())
    type_, scope = keywords.pop("type"), keywords.pop("_scope_", None)
    manager = init()
    if isinstance(type_, str) and manager.owns(type_):
        return _construct(manager.find(type_, kind, where=where).load(), type_, keywords, offered, where)
    # not a plugin's: mmengine's own rules, and its default scope also for what the constructor builds
    with root_registry(kind).switch_scope_and_registry(scope) as registry:
        target = _from_mmengine(kind, type_, registry, where) if isinstance(type_, str) else type_
        return _construct(target, type_, keywords, offered, where)


def _from_mmengine(kind: str, type_: str, registry: Registry, where: str | None) -> Any:
    found = registry.get(type_)
    if found is not None:
        return found
    root = registry.root
    scope, _, name = type_.partition(".")
    known = {root.scope, *root.children, *RESERVED_SCOPES}
    if "." not in name and scope not in known and not (name and find_module(scope)):
        return init().find(type_, kind, where=where)  # raises: it knows what is wrong with an unknown scope
    reason, near = _import_problem(type_)
    raise UnknownComponentError(
        f"{type_!r} is not in mmengine's registry {root.name!r} and cannot be imported",
        where=where,
        got=reason,
        near=near or near_matches(type_, {*root.module_dict, *(entry.type for entry in init().components(kind))}),
    )


def _import_problem(path: str) -> tuple[str | None, tuple[str, ...]]:
    """Say why an import path leads nowhere, and what is near the part that is not there; mmengine keeps both to itself."""
    names = path.split(".")
    owner: Any = None
    for position, name in enumerate(names):
        there = ".".join(names[:position])
        if owner is not None and hasattr(owner, name):
            owner = getattr(owner, name)
            continue
        try:
            owner = importlib.import_module(f"{there}.{name}" if there else name)
        except ImportError as error:
            if position == 0:
                return (str(error), ()) if len(names) > 1 else (None, ())
            if getattr(error, "name", None) in (f"{there}.{name}", there):
                near = near_matches(name, dir(owner))
                return f"{there!r} has no {name!r}", tuple(f"{there}.{one}" for one in near)
            return str(error), ()  # it is there and itself imports what is not
    return None, ()


def _construct(target: Any, type_: Any, keywords: dict[str, Any], offered: Mapping[str, Any], where: str | None) -> Any:
    if not callable(target):
        raise UsageError("bad type", where=where, expected="a name or a class", got=repr(type_))
    name = type_ if isinstance(type_, str) else getattr(type_, "__qualname__", repr(type_))
    try:
        parameters = tuple(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some built-in callables have no signature
        return target(**keywords)
    keywords = {**{one.name: offered[one.name] for one in parameters if one.name in offered}, **keywords}
    _check_keywords(target, parameters, name, keywords, where)
    return target(**keywords)


def _really_taken(target: Any) -> Iterable[inspect.Parameter]:
    """Return the parameters of a class's own constructor; a wrapper around it may show the signature of what it wraps."""
    if not inspect.isclass(target):
        return ()
    return inspect.signature(target.__init__, follow_wrapped=False).parameters.values()


def _check_keywords(
    target: Any,
    parameters: Sequence[inspect.Parameter],
    name: str,
    keywords: Mapping[str, Any],
    where: str | None,
) -> None:
    """Refuse keywords that do not fit, before the call: a TypeError from inside a constructor then stays what it is."""
    named = {one.name: one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in (*parameters, *_really_taken(target)))
    wrong = [] if takes_any else [key for key in keywords if key not in named]
    if wrong:
        raise UsageError(
            f"{name} takes no {', '.join(map(repr, wrong))}",
            where=where,
            expected=f"any of {', '.join(named)}" if named else "no keywords",
            near=near_matches(wrong[0], named),
        )
    missing = [key for key, one in named.items() if one.default is one.empty and key not in keywords]
    if missing:
        got = ", ".join(keywords) or "no keywords"
        raise UsageError(f"{name} needs {', '.join(map(repr, missing))}", where=where, got=got)
