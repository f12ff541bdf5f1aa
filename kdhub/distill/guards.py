"""Guards: training that would go wrong in silence stops, and says what, where and how to silence the guard."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdhub.distill.values import tensors_in
from kdhub.errors import GuardError


@dataclass(frozen=True, slots=True)
class Guards:
    """Which guards watch a run; all do by default. Set them in the config as ``model.guards``.

    Attributes:
        silent_tap: Stop when a tap never fires. Off: the objective is skipped in that step.
        zero_term: Stop when a term is exactly zero in each of this many first steps; 0 turns the guard off. Three,
            since one batch may honestly have nothing to teach.
        non_finite: Stop when a term is NaN or infinite.
        no_gradient: Stop when what an objective reads of the student carries no gradient: a frozen stage, or a tap inside
            a re-entrant activation checkpoint, gives a loss that looks alive and trains nothing.
        teacher_mode: Stop when a module of a teacher is in train mode.
        class_names: Stop when logits are compared and the teacher's class names differ from the student's in order.
    """

    silent_tap: bool = True
    zero_term: int = 3
    non_finite: bool = True
    no_gradient: bool = True
    teacher_mode: bool = True
    class_names: bool = True


class TermWatch:
    """Watches the unweighted terms of the objectives step by step.

    Args:
        guards: Which guards watch.
    """

    def __init__(self, guards: Guards) -> None:
        self.guards = guards
        self._steps = 0
        self._zeros: Counter[str] = Counter()

    def check(self, terms: Mapping[str, Tensor], step: int, muted: Collection[str] = ()) -> None:
        """Look at all terms of one step, with one wait for the device.

        Args:
            terms: Log name to scalar.
            step: Position of the run, for the message.
            muted: Terms that a schedule of their loss holds at zero in this step, and that may be so.

        Raises:
            GuardError: For a term that is not finite, or was zero in every one of the first steps.
        """
        watches_zero = self._steps < self.guards.zero_term
        self._steps += 1
        if not terms or not (self.guards.non_finite or watches_zero):
            return
        values = torch.stack([term.detach().float() for term in terms.values()]).tolist()
        for name, value in zip(terms, values, strict=True):
            if self.guards.non_finite and not math.isfinite(value):
                raise GuardError(
                    f"{name} is {value} at step {step}",
                    expected="a finite term",
                    fix="look at the learning rate, the temperature and the batch's labels; model.guards.non_finite=False"
                    " silences this guard",
                )
            if watches_zero and value == 0.0 and name not in muted:
                self._zeros[name] += 1
                if self._zeros[name] == self.guards.zero_term:
                    raise GuardError(
                        f"{name} was exactly 0 in each of the first {self.guards.zero_term} steps: it trains nothing",
                        fix="see with `kdhub probe CONFIG` that the two taps read different models and that the batch has"
                        " what the loss needs; model.guards.zero_term=0 silences this guard",
                    )

    def state(self) -> dict[str, Any]:
        """Return how far the first steps are watched, for a checkpoint."""
        return {"steps": self._steps, "zeros": dict(self._zeros)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on watching where `state` was taken."""
        self._steps = state["steps"]
        self._zeros = Counter(state["zeros"])


def check_gradient(objective: str, values: Iterable[Any]) -> None:
    """See that what an objective reads of the student can train it.

    Args:
        objective: Name of the objective.
        values: What its student taps read, before any adapter: one that learns would hide a student that does not.

    Raises:
        GuardError: If no tensor among them requires a gradient.
    """
    if not any(tensor.requires_grad for tensor in tensors_in(list(values))):
        raise GuardError(
            "what the taps read of the student carries no gradient: the objective would train nothing in it",
            where=f"model.objectives.{objective}.student",
            fix="tap a part that trains (not frozen, not inside a re-entrant activation checkpoint), or set"
            " model.guards.no_gradient=False",
        )


def check_class_names(student: Sequence[str], teacher: Sequence[str], name: str) -> None:
    """Compare class names in order.

    Logits of differently ordered classes have equal shapes, so a student would learn the wrong classes at a plausible loss.

    Args:
        student: Class names of the training data.
        teacher: Class names of the teacher.
        name: Name of the teacher, for the message.

    Raises:
        GuardError: At the first difference, saying whether it is one of order or of names.
    """
    if tuple(student) == tuple(teacher):
        return
    pairs = list(zip(student, teacher, strict=False))
    index = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))
    ours = student[index] if index < len(student) else "nothing"
    theirs = teacher[index] if index < len(teacher) else "nothing"
    kind = "the same classes in another order" if sorted(student) == sorted(teacher) else "other classes"
    raise GuardError(
        f"teacher {name!r} has {kind}: class {index} is {theirs!r} there and {ours!r} in the training data",
        expected=f"{len(student)} classes as the training data",
        got=f"{len(teacher)} classes",
        fix="train the teacher on these classes, state teacher.class_names if the recorded ones are wrong, or set"
        " model.guards.class_names=False",
    )
