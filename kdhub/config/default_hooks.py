"""The keys of ``default_hooks`` whose options need no ``type``: each changes the hook that a run has under that key anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdhub.errors import UsageError, near_matches

OWN_HOOKS = {
    "baseline": "BaselineHook",
    "checkpoint": "CheckpointHook",
    "distill": "DistillHook",
    "export_student": "ExportStudentHook",
    "interrupt": "InterruptHook",
    "progress": "ProgressHook",
    "run_card": "RunCardHook",
}
"""Hooks that kdhub's training adds."""

MMENGINE_HOOKS = {
    "logger": "LoggerHook",
    "param_scheduler": "ParamSchedulerHook",
    "runtime_info": "RuntimeInfoHook",
    "sampler_seed": "DistSamplerSeedHook",
    "timer": "IterTimerHook",
}
"""Hooks that mmengine's `Runner` adds; it replaces them whole, and so would ask for the ``type`` again."""


def without_type(key: str, options: Mapping[str, Any]) -> UsageError:
    """Return the error for options without ``type`` under a key that says nothing about the hook.

    Args:
        key: The key in ``default_hooks``.
        options: What stands there.
    """
    known = sorted({**OWN_HOOKS, **MMENGINE_HOOKS})
    return UsageError(
        "a runner hook without a 'type'",
        where=f"default_hooks.{key}",
        expected=f"dict(type=..., ...), or a key that needs none: {', '.join(known)}",
        near=near_matches("type", options) or near_matches(key, known),
    )
