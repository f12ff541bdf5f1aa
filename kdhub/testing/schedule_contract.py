"""What every schedule promises, as one assertion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kdhub.testing._promise import all_breaches, broken, maker

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
        AssertionError: With every broken promise and what to mend, one a line.
    """
    built = maker(schedule, arguments)()
    name = getattr(built, "__name__", type(built).__name__)
    if not callable(built):
        broken(name, "cannot be called with a step", "write __call__(self, step)")
    values = {step: built(step) for step in (*range(steps), _FAR)}
    with all_breaches() as breaches:
        other = next((step for step, value in values.items() if type(value) is not float), None)
        if other is not None:
            what = f"gives {values[other]!r} of type {type(values[other]).__name__} at step {other}"
            breaches.add(name, what, "return float(...)")
        endless = next(
            (step for step, value in values.items() if type(value) is float and not math.isfinite(value)), None
        )
        if endless is not None:
            breaches.add(name, f"is {values[endless]} at step {endless}", "bound the step, or the exponent")
        if {step: repr(built(step)) for step in reversed(values)} != {
            step: repr(value) for step, value in values.items()
        }:
            breaches.add(name, "remembers what it was asked before", "compute the value from `step` alone")
