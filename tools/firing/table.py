"""The faults, as a table: one is added by adding a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from firing.rounds import Round

Function = TypeVar("Function", bound=Callable[[Any], None])


class Fault(NamedTuple):
    """An entry of the table.

    Attributes:
        play: What happens; raises `MissedError` if the command was over before.
        kind: To which command.
        processes: In how many processes that is.
    """

    play: Callable[[Any], None]
    kind: type[Round]
    processes: int


FAULTS: dict[str, Fault] = {}
"""By name."""


def fault(kind: type[Round], processes: int = 1) -> Callable[[Function], Function]:
    """Enter a function into the table."""

    def enter(function: Function) -> Function:
        FAULTS[function.__name__] = Fault(function, kind, processes)
        return function

    return enter
