"""Losses whose gradient depends on how a batch is split over accumulated steps and processes, for a run's warning."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdhub.distill.objective import Objective

_EFFECT = {
    "count": "divides by the number of entries that count in its part of the batch",
    "samples": "compares only the samples that are in one part of the batch",
}


def split_warning(model: nn.Module, accumulated: int, processes: int) -> str | None:
    """Say which losses train otherwise than on the whole batch, since a batch is split.

    A loss declares it by an attribute ``depends_on_split``: ``"count"`` (it matters only where the objective reads a mask or
    labels from the batch), ``"samples"`` (it does not matter between processes where ``gather`` is set), or a method that
    returns one of them for the paths of the student's taps. A student with a loss of its own may have the attribute too.

    Args:
        model: The distiller, or a student that is trained alone.
        accumulated: Backward passes for each step of the optimizer.
        processes: Processes that share a batch.

    Returns:
        One line with the effect and the remedy, or ``None``.
    """
    counts = ((accumulated, "accumulated steps"), (processes, "processes"))
    parts = [f"{number} {what}" for number, what in counts if number > 1]
    student = getattr(model, "student", None)
    found = [_line("model", model, accumulated) if student is None else _line("model.student", student, accumulated)]
    for one in model.modules():
        if isinstance(one, Objective):
            found.append(_line(f"model.objectives.{one.name}.loss", one.loss, accumulated, one))
    if not parts or not any(found):
        return None
    return (
        f"a batch is split over {' and '.join(parts)}, and the gradient is not that of the whole batch for "
        + "; ".join(filter(None, found))
    )


def _line(where: str, part: Any, accumulated: int, objective: Objective | None = None) -> str | None:
    depends = getattr(part, "depends_on_split", "")
    if callable(depends) and objective is not None:
        depends = depends({tap.path for tap in objective.student_taps.values()})
    gathers = getattr(part, "gather", None)
    if depends == "count" and objective is not None and objective.reads_batch:
        has_choice = hasattr(part, "reduction")
        remedy = "set reduction='samples' in it" if has_choice else "use a larger batch instead of several parts"
    elif depends == "samples" and (accumulated > 1 or not gathers):
        remedy = "set gather=True in it" if gathers is False and accumulated == 1 else "make the parts large"
    else:
        return None
    return f"{where} ({type(part).__name__} {_EFFECT[depends]} -> {remedy})"
