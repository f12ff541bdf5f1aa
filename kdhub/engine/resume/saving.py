"""What a checkpoint of a run holds, and how it is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to

from kdhub.engine.resume.readable import readable
from kdhub.engine.workdir.work_dir import POINTER
from kdhub.errors import UsageError
from kdhub.files import atomic_file, write_text
from kdhub.inner import unwrapped

METAINFO = "train_dataloader.dataset.metainfo"
_HUB = "message_hub"
"""What errors call the two parts of a checkpoint that hold whatever others put there."""


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
    metainfo = readable(metainfo_of(runner), METAINFO)
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
        "message_hub": _hub_state(runner),
    }
    if save_optimizer:
        checkpoint["optimizer"] = to_cpu(runner.optim_wrapper.state_dict())
    if save_param_scheduler and runner.param_schedulers is not None:
        checkpoint["param_schedulers"] = _scheduler_states(runner.param_schedulers)
    return checkpoint


def require_readable(runner: Any) -> None:
    """See, before hours of training, that what a checkpoint will hold besides tensors can be read back.

    Raises:
        UsageError: Naming what cannot.
    """
    readable(metainfo_of(runner), METAINFO)
    for key, value in runner.message_hub.state_dict()["runtime_info"].items():
        readable(value, f"{_HUB}.{key}")
    readable(_scheduler_states(runner.param_schedulers or []), "param_scheduler")


def _hub_state(runner: Any) -> Any:
    """Return the state of the message hub; what a hook put there on the way and cannot be read back is left out."""
    state = to_cpu(runner.message_hub.state_dict())
    info: dict[str, Any] = {}
    for key, value in state["runtime_info"].items():
        try:
            info[key] = readable(value, f"{_HUB}.{key}")
        except UsageError as error:
            runner.logger.warning(f"the checkpoint is without {_HUB}.{key}, which a resumed run will miss: {error}")
    return {**state, "runtime_info": info}


def _scheduler_states(schedulers: Any) -> Any:
    """Return the states of parameter schedulers without their functions, which a scheduler is built with anyway."""
    if isinstance(schedulers, dict):
        return {name: _scheduler_states(group) for name, group in schedulers.items()}
    return [{key: value for key, value in one.state_dict().items() if not callable(value)} for one in schedulers]


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


def to_cpu(state: Any) -> Any:
    """Return nested values with their tensors on the CPU."""
    return apply_to(state, lambda value: hasattr(value, "cpu"), lambda value: value.cpu())
