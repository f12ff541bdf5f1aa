"""Checks of constructor arguments, so that a wrong value stops at once and not after a day of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, NamedTuple

from kdhub.errors import UsageError, near_matches


class Kind(NamedTuple):
    """What an argument may be.

    Attributes:
        expected: In words, for the error.
        fits: Tells whether a value is such.
        choices: The words of which it must be one, if it must.
    """

    expected: str
    fits: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def require(owner: str, kind: Kind, **arguments: Any) -> None:
    """See that arguments are of a kind.

    Args:
        owner: Class or function that takes them, for the error.
        kind: What each of them may be.
        **arguments: Their values, by name.

    Raises:
        UsageError: For the first that is not.
    """
    for name, value in arguments.items():
        if not kind.fits(value):
            near = near_matches(str(value), kind.choices)
            raise UsageError(f"{owner}: bad {name}", expected=kind.expected, got=repr(value), near=near)


def number(*, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf) -> Kind:
    """A finite number; a bool is none."""
    bound = f" above {above:g}" if above > -math.inf else f" from {at_least:g}" if at_least > -math.inf else ""
    bound += f" up to {at_most:g}" if at_most < math.inf else ""

    def fits(value: Any) -> bool:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and value > above and at_least <= value <= at_most

    return Kind(f"a finite number{bound}", fits)


def integer(at_least: float = -math.inf) -> Kind:
    """A whole number; a bool is none."""
    bound = f" from {at_least}" if at_least > -math.inf else ""
    return Kind(f"a whole number{bound}", lambda value: type(value) is int and value >= at_least)


def choice(choices: Iterable[str]) -> Kind:
    """One of a few words."""
    words = tuple(choices)
    return Kind(" or ".join(map(repr, words)), lambda value: isinstance(value, str) and value in words, words)


def optional(kind: Kind) -> Kind:
    """What ``kind`` says, or ``None``."""
    return kind._replace(expected=f"{kind.expected}, or None", fits=lambda value: value is None or kind.fits(value))


FLAG = Kind("True or False", lambda value: isinstance(value, bool))
"""Python takes any other value for one of them, and ``'False'`` for true."""

LIST = Kind("a list, [...]", lambda value: isinstance(value, list | tuple))

SIZE = Kind(
    "(height, width), whole numbers from 1",
    lambda value: LIST.fits(value) and len(value) == 2 and all(map(integer(1).fits, value)),
)
