"""`PanelHook`: how sure the models are, and the images on which distillation changed the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from kdcls.class_report import calibration_bins
from kdcls.panels.answers import Answers, ask, changed
from kdcls.panels.draw import Card, draw_cards, draw_reliability, short
from kdhub.api import ModelPanels, Panel, choice, integer, require

STUDENT = "student"


class PanelHook(ModelPanels):
    """After training, draws two things of the validation images into the report.

    A reliability diagram of each model: teachers, the student alone, the student. And, where there is another model to compare
    with, the images that only the student gets right, and those that only the other does, each with the names of the classes and
    the models' confidences. The other is the reference, or else the teacher.

    Args:
        count: Images drawn of each direction.
        reference: Work_dir of another run, or the student that it exported. ``None`` takes the student alone of
            ``kdhub train --alone``, if there is one.
        reference_name: What the pictures call it.
        images: Validation images looked at, spread evenly over all; each is answered by each model.
        bins: Bins of the reliability diagram, of equal width.
        scores: ``'logits'``, as `kdhub.TorchModel` predicts, or ``'probabilities'``, as mmpretrain's models do.

    Raises:
        UsageError: Before training, if there are no validation images, or the reference cannot be loaded.
    """

    needs_another = False

    def __init__(
        self,
        count: int = 6,
        reference: str | None = None,
        reference_name: str = "student alone",
        images: int = 5000,
        bins: int = 15,
        scores: str = "logits",
    ) -> None:
        super().__init__(reference, reference_name)
        require("PanelHook", integer(1), count=count, images=images, bins=bins)
        require("PanelHook", choice(("logits", "probabilities")), scores=scores)
        self.count = count
        self.images = images
        self.bins = bins
        self.scores = scores

    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw the diagram and both directions."""
        chosen, batches = self.batches(runner, self.images)
        labels, answers = ask(models, batches, self.scores)
        labelled = labels >= 0
        labels, places = labels[labelled], np.array(chosen)[labelled]
        answers = {name: one.where(labelled) for name, one in answers.items()}
        if not len(labels):
            runner.logger.info("pictures: none, as no validation image has a label")
            return
        order = [*[name for name in models if name != STUDENT], STUDENT]
        path = folder / "reliability.svg"
        bins = {
            name: calibration_bins(answers[name].confidence, answers[name].answer == labels, self.bins)
            for name in order
        }
        draw_reliability(bins, {name: self.colour_of(name) for name in order}, path)
        yield Panel(
            "How often each model is right, by how sure it is",
            path,
            f"{len(labels)} validation images in {self.bins} bins of confidence; a larger dot holds more of them. On the dashed"
            " line a model is right as often as it thinks; below it is too sure of itself.",
        )
        if len(models) > 1:
            dataset = runner.val_dataloader.dataset
            names = (getattr(dataset, "metainfo", None) or {}).get("classes") or ()
            yield from self._changes(dataset, labels, places, answers, order, names, folder)

    def _changes(
        self,
        dataset: Any,
        labels: NDArray[np.int64],
        places: NDArray[np.int64],
        answers: Mapping[str, Answers],
        order: Sequence[str],
        names: Sequence[str],
        folder: Path,
    ) -> Iterator[Panel]:
        other = order[-2]
        both = changed(labels, answers[STUDENT], answers[other])
        counts = f"Of {len(labels)} images the student gained {len(both[0])} and lost {len(both[1])} against {other}."
        for right, wrong, rows in ((STUDENT, other, both[0]), (other, STUDENT, both[1])):
            if not len(rows):
                continue
            cards = []
            for row in rows[: self.count]:
                said = [
                    f"{name}: {_name(names, answers[name].answer[row])}, {100 * answers[name].confidence[row]:.0f} %"
                    for name in order
                ]
                place = int(places[row])
                cards.append(
                    Card(self.picture_of(dataset[place]), [f"{_name(names, labels[row])} (image {place})", *said])
                )
            path = folder / f"only-{'student' if right == STUDENT else 'other'}.svg"
            draw_cards(cards, path)
            yield Panel(
                f"Right only by the {right}, not by the {wrong}".replace("the the", "the"),
                path,
                f"{counts} The {len(cards)} with the largest difference in the probability of the right class, whose name"
                " stands first; colours are stretched.",
            )


def _name(names: Sequence[str], label: Any) -> str:
    return short(str(names[label]), 22) if 0 <= int(label) < len(names) else str(label)
