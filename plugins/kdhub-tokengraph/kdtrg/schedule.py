"""`StepNumber`: the step as a number that a schedule hands to a loss."""

from __future__ import annotations


class StepNumber:
    """The number of the training step, counted from 0.

    kdhub keeps the step in every checkpoint and tells it to schedules alone. A loss that draws something in each step takes its
    draw from this number, so a resumed run draws what an undisturbed one draws.
    """

    def __call__(self, step: int) -> float:
        """Return the step."""
        return float(step)
