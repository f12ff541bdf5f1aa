"""The batch that a config was written for, and the one that this run has: the learning rate belongs to the former."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_IN_NAME = re.compile(r"(?:^|[_-])(\d+)xb(\d+)(?=[_.-]|$)")
"""``4xb2``: four processes of two samples, as the configs of mmseg, mmdet and their kin say in their names."""


def batch_line(cfg: Mapping[str, Any], processes: int, rates: list[float]) -> str | None:
    """Compare the samples of one step with those that the learning rate was chosen for.

    Args:
        cfg: The run's config; ``auto_scale_lr.base_batch_size`` says what the rate was chosen for, else the file's name.
        processes: How many processes train.
        rates: Learning rates in force, mmengine's own scaling included.

    Returns:
        One line if the two differ, else ``None``.
    """
    loader, scaling, wrapper = (
        cfg.get("train_dataloader"),
        cfg.get("auto_scale_lr") or {},
        cfg.get("optim_wrapper") or {},
    )
    size = loader.get("batch_size") if isinstance(loader, Mapping) else None
    base, source = _base(scaling, str(cfg.get("filename") or ""))
    if size is None or base is None or not rates:
        return None
    steps = wrapper.get("accumulative_counts", 1) if isinstance(wrapper, Mapping) else 1
    total = size * processes * steps
    if total == base:
        return None
    facts = f"a step sees {total} samples, and the learning rate was chosen for {base} ({source})"
    highest = max(rates)
    if scaling.get("enable"):
        return f"{facts}: auto_scale_lr scaled it to {highest:.4g}"
    return (
        f"{facts}: linear scaling would take {highest * total / base:.4g} instead of {highest:.4g};"
        f" auto_scale_lr=dict(enable=True, base_batch_size={base}) does so"
    )


def _base(scaling: Mapping[str, Any], filename: str) -> tuple[int | None, str]:
    if scaling.get("base_batch_size"):
        return scaling["base_batch_size"], "auto_scale_lr.base_batch_size"
    found = _IN_NAME.search(Path(filename).stem)
    return (int(found[1]) * int(found[2]), f"{found[1]}xb{found[2]} in the config's name") if found else (None, "")
