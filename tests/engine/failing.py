"""A main process that fails while another one works with it; also imported by subprocesses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from kdhub.engine.hooks import export_student
from kdhub.errors import UsageError

PLACES = {
    "step": UsageError("the main process met a mistake in a step"),
    "bug": ZeroDivisionError("the main process met a bug in a step"),
    "export": UsageError("the main process met a mistake in an export"),
}


@HOOKS.register_module(force=True)
class FailingMain(Hook):
    """Fails in the main process, at one of `PLACES`."""

    def __init__(self, at: str) -> None:
        self.at = at

    def before_train(self, runner: Any) -> None:
        """Let the export behind the first checkpoint fail."""
        if self.at == "export":
            export_student.atomic_folder = self._fail

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Fail in the first step."""
        if self.at != "export" and is_main_process():
            self._fail()

    def _fail(self, *_: Any) -> Any:
        raise PLACES[self.at]


def train_by_command(config: Path, work_dir: Path, rank: int, port: int) -> None:
    """Be one of two processes that a launcher started, and print to a file."""
    with (config.parent / f"rank{rank}.log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank)
    )
    from kdhub.cli.main import main

    sys.exit(main(["train", str(config), "--work-dir", str(work_dir), "--launcher", "pytorch", "--skip-check"]))
