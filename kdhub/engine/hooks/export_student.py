"""`ExportStudentHook`: a clean student beside each checkpoint, loadable without kdhub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from kdhub.engine.export import NotFiniteError, require_finite
from kdhub.engine.models import student_of
from kdhub.engine.resume.averaging import as_evaluated
from kdhub.engine.resume.saving import metainfo_of
from kdhub.errors import UsageError
from kdhub.files import atomic_folder
from kdhub.inner import inner_of
from kdhub.registry import init

FOLDER = "student"


class ExportStudentHook(Hook):
    """Writes the student after each checkpoint and at the end: ``student/``, and ``student_best/`` beside the best.

    A plugin that knows the model writes its library's own format; otherwise it is ``model.safetensors``, with the
    student's part of the config in ``model.py``.
    """

    def after_save_checkpoint(self, runner: Any, path: Path, meta: dict[str, Any]) -> None:
        """Export; called in the main process once the checkpoint is safe.

        A student with NaN or infinite weights is not exported, and the former one stays. Training goes on until its end, where
        the run is refused: one process that stops here would leave the others waiting.
        """
        try:
            self._export(runner, f"{FOLDER}_best" if path.name.startswith("best_") else FOLDER, meta["iter"])
        except NotFiniteError as error:
            runner.logger.error(f"iteration {meta['iter']}: {error}")

    def after_train(self, runner: Any) -> None:
        """Export what no checkpoint was saved of, or what is not there any more.

        Raises:
            UsageError: If the student holds NaN or infinite weights, or if the loop ended without a single iteration, so
                that the student is not trained.
        """
        if runner.iter == 0:
            raise UsageError(
                "nothing was trained, so no student is exported",
                where="train_cfg",
                got="0 iterations",
                fix="see what stops the loop: its length, its data, and hooks that set stop_training",
            )
        exported = runner.run_card.content.get("student", {}).get("iteration")
        if is_main_process() and (exported != runner.iter or not Path(runner.work_dir, FOLDER).is_dir()):
            self._export(runner, FOLDER, runner.iter)

    def _export(self, runner: Any, name: str, iteration: int) -> None:
        with as_evaluated(runner):
            student = student_of(runner.model)
            require_finite(student, name)
            with atomic_folder(Path(runner.work_dir, name)) as partial:
                load = init().export_student(inner_of(student), partial, runner.cfg.to_dict(), metainfo_of(runner))
        if name == FOLDER:
            runner.run_card.content["student"] = {"path": name, "load": load, "iteration": iteration}
            runner.run_card.write()
