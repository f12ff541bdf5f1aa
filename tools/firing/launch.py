"""What a forked process does: a command as typed, or several of them under torchrun."""

from __future__ import annotations

import gc
import resource
import signal
import sys
from collections.abc import Callable

import torch
from mmengine.utils.dl_utils import collect_env
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import kdhub.caching.fill  # before the first fork
import kdhub.engine.train  # noqa: F401
from kdhub.cli.main import main

collect_env()  # imports torchvision, which would take each training two seconds
gc.freeze()  # otherwise each process copies the memory that its garbage collector looks through


def run_kdhub(arguments: list[str], file_limit: int | None, before: Callable[[], None] | None) -> int:
    """Run ``kdhub`` as if typed, after ``before``; no file may grow beyond ``file_limit`` bytes."""
    sys.argv = ["kdhub", *arguments]
    if before is not None:
        before()
    torch.set_num_threads(1)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    return main(arguments)


def torchrun(processes: int, action: Callable[[], int]) -> int:
    """Run torchrun's own agent; its processes are forked instead of started anew."""
    config = LaunchConfig(
        run_id="under-fire",
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
        monitor_interval=0.05,
    )

    def entrypoint() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # forked, it would have the handler of the agent
        code = action()
        if code:
            sys.exit(code)

    try:
        elastic_launch(config, entrypoint)()
    except ChildFailedError:  # what torchrun says about it is not ours to judge
        return 1
    return 0
