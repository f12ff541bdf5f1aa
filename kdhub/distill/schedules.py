"""Numbers that change over a run: a schedule gives the value at each training step and remembers nothing.

The step lives in the `Distiller`, which saves it; so a schedule resumes exactly, and one object may drive several numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

from kdhub.distill.arguments import LIST, integer, number, require
from kdhub.distill.blame import component_type, fault
from kdhub.errors import UsageError
from kdhub.registry import build

Schedule = Callable[[int], float]
"""Anything that takes a step, counted from 0, and gives a number."""


class ConstantSchedule:
    """The same value at every step.

    Args:
        value: The value.
    """

    def __init__(self, value: float) -> None:
        require("ConstantSchedule", number(), value=value)
        self.value = value

    def __call__(self, step: int) -> float:
        """Return the value."""
        return float(self.value)


class LinearSchedule:
    """A straight line from ``start`` to ``end``, constant before and after.

    Args:
        start: Value up to step ``begin``.
        end: Value from step ``begin + steps`` on.
        steps: Length of the line, in training iterations.
        begin: Step at which it starts.
    """

    def __init__(self, start: float, end: float, steps: int, begin: int = 0) -> None:
        _require_ramp("LinearSchedule", start, end, steps, begin)
        self.start = start
        self.end = end
        self.steps = steps
        self.begin = begin

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return _between(self.start, self.end, _fraction(step - self.begin, self.steps))


class CosineSchedule:
    """Half a cosine wave from ``start`` to ``end``: slow at both ends; constant before and after.

    Args:
        start: Value up to step ``begin``.
        end: Value from step ``begin + steps`` on.
        steps: Length of the half wave, in training iterations.
        begin: Step at which it starts.
    """

    def __init__(self, start: float, end: float, steps: int, begin: int = 0) -> None:
        _require_ramp("CosineSchedule", start, end, steps, begin)
        self.start = start
        self.end = end
        self.steps = steps
        self.begin = begin

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        fraction = _fraction(step - self.begin, self.steps)
        return _between(self.start, self.end, (1.0 - math.cos(math.pi * fraction)) / 2.0)


class StepSchedule:
    """A value multiplied by ``gamma`` at each milestone.

    Args:
        value: Value before the first milestone.
        milestones: Steps, increasing, from which the next factor holds.
        gamma: The factor, from 0; above 1 the value grows.
    """

    def __init__(self, value: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        require("StepSchedule", number(), value=value)
        require("StepSchedule", number(at_least=0), gamma=gamma)
        self.value = value
        self.milestones = _milestones("StepSchedule", milestones)
        self.gamma = gamma

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return float(self.value * self.gamma ** bisect_right(self.milestones, step))


class WarmupSchedule:
    """A rise from 0 to ``value``, ``value · ((step − begin)/steps)^power``, constant afterwards.

    The step is counted from 0, so the first weight is 0, as in sentence-transformers' SPLADE training. ``begin=-1`` counts
    from 1, as naver's SPLADE does.

    Args:
        value: Value from step ``begin + steps`` on.
        steps: Length of the rise, in training iterations.
        power: 1 rises in a straight line, 2 quadratically, as SPLADE's regularisers want it: sparsity must not come
            before there is something to keep.
        begin: Step at which the rise starts; may be negative.
    """

    def __init__(self, value: float, steps: int, power: float = 1, begin: int = 0) -> None:
        require("WarmupSchedule", number(), value=value)
        require("WarmupSchedule", integer(1), steps=steps)
        require("WarmupSchedule", number(above=0), power=power)
        require("WarmupSchedule", integer(), begin=begin)
        self.value = value
        self.steps = steps
        self.power = power
        self.begin = begin

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return float(self.value * _fraction(step - self.begin, self.steps) ** self.power)


class ChainedSchedule:
    """One schedule after another, each of which sees steps counted from its own beginning.

    Args:
        schedules: At least one: schedules, their config dicts, or numbers.
        milestones: Steps, increasing, at which the second, third, ... takes over: one fewer than ``schedules``.
    """

    def __init__(self, schedules: Sequence[Any], milestones: Sequence[int]) -> None:
        require("ChainedSchedule", LIST, schedules=schedules)
        self.schedules = [as_schedule(entry, f"ChainedSchedule.schedules[{i}]") for i, entry in enumerate(schedules)]
        self.milestones = _milestones("ChainedSchedule", milestones)
        if len(self.schedules) != len(self.milestones) + 1:
            raise UsageError(
                "ChainedSchedule: a milestone stands between each schedule and the next",
                expected=f"{max(len(self.schedules) - 1, 0)} milestones for {len(self.schedules)} schedules",
                got=str(len(self.milestones)),
            )

    def __call__(self, step: int) -> float:
        """Return what the schedule on duty gives."""
        index = bisect_right(self.milestones, step)
        return self.schedules[index](step - self.milestones[index - 1] if index else step)


def as_schedule(value: Any, where: str | None = None) -> Schedule:
    """Make a schedule of whatever a config may write where a number stands.

    Args:
        value: A number, a schedule, or the config dict of one.
        where: Key path, for the error.

    Returns:
        The schedule.

    Raises:
        UsageError: For anything else; a bool or a string that looks like a number is a mistake, not a number.
        PluginError: For a plugin's schedule that gives no number.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return ConstantSchedule(float(value))
    schedule: Any = build("schedule", value, where=where) if isinstance(value, Mapping) else value
    if callable(schedule) and not isinstance(schedule, type):
        first = schedule(0)
        if not isinstance(first, Real):
            raise fault(where or "schedule", component_type(value), f"returned {first!r} where a number should be")
        return schedule
    raise UsageError(
        "not a number or a schedule",
        where=where,
        expected="a finite number, or dict(type='kdhub.LinearSchedule', ...)",
        got=f"{value!r} of type {type(value).__name__}",
    )


def _fraction(step: int, steps: int) -> float:
    return min(max(step / steps, 0.0), 1.0)


def _between(start: float, end: float, fraction: float) -> float:
    """Interpolate so that both ends are exact and rounding never leaves them, whatever the signs (C++'s ``std::lerp``)."""
    if start <= 0.0 <= end or end <= 0.0 <= start:
        return fraction * end + (1.0 - fraction) * start
    if fraction == 1.0:
        return float(end)
    value = start + fraction * (end - start)
    return min(value, end) if end > start else max(value, end)


def _require_ramp(schedule: str, start: float, end: float, steps: int, begin: int) -> None:
    require(schedule, number(), start=start, end=end)
    require(schedule, integer(1), steps=steps)
    require(schedule, integer(), begin=begin)


def _milestones(schedule: str, milestones: Sequence[int]) -> tuple[int, ...]:
    require(schedule, LIST, milestones=milestones)
    for step in milestones:
        require(schedule, integer(1), milestones=step)
    if any(early >= late for early, late in pairwise(milestones)):
        raise UsageError(f"{schedule}: bad milestones", expected="increasing steps", got=repr(milestones))
    return tuple(milestones)
