"""What it costs to keep a value in less than it is: measured, and written into the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdhub.store.precision import Precision
from kdhub.store.tree import Node
from kdhub.values import tensors_in


def measured_errors(tree: Node, observed: Sequence[tuple[int, Any]], precision: str, where: str) -> dict[str, float]:
    """Store and restore values, and measure the difference.

    Args:
        tree: What the values are made of.
        observed: Batch size and value, of the first batches.
        precision: In what form floats are kept.
        where: The tap, for errors.

    Returns:
        ``samples``, how many were measured; ``max_abs``, the largest difference; where classes were left out also ``kl_mean`` and ``kl_max``, the divergence
        of the restored softmax from the teacher's at temperature 1, in nats.
    """
    form = Precision.parse(precision, where)
    largest, divergences = 0.0, []
    for size, value in observed:
        restored = tree.join(tree.split(value, size, where), size)
        for before, after in zip(tensors_in(value), tensors_in(restored), strict=True):
            if not before.is_floating_point() or not before.numel():
                continue
            exact, kept = before.detach().cpu().double(), after.double()
            # a class ruled out by -inf is no error where it stays ruled out
            difference = torch.where(exact == kept, 0.0, (exact - kept).abs())
            largest = max(largest, float(difference.max()))
            if form.kept:
                divergences.append(_divergence(exact, kept, form.axis).flatten())
    measured = {"samples": max(size for size, _ in observed), "max_abs": largest}
    if not divergences:
        return measured
    nats = torch.cat(divergences)
    return {**measured, "kl_mean": float(nats.mean()), "kl_max": float(nats.max())}


def _divergence(teacher: Tensor, restored: Tensor, axis: int) -> Tensor:
    """Return KL(teacher || restored) over ``axis``; a class of no probability adds nothing."""
    log_p, log_q = teacher.log_softmax(axis), restored.log_softmax(axis)
    return torch.where(log_p.isinf(), 0.0, log_p.exp() * (log_p - log_q)).sum(axis).clamp(min=0)
