"""The shape probe: before the first step, each objective's two sides are compared, and the remedy is written out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

from kdhub.distill.binding import partner
from kdhub.distill.blame import fault
from kdhub.distill.levels import is_pyramid
from kdhub.distill.objective import Objective
from kdhub.errors import UsageError
from kdhub.registry import init


class Mismatch(NamedTuple):
    """Two values that a loss cannot compare.

    Attributes:
        objective: Name of the objective.
        name: Input of the loss on the student's side, if the loss has several.
        student: Shape of the student's value after the adapters, or the shapes of its levels.
        teacher: Shape of the teacher's value, or the shapes of its levels.
        adapter: Components that would make them equal, or ``None`` if none is known.
        advice: What to do where there is no adapter.
    """

    objective: str
    name: str | None
    student: tuple[Any, ...]
    teacher: tuple[Any, ...]
    adapter: list[dict[str, Any]] | None
    advice: str = "no adapter is known: tap other places"


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
        if objective.match == "shape" and is_pyramid(ours) and is_pyramid(theirs):
            if found := _of_levels(objective.name, name if several else None, raw[name], ours, theirs):
                yield found
            continue
        if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor):
            continue
        shapes = tuple(ours.shape), tuple(theirs.shape)
        if objective.match == "batch":
            if ours.shape[:1] != theirs.shape[:1]:
                yield Mismatch(objective.name, name if several else None, *shapes, None)
        elif ours.shape != theirs.shape:
            if advice := _about_classes(objective, *shapes):
                yield Mismatch(objective.name, name if several else None, *shapes, None, advice)
                continue
            proposal = init().propose_adapter(student_shape=tuple(raw[name].shape), teacher_shape=shapes[1])
            yield Mismatch(objective.name, name if several else None, *shapes, proposal)


def _of_levels(objective: str, name: str | None, raw: Any, ours: Any, theirs: Any) -> Mismatch | None:
    """Compare two feature pyramids."""
    student, teacher = (tuple(tuple(level.shape) for level in side) for side in (ours, theirs))
    if student == teacher:
        return None
    if len(ours) != len(theirs) or not is_pyramid(raw) or len(raw) != len(ours):
        advice = f"{len(ours)} and {len(theirs)} levels: read one level with key=..., or tap as many on both sides"
        return Mismatch(objective, name, student, teacher, None, advice)
    levels = []
    for before, one, other in zip(raw, student, teacher, strict=True):
        chain = [] if one == other else init().propose_adapter(tuple(before.shape), other)
        if chain is None:
            return Mismatch(objective, name, student, teacher, None)
        levels.append(chain)
    return Mismatch(objective, name, student, teacher, [{"type": "kdhub.EachLevel", "levels": levels}])


def require_all_samples(objective: Objective, raw: dict[str, Any], adapted: dict[str, Any]) -> None:
    """See that no adapter drops or adds samples where the two sides had equally many, and have not any more.

    Raises:
        KdhubError: Naming the adapter.
    """
    for name in objective.adapters:
        before, after, like = raw[name], adapted[name], raw[objective.partners[name]]
        sides = (before, after, like)
        if (
            not all(isinstance(one, Tensor) and one.ndim for one in sides)
            or len(before) != len(like)
            or len(after) == len(adapted[objective.partners[name]])
        ):
            continue
        for adapter, type_ in zip(objective.adapters[name].children(), objective.adapter_types[name], strict=True):
            value = adapter(before, like)
            if len(value) != len(before):
                what = f"made {len(value)} of {len(before)} samples"
                fix = "keep the batch axis in the adapter: the loss compares sample with sample"
                raise fault(f"{objective.where}.adapter", type_, what, fix)
            before = value


def _about_classes(objective: Objective, student: tuple[int, ...], teacher: tuple[int, ...]) -> str | None:
    """Say why nothing is proposed between logits of another number of classes."""
    if not objective.compares_classes or len(student) != len(teacher):
        return None
    axis = getattr(objective.loss, "class_axis", None)
    axis = (1 if axis is None else axis) % len(student)
    ours, theirs = student[axis], teacher[axis]
    if ours == theirs:
        return None
    more, fewer = ("teacher", "student") if theirs > ours else ("student", "teacher")
    index = ", ".join(":" if one != axis else f":{min(ours, theirs)}" for one in range(len(student)))
    return (
        f"{ours} and {theirs} classes on axis {axis}, and no adapter is proposed: a learned one would mix the classes that the"
        f" loss compares one by one. If the last {abs(ours - theirs)} of the {more} are padding, cut them off where the"
        f" {more}'s model returns them, logits[{index}], or tap it before it pads; otherwise take a {more} of the"
        f" {fewer}'s classes"
    )


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
        return f"{objective}: {shapes}, {next(one.advice for one in own if one.adapter is None)}"
    fragment = chains.get(None) or f"dict({', '.join(f'{name}={chain}' for name, chain in chains.items())})"
    return f"{objective}: {shapes}: write model.objectives.{objective}.adapter={fragment}"


def _chain(components: list[dict[str, Any]]) -> str:
    return "[" + ", ".join(f"dict({', '.join(f'{k}={v!r}' for k, v in one.items())})" for one in components) + "]"
