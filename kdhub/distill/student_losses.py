"""The student's own losses: computed, and brought into the form in which mmengine adds them up."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from kdhub.errors import UsageError
from kdhub.values import describe


def require_mode(model: Any, where: str) -> None:
    """See that a model's ``forward`` takes the ``mode`` by which mmengine says what to compute.

    Raises:
        UsageError: If it takes no ``mode``.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    if any(one.name == "mode" or one.kind is one.VAR_KEYWORD for one in parameters):
        return
    raise UsageError(
        f"the forward of {type(model).__name__} takes no `mode`",
        where=where,
        expected="forward(..., mode='tensor')",
        got=f"forward({', '.join(one.name for one in parameters)})",
        fix="return the losses as a dict for mode='loss', the predictions for 'predict', the plain output for 'tensor'",
    )


def run_student(student: BaseModel, batch: Any, mode: str = "loss") -> Any:
    """Return what the student computes in training.

    Raises:
        UsageError: If it cannot take such a batch: it has other fields than the ``forward`` has parameters, or lists in the
            place of tensors.
    """
    try:
        return student._run_forward(batch, mode=mode)
    except (TypeError, AttributeError) as error:
        problem = _batch_problem(student, batch, mode)
        if problem is None:
            raise
        raise problem from error


def _batch_problem(student: BaseModel, batch: Any, mode: str) -> UsageError | None:
    named = batch if isinstance(batch, Mapping) else {}
    in_order = batch if isinstance(batch, list | tuple) else ()
    name = type(student).__name__
    try:
        inspect.signature(student.forward).bind(*in_order, **named, mode=mode)
    except TypeError as error:
        return UsageError(
            f"the forward of {name} does not take the batch: {error}",
            where="model.student",
            got=f"a batch of {describe(batch)}",
            fix="name the fields in the data set as the parameters of forward, or take **_ in it",
        )
    for field, value in (*named.items(), *enumerate(in_order)):
        if isinstance(value, list) and value and all(isinstance(one, Tensor) for one in value):
            return UsageError(
                f"{name} cannot take the batch: {field!r} is a list of tensors, one a sample",
                where="train_dataloader",
                expected="one tensor of the whole batch",
                got=describe(value),
                fix="collate_fn=dict(type='default_collate') stacks samples of one size; a data_preprocessor such as"
                " dict(type='ImgDataPreprocessor') stacks images",
            )
    return None


def summed_losses(result: Any, say: bool = False) -> dict[str, Any]:
    """Name the student's own losses so that mmengine adds them up, and logs their sum as ``loss``.

    Args:
        result: What the student returned in mode ``loss``.
        say: Whether to log that one is renamed.

    Returns:
        Name to tensor, or to a list of tensors. One called ``loss`` is renamed: the log has the sum under this name.

    Raises:
        UsageError: For a value that is no tensor; for one that should be trained and would only be logged.
    """
    losses = dict(result) if isinstance(result, Mapping) else {"loss_task": result}
    where = "model.student"
    for name, value in losses.items():
        tensors = value if isinstance(value, list) else [value]
        if not tensors or not all(isinstance(one, Tensor) for one in tensors):
            raise UsageError(
                "the student's forward in mode 'loss' returns no losses"
                if not isinstance(result, Mapping)
                else f"the student's loss {name!r} is no tensor",
                where=where,
                expected="a dict of name to tensor, or to a list of tensors",
                got=describe(value) if isinstance(value, list | Mapping) else repr(value),
            )
        if "loss" not in name and torch.is_grad_enabled() and any(one.requires_grad for one in tensors):
            raise UsageError(
                f"the student's {name!r} would be logged and never trained: mmengine adds up what has 'loss' in its name",
                where=where,
                fix=f"return it as 'loss_{name}', or as {name}.detach() if it is no loss",
            )
    if "loss" in losses:
        if "loss_task" in losses:
            raise UsageError(
                "the student returns both 'loss' and 'loss_task', and mmengine logs the sum of all losses as 'loss'",
                where=where,
                fix="return the parts alone, under other names",
            )
        if say:
            print_log("the student's own 'loss' is logged as 'loss_task'; 'loss' is the sum of all losses", "current")
        losses = {"loss_task" if name == "loss" else name: value for name, value in losses.items()}
    return losses
