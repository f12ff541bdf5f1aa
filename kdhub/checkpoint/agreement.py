"""Several processes that do something together, where any of them may fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.dist import all_gather_object, is_main_process

from kdhub.errors import ToldElsewhereError, UsageError

Result = TypeVar("Result")


def agreed(act: Callable[[], Result]) -> Result:
    """Do something in all processes; if any of them cannot, all stop, and the main process says why.

    Args:
        act: Called in every process; it must not wait for the others.

    Raises:
        UsageError: In the main process: its own, or the first of another one. In the others a `ToldElsewhereError`.
    """
    result: Any = None
    failure: UsageError | None = None
    try:
        result = act()
    except UsageError as error:
        failure = error
    told: list[str | None] = all_gather_object(None if failure is None else str(failure))
    first = next(filter(None, told), None)
    if first is None:
        done: Result = result
        return done
    if is_main_process():
        raise failure or UsageError(first)
    raise ToldElsewhereError(first) from failure
