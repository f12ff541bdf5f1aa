"""``--cfg-options key.path=value``: strict, where mmengine would create a misspelt key and train without the override."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kdhub.config.types.places import ROOT, TOP_LEVEL_KEYS, Spot
from kdhub.config.types.resolve import SourceResolver
from kdhub.config.types.signature import signature
from kdhub.errors import UsageError, near_matches, slip_of
from kdhub.plugins import PluginManager

if TYPE_CHECKING:
    from mmengine.config import Config

WHERE = "--cfg-options"
_CLOSING = {"(": ")", "[": "]"}


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """Parse ``key.path=value`` items as mmengine does: numbers, booleans, ``None``, lists, tuples, else text; ``{}`` is a dict.

    Unlike mmengine's, a text keeps its blanks and brackets: folders have names such as ``my set (1)``.

    Raises:
        UsageError: For an item without ``=`` or with brackets that do not match.
    """
    options: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UsageError("not an override", where=WHERE, expected="key.path=value", got=repr(item))
        try:
            options[key] = _value(text)
        except ValueError as error:
            raise UsageError(str(error), where=f"{WHERE} {key}", got=repr(item)) from error
    return options


def _value(text: str) -> Any:
    from mmengine.config import DictAction  # here, since to list components one needs no mmengine

    text = text.strip().strip("'\"")
    if text == "{}":
        return {}
    if "," in text or text.startswith(("(", "[")):
        items = _between_commas(text)
        if len(items) > 1:
            return _values(items)
        if text[0] + text[-1] == "()":
            return tuple(_values(_between_commas(text[1:-1])))
        if text[0] + text[-1] == "[]":
            return _values(_between_commas(text[1:-1]))
    return DictAction._parse_int_float_bool(text)


def _values(items: Sequence[str]) -> list[Any]:
    return [_value(item) for item in (items if items[-1].strip() else items[:-1])]  # a comma may end a list


def _between_commas(text: str) -> list[str]:
    """Split at the commas that stand outside of brackets."""
    items, awaited = [""], ""
    for character in text:
        if character in _CLOSING:
            awaited = _CLOSING[character] + awaited
        elif character in _CLOSING.values():
            if not awaited.startswith(character):
                raise ValueError("brackets do not match")
            awaited = awaited[1:]
        if character == "," and not awaited:
            items.append("")
        else:
            items[-1] += character
    if awaited:
        raise ValueError("brackets do not match")
    return items


def in_order(options: Mapping[str, Any]) -> dict[str, Any]:
    """Order overrides as mmengine means them together: first what leaves nothing, then the types, which decide on the keys.

    ``a.loss._delete_=True`` becomes ``a.loss={}``.
    """
    emptied: dict[str, Any] = {
        path.rpartition(".")[0]: {} for path, value in options.items() if _deletes(path) and value
    }
    rest = {path: value for path, value in options.items() if not _deletes(path)}
    return emptied | dict(sorted(rest.items(), key=lambda one: (one[1] != {}, not one[0].endswith(".type"))))


def _deletes(path: str) -> bool:
    return path.endswith("._delete_")


def require_accepted(cfg: Config, options: Mapping[str, Any], manager: PluginManager) -> None:
    """See that all overrides are of keys that exist, or that the component they are given to accepts.

    Raises:
        UsageError: For the first that does neither, with the nearest key path.
    """
    accepts = _Accepted(cfg.to_dict(), manager)
    for path, value in options.items():
        accepts.require(path)
        accepts.apply({path: value})


def apply_options(tree: MutableMapping[str, Any], options: Mapping[str, Any]) -> None:
    """Put overrides into a config, whose parts are not changed but replaced.

    mmengine's own merging fails on a number or text in a list, as in ``optimizer.betas.0=0.5``.

    Raises:
        UsageError: If a key path leads through what has no keys, as after another override of it.
    """
    for path, value in options.items():
        name, *rest = path.split(".")
        try:
            tree[name] = put(tree.get(name, {}), rest, value)
        except LookupError as error:
            raise UsageError(str(error.args[0]), where=f"{WHERE} {path}") from error


def put(value: Any, keys: Sequence[str], new: Any) -> Any:
    """Return ``value`` with ``new`` at a key path below it.

    A dict is merged into a dict, unless it says ``_delete_`` or is empty: ``model.objectives={}`` leaves none.

    Args:
        value: What is to be changed; it stays as it is.
        keys: The key path.
        new: What is to stand there.

    Raises:
        LookupError: If the path leads nowhere.
    """
    if not keys:
        if not isinstance(new, Mapping):
            return new
        merged = {} if not new or new.get("_delete_") or not isinstance(value, dict) else value
        for key, part in new.items():
            merged = merged if key == "_delete_" else put(merged, [key], part)
        return merged
    key, *rest = keys
    if isinstance(value, dict):
        changed = copy.copy(value)
        # in a new-style config, [] would import what is named
        changed[key] = put(dict.get(value, key, {}), rest, new)
        return changed
    if isinstance(value, list | tuple) and key.isdigit() and int(key) < len(value):
        index = int(key)
        return type(value)((*value[:index], put(value[index], rest, new), *value[index + 1 :]))
    raise LookupError(f"there is no {key!r} in {value!r}")


class _Known(NamedTuple):
    """Keys that a dict has or is known to take, whether these are all, and the kind of what it builds."""

    names: frozenset[str]
    all: bool
    kind: str | None = None


class _Accepted:
    """Which key paths a config has or takes."""

    def __init__(self, tree: dict[str, Any], manager: PluginManager) -> None:
        self._tree = tree
        scope = str(tree.get("default_scope") or "mmengine")
        self._resolver = SourceResolver(manager, scope, custom_imports=True)

    def apply(self, options: Mapping[str, Any]) -> None:
        """Let the next key paths be judged by the config with these overrides."""
        apply_options(self._tree, options)

    def require(self, path: str) -> None:
        """Raise unless ``path`` exists, or the dict that would get its first new key takes that key."""
        value: Any = self._tree
        spot, here = ROOT, ""
        for part in path.split("."):
            if isinstance(value, list | tuple):
                if not (part.isdigit() and int(part) < len(value)):
                    raise self._refusal(path, f"{here} is a list of {len(value)}", "an index from 0")
                value = value[int(part)]
            elif isinstance(value, Mapping):
                known = self._known(value, spot)
                if part not in value:
                    if part in known.names or not (known.all or slip_of(part, known.names)):
                        return
                    raise self._no_such_key(path, here, part, known.names)
                spot, value = spot.inside(value, known.kind).child(part), value[part]
            else:
                raise self._refusal(path, f"{here} is {value!r}, which has no keys")
            here = f"{here}.{part}".lstrip(".")

    def _known(self, value: Mapping[str, Any], spot: Spot) -> _Known:
        place = spot.place
        own = frozenset(map(str, value)).union(("type",) if place.known else ())
        if spot is ROOT:
            return _Known(own.union(TOP_LEVEL_KEYS), all=True)
        if place.keys:
            return _Known(own.union(place.keys), all=True)
        if "type" not in value:
            found = signature(place.implicit) if place.implicit else None
            if found is not None:
                return _Known(own.union(found.names, place.extra, place.demands), all=not found.open)
            return _Known(own, all=not spot.names_are_free)
        try:
            resolved = self._resolver.resolve(value["type"], place)
        except UsageError:  # the check of the whole config says so
            return _Known(own, all=False)
        kind = resolved.entry.component.kind if resolved.entry is not None else None
        if resolved.signature is None:
            return _Known(own, all=False, kind=kind)
        return _Known(own.union(resolved.signature.names, place.extra), all=not resolved.signature.open, kind=kind)

    def _no_such_key(self, path: str, here: str, part: str, known: Collection[str]) -> UsageError:
        existing = [there for there in paths_in(self._tree) if not path.startswith(there)]
        near = (
            [f"{here}.{name}".lstrip(".") for name in near_matches(part, known)]
            or [there for there in existing if there.endswith(f".{part}")][:3]
            or near_matches(path, existing)
        )
        return UsageError(
            f"there is no {part!r}{' in ' if here else ''}{here}; mmengine would create it, and nothing would read it",
            where=f"{WHERE} {path}",
            near=near,
            fix="write new keys into a config that inherits this one (_base_)",
        )

    def _refusal(self, path: str, what: str, expected: str | None = None) -> UsageError:
        return UsageError(what, where=f"{WHERE} {path}", expected=expected)


def paths_in(value: Any, path: str = "") -> Iterator[str]:
    """Yield the key paths of all that a tree holds."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        here = f"{path}.{key}".lstrip(".")
        yield here
        yield from paths_in(child, here)
