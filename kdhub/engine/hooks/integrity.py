"""`IntegrityHook`: writes down the checksum of each checkpoint as it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from kdhub.engine.resume.saving import point_to
from kdhub.engine.workdir.integrity import LEDGER, Ledger, read_ledger


class IntegrityHook(Hook):
    """Keeps ``checkpoints.json`` beside the checkpoints, by which a damaged one is recognised before it is used."""

    # before the run card's hook: a run that starts over forgets the checkpoints first, then what points to them
    priority = "HIGHEST"

    def __init__(self) -> None:
        self._ledgers: dict[Path, Ledger] = {}
        self._resumable = True

    def before_train(self, runner: Any) -> None:
        """Forget the checkpoints of a run that is replaced, or those that do not lead to where this one goes on."""
        if not is_main_process():
            return
        work_dir = Path(runner.work_dir)
        if not runner.resuming:
            (work_dir / LEDGER).unlink(missing_ok=True)
            return
        start = Path(runner._load_from)
        ledger = self._ledger(runner, work_dir)
        ledger.forget_after(runner.iter if start.parent == work_dir else -1)
        if start.parent == work_dir and start.name not in ledger.entries:
            ledger.record(start, runner.iter, resumable=True)
        ledger.write()
        point_to(work_dir, start)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """See whether a run can go on from what is being saved."""
        self._resumable = "optimizer" in checkpoint

    def after_save_checkpoint(self, runner: Any, path: Path, meta: dict[str, Any]) -> None:
        """Record a checkpoint; called in the main process once it is on disk."""
        ledger = self._ledger(runner, path.parent)
        ledger.record(path, meta["iter"], self._resumable)
        ledger.write()

    def close(self, runner: Any) -> None:
        """Drop the entries of checkpoints that were removed after the last one was saved."""
        for ledger in self._ledgers.values():
            if any(not (ledger.folder / name).is_file() for name in ledger.entries):
                ledger.write()

    def _ledger(self, runner: Any, folder: Path) -> Ledger:
        if folder not in self._ledgers:
            # a damaged one was told of when the run began; it is written anew
            self._ledgers[folder] = read_ledger(folder)[0] if runner.resuming else Ledger(folder)
        return self._ledgers[folder]
