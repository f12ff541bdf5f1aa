"""Sets of classes as bits of 32-bit words: bit ``c % 32`` of word ``c // 32`` stands for class ``c``.

A one-hot map of C classes takes 4 C bytes a pixel and as many operations as classes; a word takes 4 bytes for 32 classes, and
one operation works on all of them. The union over a window, and even the count over a cell, are bitwise operations on words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WORD = 32
"""Classes in a word."""


def class_words(labels: Tensor, first: int) -> Tensor:
    """Turn class numbers into sets of one class.

    Args:
        labels: Class numbers, any shape; bytes or int32.
        first: The class that bit 0 stands for.

    Returns:
        int32 of the same shape: the bit of the class, or 0 where the class is not in ``first..first+31``.
    """
    # a shift by a negative number, or by more than the word has bits, gives 0; bytes wrap around to the latter
    return torch.ones((), dtype=torch.int32, device=labels.device) << (labels - first if first else labels).int()


def slide(values: Tensor, window: int, operation: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine each ``window x window`` patch that lies inside the map.

    Args:
        values: ``(..., H, W)``.
        window: Side of the patch.
        operation: Associative, commutative and idempotent (union, minimum, maximum), so that patches may overlap: a
            window of 7 takes 3 operations along an axis, not 6.

    Returns:
        ``(..., H - window + 1, W - window + 1)``.
    """
    for axis in (-2, -1):
        span = 1
        while span < window:
            step = min(span, window - span)
            rest = values.shape[axis] - step
            values = operation(values.narrow(axis, 0, rest), values.narrow(axis, step, rest))
            span += step
    return values


def count(words: Tensor, axis: int) -> list[Tensor]:
    """Count, for all classes at once, how many words along an axis hold each class.

    Args:
        words: int32.
        axis: Axis to count along.

    Returns:
        The counts as binary numbers, lowest digit first: bit ``c`` of digit ``d`` is digit ``d`` of the count of class ``c``.
    """
    return add_up([words], axis)


def add_up(digits: Sequence[Tensor], axis: int) -> list[Tensor]:
    """Add binary numbers, as `count` returns them, along an axis."""
    digits = list(digits)
    while (length := digits[0].shape[axis]) > 1:
        half = length // 2
        total = _add([digit.narrow(axis, 0, half) for digit in digits], [d.narrow(axis, half, half) for d in digits])
        if length % 2:
            last = [digit.narrow(axis, length - 1, 1) for digit in digits]
            last.append(torch.zeros_like(last[0]))
            total = [torch.cat(pair, axis) for pair in zip(total, last, strict=True)]
        digits = total
    return [digit.squeeze(axis) for digit in digits]


def _add(one: Sequence[Tensor], two: Sequence[Tensor]) -> list[Tensor]:
    """Add binary numbers of equal length, digit by digit with a carry."""
    digits = [one[0] ^ two[0]]
    carry = one[0] & two[0]
    for x, y in zip(one[1:], two[1:], strict=True):
        either = x ^ y
        digits.append(either ^ carry)
        carry = (x & y) | (either & carry)
    return [*digits, carry]


def has_class(words: Tensor, classes: int) -> Tensor:
    """Unpack sets into one 0/1 map a class: ``(B, ...)`` int32 to ``(B, classes, ...)`` int32."""
    shift = torch.arange(classes, dtype=torch.int32, device=words.device)
    bits = words.unsqueeze(1) >> shift.view(-1, *[1] * (words.ndim - 1))
    return bits.bitwise_and_(1)


def numbers(digits: Sequence[Tensor], classes: int) -> Tensor:
    """Unpack binary numbers into one map of counts a class: ``(B, ...)`` each to ``(B, classes, ...)`` int32."""
    total = has_class(digits[0], classes)
    for place, digit in enumerate(digits[1:], start=1):
        total.add_(has_class(digit, classes), alpha=1 << place)
    return total
