"""`DistillHook`: ties a run to its teachers."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict

from kdhub.distill.knowledge import same_weights, weights_fingerprint
from kdhub.distill.split import split_warning
from kdhub.distill.teachers import CONFIG_MARKER
from kdhub.engine.models import distilling, student_of, teachers_of
from kdhub.engine.resume.saving import metainfo_of
from kdhub.engine.resume.state import accumulating
from kdhub.errors import UsageError
from kdhub.inner import unwrapped

_META = "kdhub"


class DistillHook(Hook):
    """Compares class names before training, says if a teacher is the student's twin, and refuses to resume with another teacher.

    Teachers are not in the checkpoint; their fingerprints are.
    """

    priority = "HIGHEST"

    def before_train(self, runner: Any) -> None:
        """Put schedules where the run stands, and have class names compared with the teachers'.

        The position in a checkpoint is not always the run's: `load_from` starts a new run from old weights.

        Raises:
            UsageError: If there are several optimizers, which only a model's own training step knows how to use.
        """
        _require_one_optimizer(runner)
        model = unwrapped(runner.model)
        accumulated = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if warning := split_warning(model, accumulated, get_world_size()):
            runner.logger.warning(warning)
        _warn_of_twins(runner)
        for teacher in teachers_of(model).values():
            teacher.begin(student_of(model))
        position = getattr(model, "position", None)
        if position is not None:
            position.move_to(runner.iter)
        check = getattr(model, "check_class_names", None)
        classes = metainfo_of(runner).get("classes")
        if check is not None and classes is not None:
            check(tuple(classes))

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Let teachers follow the student, once its weights have changed."""
        following = [one for one in teachers_of(runner.model).values() if not one.frozen]
        if following and not accumulating(runner.optim_wrapper):
            step: int = unwrapped(runner.model).position.step
            for teacher in following:
                teacher.after_step(student_of(runner.model), step)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Write the teachers' fingerprints."""
        fingerprints = {name: one.fingerprint() for name, one in teachers_of(runner.model).items()}
        checkpoint["meta"][_META] = {"teachers": fingerprints}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with a teacher that answers differently.

        Raises:
            UsageError: Naming the teachers that differ.
        """
        recorded = checkpoint.get("meta", {}).get(_META)
        if not runner.resuming or recorded is None:
            return
        before, teachers = recorded["teachers"], teachers_of(runner.model)
        present = {name: one.fingerprint() for name, one in teachers.items()}
        changed = sorted(name for name in before.keys() | present.keys() if before.get(name) != present.get(name))
        if changed:
            raise UsageError(
                f"the checkpoint was trained with another teacher {', '.join(map(repr, changed))}",
                where="--resume",
                expected=", ".join(f"{name}={before.get(name, 'none')}" for name in changed),
                got=", ".join(f"{name}={present.get(name, 'none')}" for name in changed),
                fix="give back the teacher's former weights and config, or start a new run in another --work-dir",
            )


def _warn_of_twins(runner: Any) -> None:
    """Say which teachers hold the weights with which the student starts, where an objective compares their answers."""
    own = distilling(runner.model)
    if runner.resuming or own is None:
        return
    student = own.student
    for name, teacher in own.teachers.items():
        if not teacher.frozen or not own.specs_of(name):
            continue
        if teacher.model is not None:
            equal = same_weights(student, teacher.model)
        else:  # a stored one, whose fingerprint holds that of its weights
            equal = f"weights-{weights_fingerprint(student)[:16]}{CONFIG_MARKER}" in teacher.fingerprint()
        if equal:
            runner.logger.warning(
                f"teacher {name!r} has the same weights as the student: the student learns from it only where the two see"
                " different inputs or the student drops out; check the teacher's checkpoint and load_from"
            )


def _require_one_optimizer(runner: Any) -> None:
    model = unwrapped(runner.model)
    if (
        isinstance(runner.optim_wrapper, OptimWrapperDict)
        and getattr(type(model), "train_step", None) is BaseModel.train_step
    ):
        raise UsageError(
            f"{type(model).__name__} trains all of its parameters in one step, and here are several optimizers",
            where="optim_wrapper",
            expected="one optimizer",
            got=", ".join(runner.optim_wrapper.keys()),
            fix="use a plain OptimWrapper; paramwise_cfg gives parts of the model learning rates of their own",
        )
