"""What a checkpoint of a run holds, and how it is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to

from kdhub.engine.models import unwrapped
from kdhub.engine.work_dir import POINTER
from kdhub.files import atomic_file, write_text


def collect_checkpoint(
    runner: Any, meta: dict[str, Any], config: str, save_optimizer: bool, save_param_scheduler: bool
) -> dict[str, Any]:
    """Gather the state of a run, in mmengine's layout, so that mmengine can read it as well.

    Args:
        runner: The runner.
        meta: ``epoch`` and ``iter``, to which the other facts are added.
        config: Text of the config.
        save_optimizer: Whether to add the optimizer's state.
        save_param_scheduler: Whether to add the state of the parameter schedulers.
    """
    metainfo = metainfo_of(runner)
    checkpoint: dict[str, Any] = {
        "meta": {
            **meta,
            "cfg": config,
            "seed": runner.seed,
            "experiment_name": runner.experiment_name,
            "time": time.strftime("%Y%m%d_%H%M%S"),
            "mmengine_version": mmengine.__version__,
            **({"dataset_meta": metainfo} if metainfo else {}),
        },
        "state_dict": weights_to_cpu(unwrapped(runner.model).state_dict()),
        "message_hub": _to_cpu(runner.message_hub.state_dict()),
    }
    if save_optimizer:
        checkpoint["optimizer"] = _to_cpu(runner.optim_wrapper.state_dict())
    if save_param_scheduler and runner.param_schedulers is not None:
        schedulers = runner.param_schedulers
        checkpoint["param_schedulers"] = (
            {name: [one.state_dict() for one in group] for name, group in schedulers.items()}
            if isinstance(schedulers, dict)
            else [one.state_dict() for one in schedulers]
        )
    return checkpoint


def metainfo_of(runner: Any) -> dict[str, Any]:
    """Return what the training data set says of itself, such as its classes; empty if it says nothing."""
    return dict(getattr(runner.train_dataloader.dataset, "metainfo", None) or {})


def write_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a checkpoint so that a full disk leaves the former one whole.

    Raises:
        UsageError: If it cannot be written.
    """
    with atomic_file(path) as stream:
        torch.save(checkpoint, stream)


def point_to(work_dir: Path, checkpoint: Path) -> None:
    """Record the newest checkpoint, where mmengine looks for it too."""
    write_text(work_dir / POINTER, str(checkpoint))


def _to_cpu(state: Any) -> Any:
    return apply_to(state, lambda value: hasattr(value, "cpu"), lambda value: value.cpu())
