"""Values as models give them: trees of tuples, lists, mappings and registered nodes whose leaves are tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from kdhub.errors import UsageError, near_matches

_NODES: dict[type, tuple[Callable[[Any], Mapping[str, Any]], Callable[[Any, Mapping[str, Any]], Any]]] = {}


def register_node(
    type_: type, fields: Callable[[Any], Mapping[str, Any]], rebuild: Callable[[Any, Mapping[str, Any]], Any]
) -> None:
    """Make values of a type, and of types derived from it, part of the trees that taps read.

    mmengine's data elements (`InstanceData` and its kin) are registered; a library's own output class is registered by its
    plugin. Tuples, named tuples, lists and mappings need no registration, and neither do outputs derived from a mapping.

    Args:
        type_: The class.
        fields: From a value to what it holds, by name.
        rebuild: From a value and new fields of the same names to a value of the same class.
    """
    _NODES[type_] = (fields, rebuild)


def children(value: Any) -> Mapping[str, Any] | None:
    """Return what a node of a tree holds, by name or index; ``None`` for a leaf."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return {str(index): item for index, item in enumerate(value)}
    node = _node(value)
    return node[0](value) if node is not None else None


def _node(value: Any) -> tuple[Callable[[Any], Mapping[str, Any]], Callable[[Any, Mapping[str, Any]], Any]] | None:
    return next((_NODES[base] for base in type(value).__mro__ if base in _NODES), None)


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply ``function`` to every tensor of a tree; any other leaf is passed through.

    Args:
        function: From a tensor to what takes its place.
        value: Nested tuples, lists, mappings and registered nodes.

    Returns:
        A tree of the same form; mappings become plain dicts.
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(function, item) for item in value)
    if node := _node(value):
        fields, rebuild = node
        return rebuild(value, {name: map_tensors(function, item) for name, item in fields(value).items()})
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor of a tree, in its order."""
    if isinstance(value, Tensor):
        yield value
        return
    for item in (children(value) or {}).values():
        yield from tensors_in(item)


def to_float32(value: Any) -> Any:
    """Raise half-precision tensors to float32; knowledge-distillation arithmetic is never done in less."""
    return map_tensors(
        lambda tensor: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor, value
    )


def item(value: Any, key: int | str, where: str) -> Any:
    """Take one entry out of a model's output.

    Args:
        value: A tuple, list, mapping or object with attributes.
        key: Index, key or attribute name.
        where: What produced the value, for the error.

    Raises:
        UsageError: If there is no such entry; names those there are.
    """
    if isinstance(value, Mapping):
        if key in value:
            return value[key]
        there = [str(name) for name in value]
    elif isinstance(value, list | tuple) and isinstance(key, int):
        if -len(value) <= key < len(value):
            return value[key]
        there = [str(index) for index in range(len(value))]
    elif isinstance(key, str) and hasattr(value, key):
        return getattr(value, key)
    else:
        there = [name for name in vars(value) if not name.startswith("_")] if hasattr(value, "__dict__") else []
    raise UsageError(
        f"no entry {key!r} in the output of {where}",
        expected="one of " + ", ".join(there) if there else "a tuple, a mapping or an object",
        got=describe(value),
        near=near_matches(str(key), there),
    )


def describe(value: Any) -> str:
    """Say shapes and dtypes: ``(32, 384) float32``, ``dict(logits=(2, 11, 45, 60) float32)``."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return "dict(" + ", ".join(f"{key}={describe(entry)}" for key, entry in value.items()) + ")"
    if isinstance(value, list | tuple):
        shown = ", ".join(describe(entry) for entry in value[:4]) + (", ..." if len(value) > 4 else "")
        return f"{type(value).__name__}[{len(value)}]({shown})"
    if (fields := children(value)) is not None:
        return f"{type(value).__name__}({', '.join(f'{key}={describe(entry)}' for key, entry in fields.items())})"
    return type(value).__name__


def _with_fields(element: BaseDataElement, fields: Mapping[str, Any]) -> BaseDataElement:
    rebuilt = type(element)(metainfo=element.metainfo)
    for name, value in fields.items():
        setattr(rebuilt, name, value)
    return rebuilt


register_node(BaseDataElement, lambda element: dict(element.items()), _with_fields)
