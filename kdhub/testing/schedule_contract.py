"""What every schedule promises, as one assertion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kdhub.testing._promise import broken, maker

_FAR = 10**9


def assert_schedule_contract(
    schedule: Callable[[int], float] | type[Any], *, arguments: Mapping[str, Any] | None = None, steps: int = 100
) -> None:
    """Assert all that kdhub takes for granted about a schedule.

    It gives a finite float at every step, however far; and it remembers nothing, or a resumed run would not see the
    value that an uninterrupted one sees.

    Args:
        schedule: The class, or an instance or function.
        arguments: Constructor arguments that go with the class.
        steps: How many first steps to look at.

    Raises:
        AssertionError: At the first broken promise, with what to mend.
    """
    built = maker(schedule, arguments)()
    name = getattr(built, "__name__", type(built).__name__)
    if not callable(built):
        broken(name, "cannot be called with a step", "write __call__(self, step)")
    values = {step: built(step) for step in (*range(steps), _FAR)}
    for step, value in values.items():
        if type(value) is not float:
            broken(name, f"gives {value!r} of type {type(value).__name__} at step {step}", "return float(...)")
        if not math.isfinite(value):
            broken(name, f"is {value} at step {step}", "bound the step, or the exponent")
    if {step: built(step) for step in reversed(values)} != values:
        broken(name, "remembers what it was asked before", "compute the value from `step` alone")
