"""The base of all taps: which call, which entry, and protection against in-place operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from kdhub.errors import GuardError, UsageError
from kdhub.values import describe, item, map_tensors, tensors_in


class _Call(NamedTuple):
    value: Any
    originals: tuple[torch.Tensor, ...]
    versions: tuple[int, ...]


class Tap(ABC):
    """Reads one value out of a model each time the model runs.

    In-place operations after the tapped point (``ReLU(inplace=True)``) would rewrite what was read. The first forward
    therefore copies, and compares torch's version counters afterwards: where the original was rewritten the tap goes
    on copying, elsewhere it reads without a copy, and a later rewrite is an error instead of a wrong value.

    Args:
        path: Dotted path in the unwrapped model; empty for the model itself.
        key: Entry of a tuple, dict or object output (index, key or attribute); ``None`` takes the value whole.
        call: Which call counts when the tapped point is reached several times in one forward: an index (negative from
            the end), ``"all"`` for a list of all, ``"cat"`` for all joined along axis 0. ``None`` demands exactly one
            call, so that a shared head is never read at a scale nobody chose.

    Raises:
        UsageError: For an argument that is none of these.
    """

    reads_result: ClassVar[bool] = False
    """Whether it reads what a module or method returns: without a model, a path does not tell which of the two it is."""

    def __init__(self, path: str, key: int | str | None = None, call: int | str | None = None) -> None:
        if not (call is None or call in ("all", "cat") or (isinstance(call, int) and not isinstance(call, bool))):
            raise UsageError(f"tap {path!r}: bad call", expected="an index, 'all', 'cat' or None", got=repr(call))
        if not isinstance(path, str):
            raise UsageError("tap: bad path", expected="a dotted path, '' for the model itself", got=repr(path))
        if not (key is None or isinstance(key, int | str)) or isinstance(key, bool):
            raise UsageError(f"tap {path!r}: bad key", expected="an index, a name or None", got=repr(key))
        self.path = path
        self.key = key
        self.call = call
        self._copies: bool | None = None
        self._calls: list[_Call] = []
        self._stored: tuple[Any, ...] = ()

    @property
    def copies(self) -> bool | None:
        """Whether what it reads is copied; ``None`` before the first forward decided it.

        A copy is a node of its own in the graph of gradients, and with it they are summed in another order.
        """
        return self._copies

    @copies.setter
    def copies(self, decided: bool | None) -> None:
        self._copies = decided

    @property
    def identity(self) -> str:
        """What is read, in words that are the same with and without a live model; a teacher store keeps values by it."""
        settings = ", ".join(
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if not (name.startswith("_") or name == "path" or value is None)
        )
        kind = "" if self.reads_result else f"{type(self).__name__}: "
        return f"{kind}{self.path or repr('')}" + (f" ({settings})" if settings else "")

    @abstractmethod
    def attach(self, model: nn.Module) -> Callable[[], None]:
        """Start to hand values to `record`; return the function that stops it and leaves the model as it was."""

    def record(self, value: Any) -> None:
        """Keep the value of one call."""
        if self.key is not None:
            value = item(value, self.key, str(self))
        originals = tuple(tensors_in(value))
        if self._copies is not False or any(tensor.is_inference() for tensor in originals):
            value = map_tensors(torch.clone, value)
        self._calls.append(_Call(value, originals, tuple(map(_version, originals))))

    def answer(self, value: Any) -> None:
        """Take what the next `read` shall return from a store, where entry and call are chosen already."""
        self._calls, self._stored = [], (value,)

    def clear(self) -> None:
        """Forget what was recorded."""
        self._calls, self._stored = [], ()

    @property
    def fired(self) -> bool:
        """Whether the tapped point was reached since the last `clear`."""
        return bool(self._calls or self._stored)

    def read(self) -> Any:
        """Return what this forward recorded, and forget it.

        Raises:
            GuardError: If the point was never reached, or was overwritten in place.
            UsageError: If the point was reached another number of times than ``call`` allows.
        """
        if self._stored:
            (value,), self._stored = self._stored, ()
            return value
        calls, self._calls = self._calls, []
        if not calls:
            raise GuardError(
                f"tap {self} never fired: the forward pass does not reach it",
                fix="tap another path (`kdhub probe CONFIG` shows which run), or set model.guards.silent_tap=False to"
                " skip the objective",
            )
        rewritten = any(
            _version(tensor) != version
            for call in calls
            for tensor, version in zip(call.originals, call.versions, strict=True)
        )
        if self._copies is None:
            self._copies = rewritten
        elif rewritten and not self._copies:
            raise GuardError(
                f"tap {self}: its value was overwritten in place after it was read, and was not in the first forward",
                fix="tap the module before the in-place operation, or build the model with inplace=False",
            )
        return self._choose([map_tensors(_usable, call.value) for call in calls])

    def _choose(self, values: list[Any]) -> Any:
        if self.call == "all":
            return values
        if self.call == "cat":
            return torch.cat(values)
        if self.call is None:
            if len(values) > 1:
                shapes = ", ".join(describe(value) for value in values[:3])
                raise UsageError(
                    f"tap {self} was reached {len(values)} times in one forward ({shapes})",
                    expected="a choice of the call",
                    fix=f"write dict(type='kdhub.{type(self).__name__}', path={self.path!r}, call=0) with an index, 'all'"
                    " or 'cat'",
                )
            return values[0]
        index = int(self.call)
        if not -len(values) <= index < len(values):
            raise UsageError(f"tap {self} was reached {len(values)} times", expected=f"a call {index}")
        return values[index]

    def __str__(self) -> str:
        options = "".join(
            f", {name}={value!r}" for name, value in (("key", self.key), ("call", self.call)) if value is not None
        )
        return f"{type(self).__name__}({self.path!r}{options})"


def _version(tensor: torch.Tensor) -> int:
    """Count in-place writes; tensors made under ``torch.inference_mode`` keep no count and are always copied."""
    return 0 if tensor.is_inference() else tensor._version


def _usable(tensor: torch.Tensor) -> torch.Tensor:
    """Make a tensor that autograd may save: a copy, if it was made under ``torch.inference_mode``."""
    return tensor.clone() if tensor.is_inference() else tensor


@contextmanager
def recording(taps: Iterable[Tap], model: nn.Module) -> Iterator[None]:
    """Attach taps for the length of one forward pass, and leave no trace on the model afterwards.

    Nothing stays attached between steps, so the model can be copied, saved and exported at any time.
    """
    with ExitStack() as stack:
        for tap in taps:
            tap.clear()
            stack.callback(tap.attach(model))
        yield
