"""Dotted paths into a model, always counted from the unwrapped model."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from kdhub.errors import UsageError, near_matches
from kdhub.inner import INNER, unwrapped


class Place(NamedTuple):
    """What a path leads to.

    Attributes:
        owner: The object that holds it; the model itself for the empty path.
        name: Attribute name on ``owner``; empty for the empty path.
        value: The module or method found there.
    """

    owner: Any
    name: str
    value: Any


def unwrap(model: Any) -> Any:
    """Return the model inside DDP, FSDP and ``torch.compile`` wrappers, and the module that it stands for (`kdhub.inner`).

    A path must mean the same module on one process and on eight; left wrapped, every path would gain a ``module.`` and
    taps would silently never fire.
    """
    while (inner := getattr(model := unwrapped(model), INNER, None)) is not None:
        model = inner
    return model


def resolve(model: nn.Module, path: str) -> Place:
    """Find the module or method at a dotted path.

    Args:
        model: The model, wrapped or not.
        path: Dotted path such as ``decode_head.conv_seg``, ``backbone.layer4.1`` or ``embed``; empty for the model.

    Raises:
        UsageError: If nothing is there, or something that is neither a module nor callable; names near matches.
    """
    value: Any = unwrap(model)
    owner, name = value, ""
    for part in path.split(".") if path else []:
        owner, name = value, part
        value = unwrap(getattr(owner, part, None))
        if value is None:
            raise _not_found(model, path, part, owner)
    if not callable(value):
        raise UsageError(
            f"{path!r} in {_class_name(model)} is neither a module nor a method",
            got=type(value).__name__,
            fix="tap the module or method that produces it; `kdhub probe CONFIG` lists them",
        )
    return Place(owner, name, value)


def _not_found(model: nn.Module, path: str, part: str, owner: Any) -> UsageError:
    root = unwrap(model)
    names = [name for name, _ in root.named_modules() if name]
    last = path.rsplit(".", 1)[-1]
    same_end = [name for name in names if name == last or name.endswith(f".{last}")][:3]
    return UsageError(
        f"no module or method {path!r} in {_class_name(model)}: {_class_name(owner)} has no {part!r}",
        near=same_end or near_matches(path, names),
        fix="`kdhub probe CONFIG` prints every path with its output shape",
    )


def _class_name(model: Any) -> str:
    return type(unwrap(model)).__name__
