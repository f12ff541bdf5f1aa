"""What a tap's value is made of: how it falls apart into samples, and how samples become a batch again.

A tree is found from values of two batch sizes, because one cannot tell a list with an entry a sample from four feature
maps of a batch of four, nor rows of samples from rows of a weight: what belongs to samples is what grows with the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.store.precision import Precision
from kdhub.values import describe

Column = Tensor | list[Tensor]
"""One part of the values of B samples: ``(B, ...)`` where all have one shape, else B tensors."""

_NUMBERS: dict[str, tuple[type, torch.dtype]] = {
    "bool": (bool, torch.bool),
    "int": (int, torch.int64),
    "float": (float, torch.float64),
}


_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_KEPT = (*_FLOATS, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Node(ABC):
    """A part of a value. Nodes are frozen dataclasses of JSON values and other nodes."""

    kinds: ClassVar[dict[str, type[Node]]] = {}

    def __init_subclass__(cls) -> None:
        Node.kinds[cls.__name__.lower()] = cls

    @abstractmethod
    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the columns of a value of ``size`` samples, always the same number of them, in the same order.

        Raises:
            UsageError: If the value is made otherwise than this node says.
        """

    @abstractmethod
    def join(self, columns: Iterator[Column], size: int) -> Any:
        """Take as many columns as `split` yielded and return the value."""

    @property
    def bare(self) -> bool:
        """Whether the value is its one column, with nothing to be joined."""
        return False

    @property
    def located(self) -> bool:
        """Whether it says something about places in a sample, as maps, tokens and proposals do: it has axes beyond one."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Return it as what a manifest can hold."""
        content = {entry.name: _to_json(getattr(self, entry.name)) for entry in fields(self)}  # type: ignore[arg-type]
        return {"node": type(self).__name__.lower(), **content}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Node:
        """Return the node that `to_json` wrote."""
        rest = {name: _from_json(value) for name, value in content.items() if name != "node"}
        return Node.kinds[content["node"]](**rest)


def _to_json(value: Any) -> Any:
    if isinstance(value, Node):
        return value.to_json()
    return [_to_json(entry) for entry in value] if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Node.from_json(value)
    return tuple(_from_json(entry) for entry in value) if isinstance(value, list) else value


def refused(where: str, expected: str, value: Any, fix: str | None = None) -> UsageError:
    """Say that a value is not made as it must be."""
    got = describe(value) if isinstance(value, Tensor | Mapping | list | tuple) else f"{type(value).__name__} {value!r}"
    return UsageError("cannot store this value of a tap", where=where, expected=expected, got=got, fix=fix)


@dataclass(frozen=True)
class Rows(Node):
    """A tensor ``(n * B, ...)``; rows i, i + B, i + 2 B, ... are of sample i, as ``call='cat'`` gives them.

    Attributes:
        dtype: Its type.
        shape: Shape of a row.
        times: n, the rows of a sample.
        precision: Name of the form in which it is kept.
        classes: Classes of which only some are kept, or 0.
    """

    dtype: str
    shape: tuple[int, ...]
    times: int = 1
    precision: str = "float32"
    classes: int = 0

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the tensor sample by sample: ``(B, ...)``, or ``(B, n, ...)`` of several rows."""
        shape = (self.times * size, *self.shape)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or _dtype(value) != self.dtype:
            raise refused(where, f"{shape} {self.dtype}, as in the first batches", value, _PADDING)
        for part in Precision.parse(self.precision).pack(value, self.classes, where):
            if self.times == 1:
                yield part
            else:
                yield part.reshape(self.times, size, *part.shape[1:]).transpose(0, 1).contiguous()

    @property
    def bare(self) -> bool:
        """Whether a sample is one row, all of which is kept."""
        return self.times == 1 and not self.classes

    @property
    def located(self) -> bool:
        """Whether a row is more than a vector."""
        return len(self.shape) > 1

    def join(self, columns: Iterator[Column], size: int) -> Tensor:
        """Put the rows back where the tap had them."""
        if self.bare:
            return cast(Tensor, next(columns))
        parts = []
        for _ in range(3 if self.classes else 1):
            part = cast(Tensor, next(columns))
            if self.times > 1:
                part = part.transpose(0, 1).reshape(self.times * size, *part.shape[2:])
            parts.append(part)
        return Precision.parse(self.precision).unpack(tuple(parts), self.classes)


@dataclass(frozen=True)
class Constant(Node):
    """What is the same in every batch: ``None``, a flag, a size, a name."""

    value: Any
    each: bool = False

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield nothing."""
        for entry in value if self.each else (value,):
            if type(entry) is not type(self.value) or entry != self.value:
                raise refused(
                    where, f"{self.value!r}, as in the first batches", entry, "tap the part that is per sample"
                )
        yield from ()

    def join(self, columns: Iterator[Column], size: int) -> Any:
        """Return it, once or for each sample."""
        return [self.value] * size if self.each else self.value


@dataclass(frozen=True)
class Branch(Node):
    """A tuple, list or dict of fixed make: of a batch's values, or (``each``) of the values of each sample."""

    kind: str
    keys: tuple[int | str, ...]
    items: tuple[Node, ...]
    each: bool = False

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the columns of the items, one item after the other."""
        for whole in value if self.each else (value,):
            if _kind(whole) != self.kind or _keys(whole) != self.keys:
                raise refused(where, f"a {self.kind} of {list(self.keys)}, as in the first batches", whole)
        for key, node in zip(self.keys, self.items, strict=True):
            item = [entry[key] for entry in value] if self.each else value[key]
            yield from node.split(item, size, f"{where}[{key!r}]")

    @property
    def located(self) -> bool:
        """Whether an item is."""
        return any(item.located for item in self.items)

    def join(self, columns: Iterator[Column], size: int) -> Any:
        """Build it around its items: once, or for each sample."""
        items = [node.join(columns, size) for node in self.items]
        if self.each:
            return [self._build([item[sample] for item in items]) for sample in range(size)]
        return self._build(items)

    def _build(self, items: list[Any]) -> Any:
        if self.kind == "dict":
            return dict(zip(self.keys, items, strict=True))
        return items if self.kind == "list" else tuple(items)


@dataclass(frozen=True)
class Each(Node):
    """A list or tuple with one entry a sample."""

    kind: str
    item: Node

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the columns of the entries."""
        if _kind(value) != self.kind or len(value) != size:
            raise refused(where, f"a {self.kind} with an entry for each of {size} samples", value)
        yield from self.item.split(value, size, where)

    @property
    def located(self) -> bool:
        """Whether an entry is."""
        return self.item.located

    def join(self, columns: Iterator[Column], size: int) -> Any:
        """Return the entries in the order of the samples."""
        entries = self.item.join(columns, size)
        return entries if self.kind == "list" else tuple(entries)


@dataclass(frozen=True)
class Ragged(Node):
    """One tensor a sample, of any lengths."""

    dtype: str
    ndim: int
    precision: str = "float32"
    classes: int = 0

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield B tensors for each part that is kept."""
        precision = Precision.parse(self.precision)
        packed = []
        for entry in value:
            if not isinstance(entry, Tensor) or entry.ndim != self.ndim or _dtype(entry) != self.dtype:
                raise refused(where, f"{self.ndim} axes of {self.dtype}, as in the first batches", entry)
            if self.classes and entry.shape[precision.axis] != self.classes:
                raise refused(where, f"{self.classes} classes, as in the first batches", entry)
            packed.append(precision.pack(entry, self.classes, where))
        yield from (list(part) for part in zip(*packed, strict=True))

    @property
    def located(self) -> bool:
        """True: what differs in length is a list of parts."""
        return True

    def join(self, columns: Iterator[Column], size: int) -> list[Tensor]:
        """Return the tensors."""
        precision = Precision.parse(self.precision)
        parts = [next(columns) for _ in range(3 if self.classes else 1)]
        return [precision.unpack(entry, self.classes) for entry in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Text(Node):
    """One text a sample."""

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the bytes of the texts, in UTF-8."""
        column = []
        for entry in value:
            if not isinstance(entry, str):
                raise refused(where, "text, as in the first batches", entry)
            # surrogates are what Python makes of bytes in names of files that are no text
            data = bytearray(entry, "utf-8", "surrogatepass")
            column.append(torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8))
        yield column

    def join(self, columns: Iterator[Column], size: int) -> list[str]:
        """Return the texts."""
        return [entry.numpy().tobytes().decode("utf-8", "surrogatepass") for entry in next(columns)]


@dataclass(frozen=True)
class Number(Node):
    """One Python number a sample."""

    type: str

    def split(self, value: Any, size: int, where: str) -> Iterator[Column]:
        """Yield the numbers as a tensor ``(B,)``."""
        wanted, dtype = _NUMBERS[self.type]
        for entry in value:
            if type(entry) is not wanted:
                raise refused(where, f"{self.type}, as in the first batches", entry)
        try:
            yield torch.tensor(value, dtype=dtype)
        except (OverflowError, RuntimeError) as error:
            raise refused(where, "integers of 64 bits", value) from error

    def join(self, columns: Iterator[Column], size: int) -> list[Any]:
        """Return the numbers."""
        return cast(Tensor, next(columns)).tolist()


_PADDING = "where padding makes the shape change from batch to batch, pad to a fixed length or tap a list with one tensor a sample"


def find_tree(observed: Sequence[tuple[int, Any]], precision: str = "float32", where: str = "tap") -> Node:
    """Find what a tap's value is made of.

    Args:
        observed: Batch size and value, of at least two batches of different sizes.
        precision: In what form floats are kept; see `Precision`.
        where: The tap, for errors.

    Raises:
        UsageError: If all batches were of one size, or part of the value belongs to no sample, changes its make from batch
            to batch, or is of a type that cannot be stored.
    """
    if len({size for size, _ in observed}) < 2:
        raise UsageError(
            "batches of one size do not tell what belongs to which sample", where=where, expected="two batch sizes"
        )
    return _Finder([size for size, _ in observed], Precision.parse(precision, where)).of_batch(
        [value for _, value in observed], where
    )


@dataclass(frozen=True)
class _Finder:
    sizes: list[int]
    precision: Precision
    simple: tuple[type, ...] = field(default=(bool, int, float, str))

    def of_batch(self, values: list[Any], where: str) -> Node:
        first = values[0]
        if all(isinstance(value, Tensor) for value in values):
            return self._rows(values, where)
        if all(_kind(value) in ("list", "tuple") and _kind(value) == _kind(first) for value in values):
            if [len(value) for value in values] == self.sizes:
                return Each(_kind(first), self.of_samples([entry for value in values for entry in value], where))
            return self._branch(values, where, each=False)
        if all(_kind(value) == "dict" for value in values):
            return self._branch(values, where, each=False)
        return self._constant(values, where, each=False)

    def of_samples(self, entries: list[Any], where: str) -> Node:
        first = entries[0]
        if all(isinstance(entry, Tensor) for entry in entries):
            return self._ragged(entries, where)
        if all(isinstance(entry, str) for entry in entries):
            return Text()
        if type(first).__name__ in _NUMBERS and all(type(entry) is type(first) for entry in entries):
            return Number(type(first).__name__)
        if all(_kind(entry) and _kind(entry) == _kind(first) for entry in entries):
            return self._branch(entries, where, each=True)
        return self._constant(entries, where, each=True)

    def _branch(self, values: list[Any], where: str, each: bool) -> Branch:
        keys = _keys(values[0])
        for value in values:
            if _keys(value) != keys:
                raise refused(
                    where, f"entries {list(keys)}, as in another batch or sample, or one for each sample", value
                )
            if not all(isinstance(key, str | int) for key in keys):
                raise refused(where, "keys that are text or integers", value)
        of = self.of_samples if each else self.of_batch
        items = tuple(of([value[key] for value in values], f"{where}[{key!r}]") for key in keys)
        return Branch(_kind(values[0]), keys, items, each)

    def _constant(self, values: list[Any], where: str, each: bool) -> Constant:
        first = values[0]
        for value in values:
            if (
                not (value is None or isinstance(value, self.simple))
                or type(value) is not type(first)
                or value != first
            ):
                raise refused(
                    where,
                    "tensors, numbers or text of each sample, in lists, tuples and dicts",
                    value,
                    "tap the entry that is meant: dict(type='kdhub.ModuleOutput', path=..., key=...)",
                )
        return Constant(first, each)

    def _rows(self, values: list[Tensor], where: str) -> Rows:
        first = values[0]
        times = first.shape[0] // self.sizes[0] if first.ndim else 0
        for size, value in zip(self.sizes, values, strict=True):
            _check_type(value, where)
            if not times or value.shape[:1] != (times * size,):
                raise refused(where, f"axis 0 to grow with the batch (here of {size} samples)", value)
            if value.shape[1:] != first.shape[1:] or value.dtype != first.dtype:
                raise refused(where, f"{describe(first)}, as in another batch", value, _PADDING)
        classes = self.precision.classes(first, where)
        return Rows(_dtype(first), tuple(first.shape[1:]), times, self.precision.name, classes)

    def _ragged(self, entries: list[Tensor], where: str) -> Ragged:
        first = entries[0]
        _check_type(first, where)
        if self.precision.kept and self.precision.axis > 0:
            raise refused(where, f"an axis counted from the end in {self.precision.name}", first, "write topk:K@-1")
        classes = self.precision.classes(first, where)
        node = Ragged(_dtype(first), first.ndim, self.precision.name, classes)
        for _ in node.split(entries, len(entries), where):
            pass
        return node


def _check_type(tensor: Tensor, where: str) -> None:
    if tensor.dtype not in _KEPT or tensor.layout is not torch.strided:
        raise refused(where, "a dense tensor of booleans, integers or floats of 16 bits or more", tensor)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(value: Any) -> str:
    """Return ``list``, ``tuple`` or ``dict``; empty for what is none, or has names that would be lost."""
    if isinstance(value, Mapping):
        return "dict"
    return type(value).__name__ if type(value) in (list, tuple) else ""


def _keys(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Mapping) else tuple(range(len(value)))
