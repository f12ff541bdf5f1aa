"""From a config entry to a tap."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from kdhub.distill.paths import resolve
from kdhub.distill.taps.base import Tap
from kdhub.distill.taps.method import MethodOutput
from kdhub.distill.taps.module import ModuleOutput
from kdhub.errors import UsageError, placed
from kdhub.registry import build


def make_tap(spec: str | Mapping[str, Any] | Tap, model: nn.Module | None, where: str) -> Tap:
    """Make a tap from what stands in a config, and see that its path exists.

    Args:
        spec: A path (a module's output, or a method's result, by what is found there), a component dict, or a tap.
        model: The model it will read from; ``None`` where the teacher is not a live model, and a path then names the
            stored value.
        where: Key path in the config, for errors.

    Raises:
        UsageError: For a path that leads nowhere, or a spec of another type.
    """
    if isinstance(spec, str):
        with placed(where):
            is_method = model is not None and not isinstance(resolve(model, spec).value, nn.Module)
        return MethodOutput(spec) if is_method else ModuleOutput(spec)
    tap = build("tap", spec, where=where) if isinstance(spec, Mapping) else spec
    if not isinstance(tap, Tap):
        raise UsageError(
            "not a tap", where=where, expected="a path, or dict(type='kdhub.ModuleOutput', path=...)", got=repr(spec)
        )
    if model is not None:
        with placed(where):
            resolve(model, tap.path)
    return tap


def resolved(tap: Tap, model: nn.Module | None) -> Tap:
    """Return a copy of a tap that was made without a model, as it is on one: its path may turn out to name a method.

    Raises:
        UsageError: For a path that leads nowhere.
    """
    if model is None:
        return copy.copy(tap)
    found = resolve(model, tap.path).value
    if type(tap) is ModuleOutput and not isinstance(found, nn.Module):
        return MethodOutput(tap.path, tap.key, tap.call)
    return copy.copy(tap)
