"""`ExportStudentHook`: a clean student beside each checkpoint, loadable without kdhub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

import kdhub
from kdhub.engine.averaging import as_evaluated
from kdhub.engine.models import student_of
from kdhub.engine.saving import metainfo_of
from kdhub.files import atomic_folder
from kdhub.inner import inner_of

FOLDER = "student"


class ExportStudentHook(Hook):
    """Writes the student after each checkpoint and at the end: ``student/``, and ``student_best/`` beside the best.

    A plugin that knows the model writes its library's own format; otherwise it is ``model.safetensors``, with the
    student's part of the config in ``model.py``.
    """

    def after_save_checkpoint(self, runner: Any, path: Path, meta: dict[str, Any]) -> None:
        """Export; called in the main process once the checkpoint is safe."""
        self._export(runner, f"{FOLDER}_best" if path.name.startswith("best_") else FOLDER, meta["iter"])

    def after_train(self, runner: Any) -> None:
        """Export what no checkpoint was saved of, or what is not there any more."""
        exported = runner.run_card.content.get("student", {}).get("iteration")
        if is_main_process() and (exported != runner.iter or not Path(runner.work_dir, FOLDER).is_dir()):
            self._export(runner, FOLDER, runner.iter)

    def _export(self, runner: Any, name: str, iteration: int) -> None:
        with atomic_folder(Path(runner.work_dir, name)) as partial, as_evaluated(runner):
            load = kdhub.init().export_student(
                inner_of(student_of(runner.model)), partial, runner.cfg.to_dict(), metainfo_of(runner)
            )
        if name == FOLDER:
            runner.run_card.content["student"] = {"path": name, "load": load, "iteration": iteration}
            runner.run_card.write()
