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
    """Two values that a loss cannot compare.

    Attributes:
        objective: Name of the objective.
        name: Input of the loss on the student's side, if the loss has several.
        student: Shape of the student's value after the adapters.
        teacher: Shape of the teacher's value.
        adapter: Components that would make them equal, or ``None`` if nobody knows any.
    """

    objective: str
    name: str | None
    student: tuple[int, ...]
    teacher: tuple[int, ...]
    adapter: list[dict[str, Any]] | None


def mismatches(objective: Objective, raw: dict[str, Any], adapted: dict[str, Any]) -> Iterator[Mismatch]:
    """Compare the two sides of one objective.

    Args:
        objective: The objective; its loss's record says what must match.
        raw: Loss input to value before the adapters, which the proposal starts from.
        adapted: Loss input to value after them.
    """
    if objective.match == "nothing":
        return
    several = len(objective.inputs.student) > 1
    for name in objective.inputs.student:
        other = partner(objective.inputs, name)
        ours, theirs = adapted.get(name), adapted.get(other) if other else None
        if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
            continue
        shapes = tuple(ours.shape), tuple(theirs.shape)
        if objective.match == "batch":
            if ours.shape[:1] != theirs.shape[:1]:
                yield Mismatch(objective.name, name if several else None, *shapes, None)
        elif ours.shape != theirs.shape:
            proposal = kdhub.init().propose_adapter(student_shape=tuple(raw[name].shape), teacher_shape=shapes[1])
            yield Mismatch(objective.name, name if several else None, *shapes, proposal)


def require_matching(found: Iterable[Mismatch]) -> None:
    """Stop before the first step if any objective's sides differ.

    Raises:
        UsageError: Naming every mismatch with a fragment that works when pasted.
    """
    by_objective: dict[str, list[Mismatch]] = {}
    for one in found:
        by_objective.setdefault(one.objective, []).append(one)
    if by_objective:
        count = len(by_objective)
        raise UsageError(
            f"{count} objective{'s' if count > 1 else ''} cannot compare the two sides: "
            + "; ".join(_told(name, own) for name, own in by_objective.items()),
            where="model.objectives",
        )


def _told(objective: str, own: list[Mismatch]) -> str:
    shapes = ", ".join(
        f"{one.name + ' ' if one.name else ''}student {one.student}, teacher {one.teacher}" for one in own
    )
    chains = {one.name: _chain(one.adapter) for one in own if one.adapter is not None}
    if len(chains) < len(own):
        return f"{objective}: {shapes}, no adapter known: tap other places"
    fragment = chains.get(None) or f"dict({', '.join(f'{name}={chain}' for name, chain in chains.items())})"
    return f"{objective}: {shapes}: write model.objectives.{objective}.adapter={fragment}"


def _chain(components: list[dict[str, Any]]) -> str:
    return "[" + ", ".join(f"dict({', '.join(f'{k}={v!r}' for k, v in one.items())})" for one in components) + "]"
