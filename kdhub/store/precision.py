"""In what form floating-point values are kept: whole, halved, or the K largest classes and what is left for the rest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from kdhub.errors import UsageError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TOP = re.compile(rf"topk:(?P<kept>[1-9]\d*)(@(?P<axis>-?\d+))?(:(?P<dtype>{'|'.join(_DTYPES)}))?")
_INDEX_DTYPES = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True)
class Precision:
    r"""The form in which the floating-point values of a tap are kept; integers, booleans and text stay exact.

    With ``topk:K`` the K largest logits :math:`z_i` of the C classes are kept, with their classes and one number
    for all the others, which get an equal share of the probability that is left:

    .. math:: r = \log \sum_{j \notin top} e^{z_j} - \log(C - K)

    So softmax gives the kept classes the teacher's own probabilities, and the error is only in how the left mass
    :math:`m` is divided: :math:`KL(p \| \tilde p) = m\,(\log(C - K) - H_{rest})` nats, with the entropy :math:`H_{rest}` of
    the teacher within the rest. This holds at temperature 1: at higher ones the kept classes shift as well.

    Attributes:
        name: As it stands in a config: ``float32``, ``float16``, ``bfloat16``, or ``topk:K``; ``topk:K@-1`` if the
            classes are not on axis 1 of what the tap gives, and ``topk:K:float16`` to halve what is kept as well.
        dtype: Type that floats are narrowed to; a value that is narrower already stays as it is.
        kept: K, or 0 to keep all classes.
        axis: Axis of the classes, counted in what the tap gives.
    """

    name: str
    dtype: torch.dtype
    kept: int = 0
    axis: int = 1

    @classmethod
    def parse(cls, name: str, where: str | None = None) -> Precision:
        """Read what stands in a config.

        Raises:
            UsageError: If it is none of the forms above.
        """
        if isinstance(name, str) and name in _DTYPES:
            return cls(name, _DTYPES[name])
        match = _TOP.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise UsageError(
                f"unknown precision {name!r}", where=where, expected="float32, float16, bfloat16, topk:K or topk:K@AXIS"
            )
        dtype = _DTYPES[match["dtype"] or "float32"]
        return cls(name, dtype, kept=int(match["kept"]), axis=int(match["axis"] or 1))

    def classes(self, tensor: Tensor, where: str) -> int:
        """Return how many classes a tensor has, or 0 if none are left out.

        Raises:
            UsageError: If there is no such axis, or no class to leave out.
        """
        if not self.kept or not tensor.is_floating_point():
            return 0
        found = tensor.shape[self.axis] if -tensor.ndim <= self.axis < tensor.ndim else 0
        if found <= self.kept or self.axis == 0:
            raise UsageError(
                f"{self.name} leaves no class out",
                where=where,
                expected=f"more than {self.kept} classes on axis {self.axis}",
                got=f"a value of shape {tuple(tensor.shape)}",
                fix="choose a smaller K, or name the axis of the classes: topk:K@AXIS",
            )
        return found

    def pack(self, tensor: Tensor, classes: int, where: str) -> tuple[Tensor, ...]:
        """Return what is kept of a tensor, on the CPU, sharing no memory with it.

        Args:
            tensor: As the tap gave it.
            classes: What `classes` returned for it.
            where: Which value this is, for errors.

        Returns:
            The tensor; with classes left out: values, classes (in the smallest integer type) and the rest.

        Raises:
            UsageError: If it is not a number somewhere, or too large for the chosen type.
        """
        tensor = tensor.detach()
        if not tensor.is_floating_point():
            return (tensor.to("cpu", copy=True),)
        if not classes:
            return (self._narrow(tensor, where),)
        values, indices = tensor.topk(self.kept, dim=self.axis)
        others = tensor.float().scatter(self.axis, indices, -math.inf)
        rest = others.logsumexp(self.axis, keepdim=True) - math.log(classes - self.kept)
        index_dtype = next(dtype for dtype in _INDEX_DTYPES if classes - 1 <= torch.iinfo(dtype).max)
        return self._narrow(values, where), indices.to("cpu", index_dtype), self._narrow(rest.to(tensor.dtype), where)

    def unpack(self, parts: tuple[Tensor, ...], classes: int) -> Tensor:
        """Return the tensor of which `pack` kept these parts, in the type that it was kept in."""
        if not classes:
            return parts[0]
        values, indices, rest = parts
        shape = list(values.shape)
        shape[self.axis] = classes
        return rest.expand(shape).clone().scatter_(self.axis, indices.long(), values)

    def _narrow(self, tensor: Tensor, where: str) -> Tensor:
        dtype = self.dtype if self.dtype.itemsize < tensor.dtype.itemsize else tensor.dtype
        narrow = tensor.to("cpu", dtype, copy=True)
        if not narrow.isfinite().all():
            if narrow.isnan().any():
                raise UsageError("the teacher's value is not a number (nan)", where=where, fix="look at the teacher")
            if int(narrow.isinf().sum()) > int(tensor.isinf().sum()):
                raise UsageError(
                    f"a value is too large for {str(dtype).removeprefix('torch.')}",
                    where=where,
                    got=f"{float(tensor[tensor.isfinite()].abs().max()):g}",
                    fix="store it as bfloat16 or float32",
                )
        return narrow
