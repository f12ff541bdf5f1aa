"""`CheckpointHook`: mmengine's, but no checkpoint goes before its successor is safe."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook

from kdhub.engine.resume.saving import point_to, require_readable
from kdhub.engine.resume.state import KEY, accumulating, collect_state
from kdhub.errors import UsageError, near_matches

INTERRUPTED = "interrupted.pth"
"""The checkpoint of a stopped run; the next one in the ordinary course replaces it."""


class CheckpointHook(MMEngineCheckpointHook):
    """Saves checkpoints periodically; arguments as for mmengine's hook of this name.

    mmengine removes the oldest checkpoint before it writes the new one, so that a full disk can cost both. This one also
    saves what resuming exactly needs of every process, and waits while gradients are half accumulated.
    """

    file_backend: Any
    _state: dict[str, Any] | None = None
    _waiting = False
    """Whether a checkpoint is due as soon as accumulated gradients are applied."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in self.args:  # mmengine hands them to save_checkpoint, which takes none of them
            known = inspect.signature(MMEngineCheckpointHook).parameters
            raise UsageError(f"CheckpointHook takes no {name!r}", near=near_matches(name, known))

    def before_train(self, runner: Any) -> None:
        """Find the folder, which checkpoints are there, and whether what they will hold can be read again.

        Raises:
            UsageError: If it cannot.
        """
        super().before_train(runner)
        require_readable(runner)
        if runner.resuming:
            self._take_over(runner)
            # without it, the best score of the first evaluation would not reach the checkpoint
            self.last_ckpt = runner.message_hub.runtime_info.get("last_ckpt")

    def _take_over(self, runner: Any) -> None:
        """Look for what a checkpoint names in this run's folder: the one that it names is another run's after a copy."""
        hub = runner.message_hub
        for key, path in dict(hub.runtime_info).items():
            if key != "last_ckpt" and not key.startswith("best_ckpt"):
                continue
            own = self.file_backend.join_path(self.out_dir, os.path.basename(path))
            if own == path:
                continue
            if key == "last_ckpt" or self.file_backend.isfile(own):
                hub.update_info(key, own)
            else:
                del hub.runtime_info[key]
        if self.save_best is not None:
            best = hub.runtime_info
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = best.get("best_ckpt")
            else:
                self.best_ckpt_path_dict = {one: best.get(f"best_ckpt_{one}") for one in self.key_indicators}

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save if it is time, or was time while gradients were accumulated."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._waiting and not accumulating(runner.optim_wrapper):
            progress = {"epoch": runner.epoch, "iter": runner.iter + 1}
            self._save_checkpoint_with_step(runner, progress["epoch" if self.by_epoch else "iter"], progress)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add what all processes gave; a checkpoint for evaluation only, as of the best student, has none."""
        if self._state is not None:
            checkpoint[KEY] = self._state

    def save_interrupted(self, runner: Any, epoch: int, iteration: int) -> Path:
        """Save a run that is being stopped, to go on from there."""
        self._save(runner, INTERRUPTED, {"epoch": epoch, "iter": iteration})
        return Path(self.out_dir, INTERRUPTED)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        self._waiting = accumulating(runner.optim_wrapper) and meta["iter"] < runner.max_iters
        if self._waiting:
            return
        outdated = self._record(runner, step)
        self._save(runner, self.filename_tmpl.format(step), meta)
        if is_main_process():
            for name in (*(self.filename_tmpl.format(old) for old in outdated), INTERRUPTED):
                Path(self.out_dir, name).unlink(missing_ok=True)

    def _record(self, runner: Any, step: int) -> list[int]:
        """Note a checkpoint among those to keep, as the checkpoint itself must know, and return those to remove."""
        if self.max_keep_ckpts <= 0:
            return []
        kept = [one for one in self.keep_ckpt_ids if one != step] + [step]
        outdated, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(kept)
        runner.message_hub.update_info("keep_ckpt_ids", kept)
        return outdated

    def _save(self, runner: Any, filename: str, meta: dict[str, Any]) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        self._state = collect_state(runner)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        self._state = None
        if is_main_process():
            point_to(Path(runner.work_dir), Path(self.last_ckpt))

    def _save_best_checkpoint(self, runner: Any, metrics: Any) -> None:
        for name in self.key_indicators if self.save_best is not None else ():
            if metrics and name != "auto" and name not in metrics:
                raise UsageError(
                    f"there is no metric {name!r} to find the best checkpoint by",
                    where="default_hooks.checkpoint.save_best",
                    expected=f"one of {', '.join(metrics)}",
                    near=near_matches(name, metrics),
                )
        backend = self.file_backend
        self.file_backend = _RemovesLater(backend)
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            removed, self.file_backend = self.file_backend.removed, backend
        best = {str(value) for key, value in runner.message_hub.runtime_info.items() if key.startswith("best_ckpt")}
        for path in removed:
            if path not in best:
                backend.remove(path)


class _RemovesLater:
    """A file backend that only notes what it was asked to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removed: list[str] = []

    def remove(self, path: str) -> None:
        self.removed.append(str(path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
