"""Which experiment a config describes, so that a work_dir never mixes two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kdhub.fingerprints import json_fallback

AFTER = "after"
"""Where a config says which results of its predecessors it goes on from, once they have run."""

_PARTS = (
    AFTER,
    "job",
    "model",
    "data_preprocessor",
    "train_dataloader",
    "val_dataloader",
    "val_evaluator",
    "train_cfg",
    "val_cfg",
    "optim_wrapper",
    "param_scheduler",
    "auto_scale_lr",
    "custom_hooks",
    "load_from",
    "randomness",
)
_ONLY_SPEED = frozenset({"num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "timeout"})
_HOW_A_JOB_ASKS = frozenset({"base_url", "api_key_env", "concurrency", "retries", "price"})
"""Where and how fast a job asks a server, and what that costs. Which model it asks is the job's."""


def experiment(cfg: Mapping[str, Any]) -> dict[str, str]:
    """Fingerprint each part of a config that decides what is learned.

    Args:
        cfg: Resolved config. Where it runs, how it logs, how often it saves, how fast data come and how a
            job asks its server are left out.

    Returns:
        Part to the first 12 digits of its SHA-256.
    """
    return {part: config_fingerprint(value) for part, value in _described(cfg).items()}


def decisive(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a config that `experiment` fingerprints, as plain dicts and lists."""
    return {part: _canonical(value) for part, value in _described(cfg).items()}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[str, ...]:
    """Name the parts in which two experiments differ."""
    return tuple(part for part in _PARTS if one.get(part) != other.get(part))


def config_fingerprint(value: Any) -> str:
    """Return the first 12 digits of the SHA-256 of a part of a config; for what is no plain value see `json_fallback`."""
    text = json.dumps(_canonical(value), sort_keys=True, default=json_fallback)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _described(cfg: Mapping[str, Any]) -> dict[str, Any]:
    parts = {part: cfg[part] for part in _PARTS if cfg.get(part) is not None}
    if isinstance(job := parts.get("job"), Mapping):
        parts["job"] = {key: value for key, value in job.items() if key not in _HOW_A_JOB_ASKS}
    return parts


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(entry) for key, entry in value.items() if key not in _ONLY_SPEED}
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    return value
