"""Several processes: NCCL where there are GPUs, gloo where there are none."""

from __future__ import annotations

import gc
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from torch import distributed

from kdhub.checkpoint.agreement import agreed
from kdhub.errors import UsageError

Result = TypeVar("Result")

_LAST_WORDS_SECONDS = 10
"""The other process's end is seen once its data workers, which take up to five seconds, are gone too; the rest is for a report."""

_joined = False
"""Whether a `process_group` block is being run."""


@contextmanager
def process_group(cfg: Any, launcher: str, patience: timedelta | None = None) -> Iterator[None]:
    """Join the other processes for the length of a run, and set up ``cfg`` for them in place.

    Blocks may stand in each other, for several runs in one group: the outermost one leaves it.
    Whatever uses the group must be out of reach when the block ends: build it in a function of its own.
    mmengine joins by itself, but selects a CUDA device on the way; so without a GPU the group is made here, which
    mmengine then uses, and the model wrapper is told that it has no device.

    Args:
        cfg: The run's config; receives ``launcher`` and, without a GPU, ``model_wrapper_cfg``.
        launcher: ``none``, ``pytorch`` (that is, torchrun), ``slurm`` or ``mpi``.
        patience: How long processes wait for each other, where the group is made here; ``None`` for torch's own limit.

    Raises:
        UsageError: If the processes were not started by that launcher, or need a GPU that is not there.
    """
    global _joined
    cfg["launcher"] = launcher
    if launcher == "none":
        yield
        return
    if launcher == "pytorch" and "RANK" not in os.environ:
        raise UsageError(
            "launcher 'pytorch' was asked for, but this process was not started by torchrun",
            fix="torchrun --standalone --nproc-per-node=2 -m kdhub train CONFIG --launcher pytorch",
        )
    # with GPUs it is the first run that makes the group, within the outermost block
    started_here = not (distributed.is_initialized() or _joined)
    if not torch.cuda.is_available():
        if launcher != "pytorch":
            raise UsageError(f"launcher {launcher!r} needs GPUs", fix="use --launcher pytorch under torchrun")
        cfg["model_wrapper_cfg"] = _without_device(cfg)
        if started_here:
            distributed.init_process_group("gloo", timeout=patience)
    joined_before, _joined = _joined, True
    try:
        with _last_words():
            yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # their variables hold the model
        raise
    finally:
        _joined = joined_before
        if started_here and distributed.is_initialized():
            # the model's wrapper keeps the group's threads alive; one that still runs when Python ends aborts the process
            gc.collect()
            distributed.destroy_process_group()


@contextmanager
def _last_words() -> Iterator[None]:
    """Give a process that torchrun ends, as another one has died, the time to say what happened and how to go on."""
    if not distributed.is_initialized() or threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LAST_WORDS_SECONDS))
    yield
    # not after an error, which is yet to be told
    signal.alarm(0)
    signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


def decided_by_main_process(decide: Callable[[], Result]) -> Result:
    """Let the main process alone look at the work_dir, and all processes do what it found.

    Args:
        decide: Called in the main process; its result must pickle.

    Raises:
        UsageError: What ``decide`` raised. In the other processes a `ToldElsewhereError`, so that one line is told.
    """
    shared: list[Any] = [agreed(lambda: decide() if is_main_process() else None)]
    broadcast_object_list(shared)
    result: Result = shared[0]
    return result


def _without_device(cfg: Any) -> dict[str, Any]:
    # the same defaults as mmengine's own wrapping, which only differs by naming a device
    defaults = {
        "type": "MMDistributedDataParallel",
        "broadcast_buffers": False,
        "find_unused_parameters": cfg.get("find_unused_parameters", False),
    }
    return {**defaults, **(cfg.get("model_wrapper_cfg") or {}), "device_ids": None}
