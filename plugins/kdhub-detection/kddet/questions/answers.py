"""The answers of a job, and the teacher that gives them (MaKD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from kddet.aspects import QuestionBank
from kddet.questions.answering import LEAST_SURE
from kdhub.api import (
    AnswerLog,
    Replay,
    Teacher,
    UsageError,
    choice,
    file_sha256,
    optional,
    read_sealed,
    require,
    write_sealed,
)

ANSWERS, BEGUN, INDEX = "answers.jsonl", "asked.json", "answers.json"


def finish(folder: Path, images: int, bank: QuestionBank, model: str) -> dict[str, Any]:
    """Write the index of a whole set of answers; return what is to be said of them."""
    table, sure = read_table(folder, images, len(bank))
    constant = [number for number, row in enumerate(table.T) if bool((row < 0.02).all() | (row > 0.98).all())]
    unsure = float((sure < LEAST_SURE).float().mean()) if sure.numel() else 0.0
    content = {"questions": bank.version, "texts": bank.questions, "images": images, "model": model}
    write_sealed(folder / INDEX, {**content, "answers": file_sha256(folder / ANSWERS)})
    return {"unsure": unsure, "constant": constant}


def read_table(folder: Path, images: int, questions: int) -> tuple[Tensor, Tensor]:
    """Return probabilities of yes, and of yes and no together, each ``(images, questions)``; NaN where nobody answered."""
    table = torch.full((images, questions), float("nan"))
    sure = torch.full((images, questions), float("nan"))
    for entry in AnswerLog(folder / ANSWERS).entries():
        table[entry["image"], entry["question"]] = entry["yes"]
        sure[entry["image"], entry["question"]] = entry["sure"]
    return table, sure


def read_answers(folder: str) -> tuple[dict[str, Any], Tensor]:
    """Read a finished job: its index, and probabilities of yes ``(images, questions)``, NaN where nobody answered.

    Raises:
        UsageError: If the job is not finished, or the answers changed after it ended.
    """
    place = Path(folder)
    if not (place / INDEX).is_file():
        raise UsageError("no answers here", where=folder, expected=INDEX, fix="run the job kddet.Ask to its end")
    index = read_sealed(place / INDEX)
    if (found := file_sha256(place / ANSWERS)) != index["answers"]:
        raise UsageError(
            "the answers changed after the job ended", where=str(place / ANSWERS), got=f"sha256 {found[:16]}"
        )
    table, _ = read_table(place, index["images"], len(index["texts"]))
    return index, table


class AspectTeacher(Teacher):
    """Answers with what a model said of each image, whatever the student sees of it.

    Its answer is ``aspects`` ``(B, Q)``, for `MultiAspectLoss`.

    Args:
        folder: Folder of the job `kddet.Ask`; its data must be the training data, in their order.
        questions: File of the questions, if it shall be compared with what was asked.
        control: ``'random'`` gives each image the answers of another, drawn once: the authors' reviewers found that random targets help
            too, so a gain over this control is what the answers are worth. ``None`` for the true ones.
        seed: Of the control.

    Raises:
        UsageError: If the job is not finished, its questions are others, or the data are of another size.
    """

    batch = "keys"

    def __init__(
        self,
        folder: str,
        questions: str | None = None,
        control: str | None = None,
        seed: int = 0,
    ) -> None:
        require("AspectTeacher", optional(choice(("random",))), control=control)
        self._index, self._table = read_answers(folder)
        if questions is not None and QuestionBank.read(questions).version != self._index["questions"]:
            raise UsageError(
                "the answers are to other questions",
                where=questions,
                expected=f"version {self._index['questions']}",
                got=f"version {QuestionBank.read(questions).version}",
                fix="ask again in another folder, or put the old file back",
            )
        self._identity = f"{self._index['answers'][:16]}-{control or 'true'}-{seed if control else 0}"
        if control:
            order = torch.randperm(len(self._table), generator=torch.Generator().manual_seed(seed))
            self._table = self._table[order]
        self._device = torch.device("cpu")

    def answers(self, batch: Sequence[Any] | None) -> Mapping[str, Any]:
        """Look up the samples of a batch by their keys."""
        if batch is None:
            raise UsageError("AspectTeacher does not know the samples of the batch", expected="data of kdhub train")
        rows = torch.tensor([int(key) for key in batch], dtype=torch.long)
        return {"aspects": self._table[rows].to(self._device)}

    def prepare(self, model: Any, name: str, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Replay:
        """See that the training data are as many as were asked about; any view of them, however often, will do."""
        count = len(loader.dataset)  # type: ignore[arg-type]
        if count != len(self._table):
            raise UsageError(
                "the answers are about other data",
                where=f"model.teachers.{name}",
                expected=f"{len(self._table)} training samples",
                got=str(count),
            )
        return Replay(seed=None, draws=None)

    def fingerprint(self) -> str:
        """Identify the answers, and whether they are shuffled."""
        return f"aspects-{self._identity}"

    def to(self, device: torch.device) -> None:
        """Move to the student's device."""
        self._device = device
