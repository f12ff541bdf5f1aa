"""Reading a manifest module: are its hooks what the specification says, and which records do they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

from kdhub import hookspec
from kdhub.errors import near_matches
from kdhub.records import API_LEVEL, API_LEVEL_MIN, KINDS, Command, Component, LossSpec, PluginInfo, Recipe

PREFIX = "kdhub_"
_OWN_HOOK = {"kdhub_teacher_hooks": ("tap", "teacher"), "kdhub_adapters": ("adapter",), "kdhub_losses": ("loss",)}
_ELSEWHERE = {kind for kinds in _OWN_HOOK.values() for kind in kinds}
KINDS_OF_HOOK = {**_OWN_HOOK, "kdhub_components": tuple(kind for kind in KINDS if kind not in _ELSEWHERE)}
"""Registration hook to the kinds of component it may return."""


class ManifestError(Exception):
    """A manifest breaks the contract; the text is the reason that ``kdhub plugins list`` shows."""


class ApiLevelError(ManifestError):
    """A manifest is written against an API level that this core does not speak.

    Args:
        level: The manifest's level.
    """

    def __init__(self, level: int) -> None:
        self.too_new = level > API_LEVEL
        spoken = f"level {API_LEVEL}" if API_LEVEL == API_LEVEL_MIN else f"levels {API_LEVEL_MIN} to {API_LEVEL}"
        super().__init__(f"it is written for API level {level}, and this kdhub speaks {spoken}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a plugin's registration hooks returned."""

    info: PluginInfo
    components: tuple[Component, ...]
    recipes: tuple[Recipe, ...]
    commands: tuple[Command, ...]


def hook_names() -> tuple[str, ...]:
    """Return the name of every hook, in the order of ``hookspec.py``."""
    marker = f"{hookspec.PROJECT}_spec"
    return tuple(name for name, value in vars(hookspec).items() if hasattr(value, marker))


def check_hooks(module: ModuleType) -> tuple[str, ...]:
    """Check a manifest's hook implementations by name and signature, before pluggy sees them.

    pluggy registers an unknown name in silence, and passes arguments by position, which drops keyword-only parameters.

    Returns:
        Names of the hooks that it implements, in the order of ``hookspec.py``.

    Raises:
        ManifestError: If a name is unknown or lacks the decorator, or a parameter is not a plain one.
    """
    known = hook_names()
    implemented = set()
    for attribute, function in vars(module).items():
        if not inspect.isfunction(function):
            continue
        marker = getattr(function, f"{hookspec.PROJECT}_impl", None)
        if marker is None:
            if attribute.startswith(PREFIX):
                raise ManifestError(
                    f"function {attribute} has the name of a hook but not the decorator @kdhub.hookimpl"
                )
            continue
        name = marker.get("specname") or attribute
        if name in known:
            _check_signature(name, function, marker)
            implemented.add(name)
        elif not marker.get("optionalhook"):
            near = near_matches(name, known)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the hooks are {', '.join(known)}"
            raise ManifestError(f"unknown hook {name!r}{hint}")
    if "kdhub_plugin_info" not in implemented:
        raise ManifestError("the mandatory hook kdhub_plugin_info is missing")
    return tuple(name for name in known if name in implemented)


def _check_signature(name: str, function: Callable[..., Any], marker: dict[str, Any]) -> None:
    wrapper = marker.get("wrapper") or marker.get("hookwrapper")
    if wrapper and not getattr(hookspec, name).kdhub_spec["firstresult"]:
        raise ManifestError(
            f"hook {name} is called plugin by plugin, so a wrapper around it would never see the others"
        )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise ManifestError(
                f"hook {name}: parameter {str(parameter)!r} must be plain, not {parameter.kind.description}"
            )
        if parameter.default is not parameter.empty:
            raise ManifestError(f"hook {name}: parameter {parameter.name!r} must not have a default")


def read_manifest(call: Callable[[str], list[Any]], package: str) -> Manifest:
    """Call the registration hooks of one plugin and check what they return.

    Args:
        call: Calls the hook of that name in this plugin alone and gives the results of its implementations, a list.
        package: Top-level package of the plugin, inside which its targets must lie.

    Raises:
        ManifestError: If a record is of the wrong type or kind, a name is there twice, or a target is outside the package.
    """
    info = _info(call("kdhub_plugin_info"))
    components: list[Component] = []
    for hook, kinds in KINDS_OF_HOOK.items():
        record = LossSpec if hook == "kdhub_losses" else Component
        for component in _records(call, hook, record):
            if component.kind not in kinds:
                raise ManifestError(
                    f"{hook} returned {component.name!r} of kind {component.kind!r}; {_proper_hook(component)}"
                )
            components.append(component)
    recipes = tuple(_records(call, "kdhub_recipes", Recipe))
    commands = tuple(_records(call, "kdhub_add_commands", Command))
    _once("component", [component.name for component in components])
    _once("recipe", [recipe.name for recipe in recipes])
    _once("command", [command.name for command in commands])
    for named in (*components, *commands):
        if named.target.partition(":")[0].partition(".")[0] != package:
            raise ManifestError(
                f"target {named.target!r} of {named.name!r} is outside the plugin's package {package!r}"
            )
    return Manifest(info, tuple(components), recipes, commands)


def _info(results: list[Any]) -> PluginInfo:
    if len(results) != 1 or not isinstance(results[0], PluginInfo):
        got = ", ".join(type(result).__name__ for result in results) or "None"
        raise ManifestError(f"kdhub_plugin_info must return one PluginInfo, got {got}")
    info = results[0]
    if not isinstance(info.extras, Mapping):
        raise ManifestError(f"PluginInfo.extras must map extras to import names, got {info.extras!r}")
    if not API_LEVEL_MIN <= info.api_level <= API_LEVEL:
        raise ApiLevelError(info.api_level)
    return info


def _records(call: Callable[[str], list[Any]], hook: str, record: type) -> Iterator[Any]:
    results = call(hook)
    for result in results:
        # a generator runs here, inside the isolation of its plugin
        items = tuple(result) if hasattr(result, "__iter__") else (result,)
        for item in items:
            if not isinstance(item, record):
                raise ManifestError(f"{hook} must return an iterable of {record.__name__}, got {item!r}")
            yield item


def _proper_hook(component: Component) -> str:
    for hook, kinds in KINDS_OF_HOOK.items():
        if component.kind in kinds:
            return f"return it from {hook}"
    raise AssertionError(component.kind)


def _once(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ManifestError(
            f"{what} {', '.join(map(repr, twice))} is there twice; a name in a config must mean one thing"
        )


def plugin_manager() -> pluggy.PluginManager:
    """Return a pluggy manager that knows kdhub's hooks and no plugin."""
    manager = pluggy.PluginManager(hookspec.PROJECT)
    manager.add_hookspecs(hookspec)
    return manager
