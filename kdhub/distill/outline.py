"""What a model's modules and methods give in one forward pass: the answer to "what can I hook?"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from kdhub.distill.paths import unwrap
from kdhub.distill.taps import MethodOutput
from kdhub.values import describe, tensors_in

_FRAMEWORKS = ("torch.", "mmengine.")
"""Classes from there have methods that serve the framework, not the model."""


@dataclass(slots=True)
class Row:
    """One module or method.

    Attributes:
        path: Path of a tap; empty for the model itself. A module that is shared stands at its first path.
        type: Name of its class, or ``method``.
        calls: How many times it ran; a tap demands one, or a choice with ``call``.
        outputs: What it gave, as shapes and dtypes; each different answer once, in order.
    """

    path: str
    type: str
    calls: int = 0
    outputs: list[str] = field(default_factory=list)

    def record(self, output: Any) -> None:
        """Count one call; keeps no tensor."""
        self.calls += 1
        said = describe(output)
        if said not in self.outputs:
            self.outputs.append(said)


class _Watch(MethodOutput):
    """Describes instead of keeping."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.path)
        self.row = row

    def record(self, value: Any) -> None:
        if next(tensors_in(value), None) is not None:
            self.row.record(value)


def outline(model: nn.Module, run: Callable[[], Any]) -> list[Row]:
    """Run a model once and describe every module of it, and every method that returned tensors.

    Args:
        model: The model, wrapped or not; paths count from the unwrapped one, as those of taps do.
        run: Runs it; mode and gradients are the caller's choice.

    Returns:
        One row a module in the order of ``named_modules``, also for those that did not run; behind each the rows of its
        methods that did.
    """
    bare = unwrap(model)
    rows = []
    with ExitStack() as stack:
        for path, module in bare.named_modules():
            row = Row(path, type(module).__name__)
            rows.append(row)
            stack.callback(module.register_forward_hook(_recorder(row)).remove)
            for name in _methods(module):
                row = Row(f"{path}.{name}".lstrip("."), "method")
                rows.append(row)
                stack.callback(_Watch(row).attach(bare))
        run()
    return [row for row in rows if row.type != "method" or row.calls]


def _recorder(row: Row) -> Callable[[nn.Module, Any, Any], None]:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        row.record(output)

    return record


def _methods(module: nn.Module) -> Iterator[str]:
    """Yield the public methods that a module's own classes add to those of every module."""
    names: dict[str, None] = {}
    for cls in reversed(type(module).__mro__):
        if not f"{cls.__module__}.".startswith(_FRAMEWORKS):
            names |= {name: None for name, value in vars(cls).items() if isinstance(value, FunctionType)}
    for name in names:
        if not name.startswith("_") and not hasattr(BaseModel, name) and name not in module._modules:
            yield name
