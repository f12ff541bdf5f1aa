"""What a model's modules give in one forward pass: the answer to "what can I hook?"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kdhub.distill.paths import unwrap
from kdhub.distill.values import describe


@dataclass(slots=True)
class Row:
    """One module.

    Attributes:
        path: Path of a tap; empty for the model itself. A module that is shared stands at its first path.
        type: Name of its class.
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


def outline(model: nn.Module, run: Callable[[], Any]) -> list[Row]:
    """Run a model once and describe every module of it.

    Args:
        model: The model, wrapped or not; paths count from the unwrapped one, as those of taps do.
        run: Runs it; mode and gradients are the caller's choice.

    Returns:
        One row a module in the order of ``named_modules``, also for those that did not run.
    """
    rows = []
    handles = []
    try:
        for path, module in unwrap(model).named_modules():
            row = Row(path, type(module).__name__)
            handles.append(module.register_forward_hook(lambda _module, _inputs, output, row=row: row.record(output)))
            rows.append(row)
        run()
    finally:
        for handle in handles:
            handle.remove()
    return rows
