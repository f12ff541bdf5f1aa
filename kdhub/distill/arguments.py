"""Checks of constructor arguments, so that a wrong value stops at once and not after a day of training.

``owner``, ``name`` and ``value`` are in all of them what they are in `require_number`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

from kdhub.errors import UsageError, near_matches


def require_number(
    owner: str, name: str, value: Any, *, above: float | None = None, at_least: float | None = None
) -> None:
    """See that a value is a finite number.

    Args:
        owner: Class that takes it, for the error.
        name: Name of the argument.
        value: What was given; a bool is no number.
        above: What it must exceed.
        at_least: Its lowest value.

    Raises:
        UsageError: If it is not.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and (above is None or number > above) and (at_least is None or number >= at_least):
        return
    bound = f" above {above:g}" if above is not None else f" from {at_least:g}" if at_least is not None else ""
    raise UsageError(f"{owner}: bad {name}", expected=f"a finite number{bound}", got=repr(value))


def require_count(owner: str, name: str, value: Any, *, at_least: int | None = None) -> None:
    """See that a value is a whole number.

    Args:
        owner: Class that takes it, for the error.
        name: Name of the argument.
        value: What was given; a bool is no number.
        at_least: Its lowest value.

    Raises:
        UsageError: If it is not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and (at_least is None or value >= at_least):
        return
    bound = f" from {at_least}" if at_least is not None else ""
    raise UsageError(f"{owner}: bad {name}", expected=f"a whole number{bound}", got=repr(value))


def require_axis(owner: str, name: str, value: Any) -> None:
    """See that a value is the number of an axis, or ``None``.

    Raises:
        UsageError: If it is not.
    """
    if value is not None:
        require_count(owner, name, value)


def require_flag(owner: str, name: str, value: Any) -> None:
    """See that a value is ``True`` or ``False``: Python takes any other for one of them, and ``'False'`` for true.

    Raises:
        UsageError: If it is not.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{owner}: bad {name}", expected="True or False", got=repr(value))


def require_list(owner: str, name: str, value: Any) -> None:
    """See that a value is a list or a tuple.

    Raises:
        UsageError: If it is not.
    """
    if not isinstance(value, list | tuple):
        raise UsageError(f"{owner}: bad {name}", expected="a list", got=repr(value), fix=f"{name}=[...]")


def require_size(owner: str, name: str, value: Any) -> None:
    """See that a value is a height and a width.

    Raises:
        UsageError: If it is not.
    """
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else ()
    if not sides or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 1 for one in sides):
        raise UsageError(f"{owner}: bad {name}", expected="(height, width), whole numbers from 1", got=repr(value))


def require_choice(owner: str, name: str, value: Any, choices: Iterable[str]) -> None:
    """See that a value is one of a few words.

    Args:
        owner: Class that takes it, for the error.
        name: Name of the argument.
        value: What was given.
        choices: What it may be.

    Raises:
        UsageError: If it is not.
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise UsageError(
            f"{owner}: bad {name}",
            expected=" or ".join(map(repr, choices)),
            got=repr(value),
            near=near_matches(str(value), choices),
        )
