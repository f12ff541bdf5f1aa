"""Losses whose gradient depends on how a batch is split over accumulated steps and processes, for a run's warning."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.distill.objective import Objective

_EFFECT = {
    "count": "divides by the number of entries that count in its part of the batch",
    "samples": "compares only the samples that are in one part of the batch",
}


def split_warning(objectives: Iterable[Objective], accumulated: int, processes: int) -> str | None:
    """Say which losses train otherwise than on the whole batch, since a batch is split.

    A loss declares it by an attribute ``depends_on_split``: ``"count"`` (it matters only where the objective reads a mask or
    labels from the batch) or ``"samples"`` (it does not matter between processes where ``gather`` is set).

    Args:
        objectives: Those of the run.
        accumulated: Backward passes for each step of the optimizer.
        processes: Processes that share a batch.

    Returns:
        One line with the effect and the remedy, or ``None``.
    """
    parts = [
        f"{count} {what}" for count, what in ((accumulated, "accumulated steps"), (processes, "processes")) if count > 1
    ]
    found = [line for one in objectives if parts and (line := _of(one, accumulated))]
    if not found:
        return None
    return (
        f"a batch is split over {' and '.join(parts)}, and the gradient is not that of the whole batch for "
        + "; ".join(found)
    )


def _of(objective: Objective, accumulated: int) -> str | None:
    loss = objective.loss
    depends = getattr(loss, "depends_on_split", "")
    gathers = getattr(loss, "gather", None)
    if depends == "count" and objective.reads_batch:
        has_choice = hasattr(loss, "reduction")
        remedy = "set reduction='samples' in it" if has_choice else "use a larger batch instead of several parts"
    elif depends == "samples" and (accumulated > 1 or not gathers):
        remedy = "set gather=True in it" if gathers is False and accumulated == 1 else "make the parts large"
    else:
        return None
    name = type(loss).__name__
    return f"model.objectives.{objective.name}.loss ({name} {_EFFECT[depends]} -> {remedy})"
