"""`RoleOptimizers`: an optimizer of its own for each role of a method, out of one config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from torch import nn

from kdgen.role_names import role_problems
from kdhub.api import UsageError, unwrapped


class RoleOptimizers:
    """Builds one optimizer wrapper for each role of a `kdgen` method; named by ``optim_wrapper.constructor``.

    Precision, accumulation and clipping are each role's own, as are schedulers: ``param_scheduler=dict(student=..., fake_score=...)``.

    Args:
        optim_wrapper_cfg: Role to wrapper: ``dict(student=dict(type='OptimWrapper', optimizer=...), fake_score=...)``.
        paramwise_cfg: Refused; each role takes its own.

    Example:
        ::

            optim_wrapper = dict(
                constructor='kdgen.RoleOptimizers',
                student=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-6), clip_grad=dict(max_norm=1.0)),
                fake_score=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)))
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if paramwise_cfg is not None:
            raise UsageError(
                "several optimizers have no common paramwise_cfg",
                where="optim_wrapper.paramwise_cfg",
                fix="write it into a role: optim_wrapper.student.paramwise_cfg",
            )
        self._cfg = {name: value for name, value in optim_wrapper_cfg.items() if name != "type"}

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the wrappers.

        Raises:
            UsageError: For an optimizer without a role, or a role without an optimizer.
        """
        roles: Mapping[str, nn.Module] = getattr(unwrapped(model), "roles", {})
        for problem in role_problems(self._cfg, roles):
            raise problem
        return OptimWrapperDict(**{role: build_optim_wrapper(roles[role], self._cfg[role]) for role in roles})
