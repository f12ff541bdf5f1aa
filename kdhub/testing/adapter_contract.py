"""What every adapter promises, as one assertion."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.testing._promise import Breaches, all_breaches, broken, gradients, maker, reload, same, seeded

_SHAPE_ONLY = "use nothing of `like` but its shape"


def assert_adapter_contract(
    adapter: nn.Module | type[nn.Module],
    *,
    value: tuple[int, ...],
    like: tuple[int, ...],
    arguments: Mapping[str, Any] | None = None,
    result: tuple[int, ...] | None = None,
) -> None:
    """Assert all that kdhub takes for granted about an adapter.

    Its ``forward`` takes ``value`` and ``like``; the result has the teacher's shape and is finite, also under autocast;
    the gradient reaches the student's value; of the teacher's only the shape is used; the same input gives the same
    result; and it survives a checkpoint.

    Args:
        adapter: The class, or an instance. Only with the class can state that a checkpoint misses be found.
        value: Shape of the student's value.
        like: Shape of the teacher's.
        arguments: Constructor arguments that go with the class.
        result: Shape expected; ``None`` means the teacher's. Another one for an adapter that is one of a chain.

    Raises:
        AssertionError: With every broken promise and what to mend, one a line.
    """
    make = maker(adapter, arguments)
    with seeded(0):
        module = make()
        ours, theirs = torch.randn(value), torch.randn(like)
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        broken(name, "is no torch.nn.Module", "derive it from torch.nn.Module")
    taken = list(inspect.signature(module.forward).parameters)
    if taken != ["value", "like"]:
        broken(name, f"forward takes {', '.join(taken)}", "write forward(self, value, like)")

    with all_breaches() as breaches:
        _promises(module, ours, theirs, like if result is None else result, breaches)
        with seeded(3):
            fresh = make()
        reload(module, fresh)
        if not same(fresh(ours, theirs), module(ours, theirs)):
            breaches.add(
                name,
                "gives another value after a checkpoint",
                "keep what it learns in nn.Parameter, the rest in buffers",
            )


def _promises(module: nn.Module, ours: Tensor, theirs: Tensor, wanted: tuple[int, ...], breaches: Breaches) -> None:
    name = type(module).__name__
    adapted = module(ours, theirs)
    if tuple(adapted.shape) != wanted:
        breaches.add(
            name,
            f"turns {tuple(ours.shape)} into {tuple(adapted.shape)}, wanted {wanted}",
            "mend it, or say result=...",
        )
    if not adapted.isfinite().all():
        breaches.add(name, "gives values that are not finite", "look for a division by 0")
    breaches.hold(_runs_in_half, module, ours, theirs)
    breaches.hold(_pulls, module, ours, theirs)
    if not same(module(ours, torch.full_like(theirs, torch.nan)), adapted):
        breaches.add(name, "depends on the teacher's numbers, or is random", _SHAPE_ONLY)


def _runs_in_half(module: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    mend = "compute in float32 where torch has no kernel, as kdhub.SpatialResize does"
    for dtype in (torch.float32, torch.bfloat16):
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                adapted = module(ours.to(dtype), theirs.to(dtype))
        except RuntimeError as error:
            broken(type(module).__name__, f"fails on {dtype} under autocast ({error})", mend)
        if not adapted.isfinite().all():
            broken(type(module).__name__, f"is not finite on {dtype} under autocast", mend)


def _pulls(module: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    leaves = {"value": ours.clone().requires_grad_(), "like": theirs.clone().requires_grad_()}
    # squared: a sum alone would be constant for an adapter that normalises
    total = module(**leaves).square().sum()
    found = gradients(total, leaves) if total.requires_grad else dict.fromkeys(leaves)
    pull = found["value"]
    if pull is None or not pull.any():
        broken(type(module).__name__, "no gradient reaches the student's value", "use `value` without .detach()")
    if found["like"] is not None:
        broken(type(module).__name__, "a gradient reaches the teacher's value", _SHAPE_ONLY)
