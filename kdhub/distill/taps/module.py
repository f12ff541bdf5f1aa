"""Taps on a module: its output, or its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from kdhub.distill.paths import resolve
from kdhub.distill.taps.base import Tap
from kdhub.errors import UsageError


def _module(tap: Tap, model: nn.Module) -> nn.Module:
    value = resolve(model, tap.path).value
    if not isinstance(value, nn.Module):
        raise UsageError(
            f"{tap.path!r} is a method of {type(model).__name__}, not a module",
            fix=f"write dict(type='kdhub.MethodOutput', path={tap.path!r})",
        )
    return value


class ModuleOutput(Tap):
    """What a module returns, such as a feature map ``(B, C, H, W)`` or logits ``(B, C)``.

    Args:
        path: Dotted path of the module in the unwrapped model; empty for the model itself.
        key: Entry of a tuple, dict or object output; ``None`` takes it whole.
        call: Which call counts if the module runs several times in a forward: an index, ``"all"``, ``"cat"``, or
            ``None`` to demand exactly one.
    """

    reads_result = True

    def attach(self, model: nn.Module) -> Callable[[], None]:
        """Record every output of the module until the returned function is called."""

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.record(output)

        return _module(self, model).register_forward_hook(keep).remove


class ModuleInput(Tap):
    """What a module is given; with one positional argument the argument itself, otherwise a tuple or dict of them.

    Args:
        path: Dotted path of the module in the unwrapped model; empty for the model itself.
        key: Index of a positional argument or name of a keyword argument; ``None`` takes the only one.
        call: Which call counts if the module runs several times in a forward: an index, ``"all"``, ``"cat"``, or
            ``None`` to demand exactly one.
    """

    def attach(self, model: nn.Module) -> Callable[[], None]:
        """Record every input of the module until the returned function is called."""

        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if isinstance(self.key, str):
                self.record(kwargs)
            elif self.key is None and len(args) + len(kwargs) == 1:
                self.record(args[0] if args else next(iter(kwargs.values())))
            else:
                self.record(args)

        return _module(self, model).register_forward_pre_hook(keep, with_kwargs=True).remove
