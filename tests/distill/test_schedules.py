"""Schedules: card numbers, exact ends, and configs that mean something else than they say."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.distill import schedules
from kdhub.distill.schedules import (
    ChainedSchedule,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    StepSchedule,
    WarmupSchedule,
    as_schedule,
)
from kdhub.errors import UsageError
from kdhub.testing.contracts import assert_schedule_contract

GOLDEN = json.loads((Path(__file__).parent / "golden" / "schedules.json").read_text(encoding="utf-8"))["cases"]
numbers = st.floats(-1e6, 1e6, allow_subnormal=False)
few = settings(deadline=None, max_examples=50)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    """A warm-up that is off by one step, or linear where it should be quadratic, trains a denser index unnoticed."""
    schedule = getattr(schedules, case["type"])(**case["arguments"])
    for step, value in case["values"].items():
        assert schedule(int(step)) == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("kind", [LinearSchedule, CosineSchedule])
@given(start=numbers, end=numbers, steps=st.integers(1, 200), begin=st.integers(0, 50))
@few
def test_ramps_are_exact_at_both_ends_bounded_and_monotone(kind, start, end, steps, begin):
    """A temperature meant to end at 1 that ends at 0.9999999, or dips below 0 on the way, is not what was asked for."""
    schedule = kind(start, end, steps, begin)
    values = [schedule(step) for step in range(begin + steps + 2)]
    assert values[: begin + 1] == [start] * (begin + 1)
    assert values[begin + steps :] == [end, end]
    assert all(min(start, end) <= value <= max(start, end) for value in values)
    rises = [(late - early) * (1 if end >= start else -1) for early, late in pairwise(values)]
    assert min(rises) >= 0


@given(start=numbers, end=numbers, steps=st.integers(2, 500))
@few
def test_linear_steps_are_even(start, end, steps):
    """A line that jumps would change a weight abruptly in the middle of a run."""
    schedule = LinearSchedule(start, end, steps)
    even = (end - start) / steps
    for step in range(steps):
        assert schedule(step + 1) - schedule(step) == pytest.approx(even, rel=1e-6, abs=1e-6)


@given(value=numbers, steps=st.integers(1, 200), power=st.sampled_from([1, 2, 0.5]))
@few
def test_warm_up_rises_from_zero_to_its_value(value, steps, power):
    """A regulariser that is never zero at first, or never reaches its weight, is another method."""
    schedule = WarmupSchedule(value, steps, power)
    sizes = [abs(schedule(step)) for step in range(steps + 2)]
    assert sizes[0] == 0
    assert schedule(steps) == schedule(steps + 1) == value
    assert sizes == sorted(sizes)


@given(value=numbers, milestones=st.sets(st.integers(1, 60), min_size=1), gamma=st.floats(0, 2))
@few
def test_steps_change_only_at_milestones(value, milestones, gamma):
    """An off-by-one at a milestone trains one iteration at the wrong weight, and differs after a resume."""
    schedule = StepSchedule(value, sorted(milestones), gamma)
    assert schedule(0) == value
    for step in range(1, 62):
        if step not in milestones:
            assert schedule(step) == schedule(step - 1)
        else:
            assert schedule(step) == pytest.approx(schedule(step - 1) * gamma)


def test_chain_counts_each_segment_from_its_beginning():
    """A second ramp that saw the global step would begin half-way."""
    chain = ChainedSchedule(
        [WarmupSchedule(1.0, 4), 1.0, {"type": "kdhub.LinearSchedule", "start": 1.0, "end": 0.0, "steps": 2}],
        milestones=[4, 6],
    )
    assert [chain(step) for step in range(10)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_chain_refuses_another_number_of_milestones():
    """One milestone too few would leave the last schedule without a turn."""
    with pytest.raises(UsageError, match=r"expected 1 milestones for 2 schedules, got 2"):
        ChainedSchedule([1.0, 2.0], milestones=[3, 5])
    with pytest.raises(UsageError, match="milestones"):
        ChainedSchedule([], milestones=[])


def test_chain_names_the_entry_that_is_wrong():
    """In a chain of five, 'not a number' without a place is a search."""
    with pytest.raises(UsageError, match=r"schedules\[1\].*'2\.0' of type str"):
        ChainedSchedule([1.0, "2.0"], milestones=[3])


def test_as_schedule_takes_what_a_config_writes():
    """A scalar, a dict and an object must all stand where a number stands."""
    assert as_schedule(3)(7) == 3.0
    assert as_schedule({"type": "kdhub.LinearSchedule", "start": 0, "end": 2, "steps": 2})(1) == 1.0
    schedule = ConstantSchedule(1.0)
    assert as_schedule(schedule) is schedule
    assert as_schedule(lambda step: 2.0 * step)(2) == 4.0


@pytest.mark.parametrize("value", [True, "1.0", None, float("nan"), float("inf"), [1.0], ConstantSchedule])
def test_as_schedule_refuses_what_only_looks_like_a_number(value):
    """weight=True is 1.0 to Python, and a typo to a person; weight='0.5' fails far away, inside torch."""
    with pytest.raises(UsageError, match=r"model\.objectives\.a\.weight: not a number .*expected.*got"):
        as_schedule(value, "model.objectives.a.weight")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ConstantSchedule, {"value": "1"}),
        (ConstantSchedule, {"value": float("inf")}),
        (LinearSchedule, {"start": 0.0, "end": 1.0, "steps": 0}),
        (LinearSchedule, {"start": 0.0, "end": True, "steps": 5}),
        (CosineSchedule, {"start": 0.0, "end": 1.0, "steps": 5.0}),
        (CosineSchedule, {"start": 0.0, "end": 1.0, "steps": 5, "begin": 0.5}),
        (StepSchedule, {"value": 1.0, "milestones": [5, 5]}),
        (StepSchedule, {"value": 1.0, "milestones": [0, 5]}),
        (StepSchedule, {"value": 1.0, "milestones": [5], "gamma": -1.0}),
        (WarmupSchedule, {"value": 1.0, "steps": -1}),
        (WarmupSchedule, {"value": 1.0, "steps": 5, "power": 0}),
    ],
)
def test_bad_arguments_stop_in_the_constructor(kind, arguments):
    """A schedule of no length would divide by zero at the first step of a queued job."""
    with pytest.raises(UsageError, match=rf"{kind.__name__}: bad \w+ \(expected .*got"):
        kind(**arguments)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ConstantSchedule, {"value": 1}),
        (LinearSchedule, {"start": 4, "end": 1, "steps": 30}),
        (CosineSchedule, {"start": 0, "end": 1, "steps": 30, "begin": 5}),
        (StepSchedule, {"value": 1, "milestones": [10, 20]}),
        (WarmupSchedule, {"value": 1, "steps": 30, "power": 2, "begin": -1}),
        (
            ChainedSchedule,
            {"schedules": [1, {"type": "kdhub.WarmupSchedule", "value": 2, "steps": 3}], "milestones": [10]},
        ),
    ],
)
def test_schedule_contract(kind, arguments):
    """What the distiller takes for granted of every schedule."""
    assert_schedule_contract(kind, arguments=arguments)
