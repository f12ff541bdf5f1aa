"""What the benchmarks that compare trainings have in common: a look at the losses, so that only equals are compared.

Imported by step.py, peers.py, stored_training.py, tokengraph.py and classification.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

TOLERANCE = 1e-5
"""Relative difference of two float32 losses in the first steps, where sums are taken in another order."""


def require_equal(where: str, losses: Mapping[str, float], reference: str, tolerances: Mapping[str, float]) -> None:
    """Stop if the variants do not train the same thing: then their times say nothing about each other.

    Args:
        where: What was run, for the message.
        losses: Variant to its loss.
        reference: The variant that the others are compared with.
        tolerances: Variant to the largest relative difference; a variant without one is not compared.
    """
    # put so that a loss that is no number differs
    if not all(deviation(losses[name], losses[reference]) <= limit for name, limit in tolerances.items()):
        sys.exit(f"{where}: the losses differ: {dict(losses)}")


def deviation(ours: float, theirs: float) -> float:
    """Return the relative difference."""
    return abs(ours - theirs) / abs(theirs)
