"""The job `kddet.ClassAttributes`: answers that a table of classes gives, with noise, where no language model is asked (MaKD)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS

from kddet.aspects import QuestionBank
from kddet.questions.answers import ANSWERS, finish
from kdhub.api import UsageError, integer, near_matches, number, require

QUESTIONS = "questions.txt"
"""Beside the answers: what `kddet.Widened` reads."""


def answer_by_class(
    folder: Path, attributes: str, data: Mapping[str, Any], margin: float = 2.0, spread: float = 2.0, seed: int = 0
) -> dict[str, Any]:
    """Answer questions about images by their classes, as a model would that is sure of some and wrong about others.

    An answer is ``σ(margin · a + spread · z)``: ``a`` is 1 where the table says yes of the image's class and -1 where it does not, ``z`` is
    drawn for each image and question from a normal distribution. With the defaults 16 % of the answers are on the wrong side. The
    labels are known to whoever reads the table, so a gain says what such answers are worth, and nothing of a language model.

    Args:
        folder: Folder of the job.
        attributes: File with one question a line, and behind its ``?`` the classes of which it is true, with commas between them.
            A class that a line does not name is answered no. Lines that begin with ``#`` do not count.
        data: Config of the training data, in their order; samples have ``labels``, or are tuples of an image and a label, and the
            data set's ``metainfo`` has ``classes``.
        margin: Mean of the logit of a right answer. With the defaults the mean answer that is yes is about 0.78.
        spread: Its standard deviation; 0 writes the table down as it is.
        seed: Of the noise.

    Returns:
        ``images``, ``questions``, ``wrong``: the share of answers on the wrong side, and ``unsure`` and ``constant`` as of `kddet.Ask`.

    Raises:
        UsageError: If the table cannot be read, names a class that the data do not have, or samples have no label.
    """
    require("ClassAttributes", number(at_least=0), margin=margin, spread=spread)
    require("ClassAttributes", integer(0), seed=seed)
    bank, named = read_attributes(Path(attributes).expanduser())
    dataset = DATASETS.build(dict(data))
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes") or ()
    signs = _signs(named, classes, attributes)
    labels = torch.tensor([_label(dataset[place], place) for place in range(len(dataset))], dtype=torch.long)
    noise = torch.randn(len(labels), len(bank), generator=torch.Generator().manual_seed(seed))
    logits = margin * signs[labels] + spread * noise
    part = folder / (ANSWERS + ".part")
    with part.open("w", encoding="utf-8") as stream:
        for image, row in enumerate(logits.sigmoid().tolist()):
            for question, yes in enumerate(row):
                entry = {"image": image, "question": question, "yes": yes, "sure": 1.0}
                stream.write(json.dumps(entry) + "\n")
    part.replace(folder / ANSWERS)
    (folder / QUESTIONS).write_text("\n".join(bank.questions) + "\n", encoding="utf-8")
    wrong = float((logits.sign() != signs[labels]).float().mean())
    told = finish(folder, len(labels), bank, f"the classes of {Path(attributes).name}")
    return {"images": len(labels), "questions": len(bank), "wrong": wrong, **told}


def read_attributes(path: Path) -> tuple[QuestionBank, list[tuple[str, ...]]]:
    """Read questions, and the classes that each is true of.

    Raises:
        UsageError: If the file cannot be read, or a line has no question.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot read the attributes", where=str(path), got=str(error)) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    parts = [line.rpartition("?") for line in lines]
    named = [tuple(name.strip() for name in rest.split(",") if name.strip()) for _, _, rest in parts]
    # a line without a question mark is refused by the bank, whole
    return QuestionBank([question + mark or rest for question, mark, rest in parts], str(path)), named


def _signs(named: Sequence[Sequence[str]], classes: Sequence[str], where: str) -> torch.Tensor:
    """Return ``(C, Q)``: 1 where the table says yes of a class, -1 elsewhere."""
    if not classes:
        raise UsageError("the data do not name their classes", where="job.data", expected="metainfo with classes")
    signs = -torch.ones(len(classes), len(named))
    for question, names in enumerate(named):
        for name in names:
            if name not in classes:
                raise UsageError(
                    "the data have no such class",
                    where=f"{where}, question {question + 1}",
                    got=repr(name),
                    near=near_matches(name, classes),
                )
            signs[list(classes).index(name), question] = 1
    return signs


def _label(sample: Any, place: int) -> int:
    """Take the label out of a sample."""
    found = sample.get("labels") if isinstance(sample, Mapping) else None
    if isinstance(sample, tuple | list) and len(sample) > 1:
        found = sample[1]
    if found is None:
        raise UsageError("a sample has no label", where=f"job.data, sample {place}", expected="labels")
    return int(found)
