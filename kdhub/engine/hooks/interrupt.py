"""`InterruptHook`: Ctrl-C and SIGTERM end a run so that it can go on later."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from kdhub.engine.hooks.checkpoint import CheckpointHook
from kdhub.engine.report.commands import resume_command
from kdhub.engine.report.console import say
from kdhub.engine.resume.state import accumulating
from kdhub.errors import UsageError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ITERATIONS_BETWEEN_AGREEMENTS = 10
"""How often several processes ask each other; every time costs one message and, on GPUs, a wait for the device."""


class Interrupted(UsageError):  # noqa: N818 - what happened, not what went wrong
    """The user stopped the run; the text says what was saved and how to go on."""


class InterruptHook(Hook):
    """Stops a run at the end of its iteration: saves a checkpoint and the student, then raises `Interrupted`.

    A second signal stops at once. Evaluations and half accumulated gradients are finished first.

    Attributes:
        signalled: Whether a signal came, also one that came too late to stop this run: what would follow must not begin.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self.signalled = self._stopping = False
        self._owner = os.getpid()
        self._former: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Listen for signals, if this is the thread that gets them."""
        if threading.current_thread() is threading.main_thread():
            self._former = {one: signal.signal(one, self._on_signal) for one in _SIGNALS}

    def before_train_epoch(self, runner: Any) -> None:
        """Stop between two epochs."""
        if self._agreed():
            self._stop(runner, runner.epoch, runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop between two iterations, unless the epoch or the run ends here anyway."""
        done = runner.iter + 1
        epoch_ends = isinstance(runner.train_loop, EpochBasedTrainLoop) and batch_idx + 1 == len(
            runner.train_dataloader
        )
        if done == runner.max_iters or epoch_ends:
            return
        if (self._stopping or self._alone or done % _ITERATIONS_BETWEEN_AGREEMENTS == 0) and self._agreed():
            self._stop(runner, runner.epoch, done)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Stop after an evaluation, unless it was the last."""
        if runner.iter < runner.max_iters and self._agreed():
            self._stop(runner, runner.epoch, runner.iter)

    def close(self, runner: Any) -> None:
        """Give the signals back."""
        for one, former in self._former.items():
            signal.signal(one, former)
        self._former = {}

    @property
    def _alone(self) -> bool:
        return not (torch.distributed.is_available() and torch.distributed.is_initialized())

    def _agreed(self) -> bool:
        """Whether any process was told to stop: all must stop at the same iteration, or one waits for the others."""
        if self._alone or self._stopping:
            self._stopping = self._stopping or self.signalled
        else:
            flag = torch.tensor(int(self.signalled))
            all_reduce(flag, "max")
            self._stopping = bool(flag.item())
        return self._stopping

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a data worker, which inherits the handler and must go on working
            return
        self.signalled = True
        signal.signal(number, _at_once)
        if is_main_process():
            say("stopping at the end of this iteration; press Ctrl-C again to stop at once", "yellow")

    def _stop(self, runner: Any, epoch: int, iteration: int) -> None:
        if accumulating(runner.optim_wrapper):
            return  # the next iteration asks again
        saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if saver is None:
            raise Interrupted(
                f"stopped at iteration {iteration}; nothing was saved, as the run has no kdhub.CheckpointHook"
            )
        path = saver.save_interrupted(runner, epoch, iteration)
        raise Interrupted(
            f"stopped; iteration {iteration} of {runner.max_iters} is saved in {path}",
            fix=f"to go on: {resume_command(runner.work_dir)}",
        )


def _at_once(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
