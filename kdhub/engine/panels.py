"""`ModelPanels`: the base of hooks that show, after training, what the models of a run make of its validation data."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Subset

from kdhub.checkpoint import load_weights
from kdhub.config.read.load import load_config
from kdhub.config.standing import scoped
from kdhub.engine.alone import FOLDER as ALONE, alone_config
from kdhub.engine.defaults import completed
from kdhub.engine.hooks.export_student import FOLDER as STUDENT_FOLDER
from kdhub.engine.models import distilling, teachers_of
from kdhub.engine.report.charts import COLOURS
from kdhub.engine.resume.averaging import as_evaluated
from kdhub.engine.train import finished_card
from kdhub.engine.workdir.identity import experiment
from kdhub.errors import UsageError
from kdhub.inner import unwrapped
from kdhub.rng import preserved_randomness

FOLDER = "pictures"
STUDENT = "student"


class Panel(NamedTuple):
    """One picture for the report; see `kdhub.engine.workdir.run_card.RunCard.add_picture`.

    Attributes:
        title: What it shows, in a few words.
        path: The file.
        caption: What to see in it, in a sentence.
    """

    title: str
    path: Path
    caption: str = ""


class ModelPanels(Hook, ABC):
    """Shows the student after training beside its teachers and a student to compare with, the reference.

    A subclass draws; the models are found, loaded and put into eval mode here. The student is shown with the weights that were
    evaluated: with an `EMAHook`, the averaged ones.

    Args:
        reference: A student that another run exported, or the work_dir around it. ``None`` takes the student alone, where
            this run was made by ``kdhub train --alone``. It is loaded once before training, so that a wrong path costs no run.
        reference_name: What the pictures call it.

    Raises:
        UsageError: Before training, if there is nothing to look at, or the reference cannot be loaded.
    """

    priority = "LOW"
    needs_another = True
    """Whether one model alone gives no picture."""

    def __init__(self, reference: str | None = None, reference_name: str = "student alone") -> None:
        self.reference = reference
        self.reference_name = reference_name

    @abstractmethod
    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw.

        Args:
            runner: The runner, whose ``val_dataloader`` has the data.
            models: Name to model, in eval mode, with a ``val_step``: ``student``, then teachers, the reference last.
            folder: Where the files go; it exists.
        """

    @staticmethod
    def batches(runner: Any, images: int) -> tuple[list[int], DataLoader[Any]]:
        """Choose validation samples, spread evenly over all: a folder of images is often sorted by class.

        Args:
            runner: The runner.
            images: How many at most.

        Returns:
            Their places in ``runner.val_dataloader.dataset``, and a loader of them in the batches of the validation.
        """
        loader = runner.val_dataloader
        count = min(images, len(loader.dataset))
        places = [place * len(loader.dataset) // count for place in range(count)]
        size = loader.batch_size or 1
        return places, DataLoader(Subset(loader.dataset, places), batch_size=size, collate_fn=loader.collate_fn)

    @staticmethod
    def picture_of(sample: Any) -> NDArray[np.float64]:
        """Take the image out of a sample, and bring whatever normalisation it has into 0 to 1.

        Args:
            sample: A mapping with ``inputs``, or a tuple that begins with them: ``(C, H, W)``.

        Returns:
            ``(H, W, 3)``, or ``(H, W)`` of fewer than 3 channels.
        """
        image = torch.as_tensor(sample["inputs"] if isinstance(sample, Mapping) else sample[0]).double()
        low, high = image.min(), image.max()
        stretched: NDArray[np.float64] = ((image - low) / (high - low).clamp(min=1e-9)).numpy()
        return stretched[:3].transpose(1, 2, 0) if len(stretched) >= 3 else stretched[0]

    @staticmethod
    def colour_of(name: str) -> str:
        """Return the colour of a model: the student, a teacher, or the reference."""
        return COLOURS.line if name == STUDENT else COLOURS.reference if name.startswith("teacher") else COLOURS.other

    def load_reference(self, path: Path, runner: Any) -> nn.Module:
        """Load the reference; this way is right for what `kdhub.engine.export.export_student` wrote.

        Args:
            path: Folder that kdhub exported, the work_dir around it, or a file of weights of the student's own architecture.
            runner: The runner.
        """
        return exported_student(path)

    def before_train(self, runner: Any) -> None:
        """See that everything for the pictures is there."""
        if runner.val_loop is None:
            raise UsageError(
                f"{type(self).__name__} has no data to look at", expected="val_dataloader, val_cfg and val_evaluator"
            )
        if not self._is_alone(runner):
            with preserved_randomness():
                self._models(runner)

    def after_train(self, runner: Any) -> None:
        """Draw, and put the pictures into the report."""
        if not is_main_process() or self._is_alone(runner):
            return
        folder = Path(runner.work_dir, FOLDER)
        folder.mkdir(exist_ok=True)
        started = time.monotonic()
        models = self._models(runner)
        with as_evaluated(runner), _predicting(runner.model):
            for panel in self.panels(runner, models, folder):
                runner.run_card.add_picture(*panel)
        runner.run_card.write()
        runner.logger.info(f"pictures: in {folder}, after {time.monotonic() - started:.0f} s")

    def _models(self, runner: Any) -> dict[str, nn.Module]:
        """Return the models by name: student first, the one it is compared with last."""
        model = unwrapped(runner.model)
        models: dict[str, nn.Module] = {STUDENT: model}
        for name, teacher in teachers_of(model).items():
            if teacher.model is not None:
                models[name if name == "teacher" else f"teacher {name}"] = teacher.model
        place = alone_beside(runner) if self.reference is None else Path(self.reference)
        if place is not None:
            reference = self.load_reference(place, runner)
            models[self.reference_name] = reference.to(next(model.parameters()).device).eval()
        if len(models) == 1 and self.needs_another:
            raise UsageError(
                f"{type(self).__name__} has nothing to compare the student with",
                expected="a teacher with a live model, or a reference",
                fix="set reference='work_dirs/ANOTHER/student'",
            )
        return models

    def _is_alone(self, runner: Any) -> bool:
        """Whether this is the run of ``--alone`` that the distilled one will show beside its own student."""
        distils = distilling(runner.model) is not None and not teachers_of(runner.model)
        return self.needs_another and distils and self.reference is None


def alone_beside(runner: Any) -> Path | None:
    """Return the folder of the run alone that ``kdhub train --alone`` made for this very run, or ``None``.

    Args:
        runner: The runner of the distilled run.
    """
    folder = Path(runner.work_dir, ALONE)
    if not (folder / STUDENT_FOLDER).is_dir():
        return None
    try:
        alone = experiment(completed(alone_config(runner.cfg))[0])
    except UsageError:  # this config cannot be trained alone, so the folder is of another one
        return None
    return folder if finished_card(folder, alone) is not None else None


def exported_student(path: Path) -> nn.Module:
    """Build a student that kdhub exported as ``model.py`` and ``model.safetensors``.

    Args:
        path: The folder, or the work_dir around it.

    Raises:
        UsageError: If there is none, or its weights do not fit.
    """
    names = ("model.py", "model.safetensors")
    folder = next((one for one in (path, path / STUDENT_FOLDER) if (one / names[1]).is_file()), None)
    if folder is None or not (folder / names[0]).is_file():
        raise UsageError(
            "no student to compare with",
            where=str(path),
            expected=f"a folder with {' and '.join(names)}, or a work_dir with such a folder",
            fix="train it first, or leave `reference` out",
        )
    model: nn.Module = MODELS.build(scoped(load_config(str(folder / names[0]))))
    load_weights(model, folder / names[1])
    return model


@contextmanager
def _predicting(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
