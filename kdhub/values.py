"""Nested values as models give them: tensors inside tuples, lists, dicts and mmengine data elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kdhub.errors import UsageError, near_matches


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply ``function`` to every tensor in nested tuples, lists and mappings; anything else is passed through."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
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
    return type(value).__name__
