"""The schedule contract itself: it must find each defect that it exists for, and say what to mend."""

import pytest
import torch

from kdhub.testing.contracts import assert_schedule_contract


class Counts:
    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return float(self.calls)


class NotCallable:
    pass


def test_a_good_schedule_passes():
    """A plain function is a schedule."""
    assert_schedule_contract(lambda step: 1.0 / (1 + step))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Counts, "Counts: remembers"),
        (NotCallable, "NotCallable: cannot be called"),
        (lambda step: step, "gives 0 of type int at step 0"),
        (lambda step: 1.0 if step < 50 else float("inf"), "is inf at step 50"),
        (lambda step: torch.ones(()), "of type Tensor"),
    ],
)
def test_a_bad_schedule_is_told_what_to_mend(schedule, message):
    """A schedule that counts its own calls goes on from 0 after a resume."""
    with pytest.raises(AssertionError, match=message):
        assert_schedule_contract(schedule)


def test_every_breach_of_a_schedule_is_told_at_once():
    """One breach a run makes three runs."""

    def growing(step):
        return step if step < 2 else float("inf")

    with pytest.raises(AssertionError) as caught:
        assert_schedule_contract(growing)
    first, second = str(caught.value).splitlines()
    assert first.startswith("growing: gives 0 of type int at step 0 -> ")
    assert second.startswith("growing: is inf at step 2 -> ")
