"""The shape probe: before the first step, each objective's two sides are compared, and the remedy is written out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

import kdhub
from kdhub.distill.binding import partner
from kdhub.distill.objective import Objective
from kdhub.errors import UsageError


class Mismatch(NamedTuple):
    """Two sides of an objective that its loss cannot compare.

    Attributes:
        objective: Name of the objective.
        student: Shape of the student's value after the adapters.
        teacher: Shape of the teacher's value.
        adapter: Config fragment that would make them equal, or ``None`` if nobody knows one.
    """

    objective: str
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    adapter: list[dict[str, Any]] | None

    def __str__(self) -> str:
        text = f"{self.objective}: student {self.student}, teacher {self.teacher}"
        if self.adapter is None:
            return f"{text}, no adapter known: tap other places"
        chain = ", ".join(_fragment(component) for component in self.adapter)
        return f"{text}: write model.objectives.{self.objective}.adapter=[{chain}]"


def _fragment(component: dict[str, Any]) -> str:
    return f"dict({', '.join(f'{key}={value!r}' for key, value in component.items())})"


def mismatches(objective: Objective, raw: dict[str, Any], adapted: dict[str, Any]) -> Iterator[Mismatch]:
    """Compare the two sides of one objective.

    Args:
        objective: The objective; its loss's record says what must match.
        raw: Loss input to value before the adapters, which the proposal starts from.
        adapted: Loss input to value after them.
    """
    if objective.match == "nothing":
        return
    for name in objective.inputs.student:
        other = partner(objective.inputs, name)
        ours, theirs = adapted.get(name), adapted.get(other) if other else None
        if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
            continue
        if objective.match == "batch":
            if ours.shape[:1] != theirs.shape[:1]:
                yield Mismatch(objective.name, tuple(ours.shape), tuple(theirs.shape), None)
        elif ours.shape != theirs.shape:
            proposal = kdhub.init().propose_adapter(
                student_shape=tuple(raw[name].shape), teacher_shape=tuple(theirs.shape)
            )
            yield Mismatch(objective.name, tuple(ours.shape), tuple(theirs.shape), proposal)


def require_matching(found: Iterable[Mismatch]) -> None:
    """Stop before the first step if any objective's sides differ.

    Raises:
        UsageError: Naming every mismatch with a fragment that works when pasted.
    """
    all_found = list(found)
    if all_found:
        raise UsageError(
            f"{len(all_found)} objective{'s' if len(all_found) > 1 else ''} cannot compare the two sides: "
            + "; ".join(map(str, all_found)),
            where="model.objectives",
        )
