"""`kddet.ClassAttributes`: answers by class, with noise, in the form that `AspectTeacher` and `Widened` read."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS

from kddet.aspects import QuestionBank
from kddet.questions.answers import AspectTeacher
from kddet.questions.class_attributes import answer_by_class, read_attributes
from kdhub.api import UsageError

TABLE = "# a comment\nDoes it fly? gull, kite\nDoes it eat?  gull\n\nIs it made of stone?\n"


@DATASETS.register_module()
class ThreeThings:
    """Samples of three classes, in the order 2, 0, 1, 0."""

    def __init__(self, classes=("gull", "kite", "brick"), labels=(2, 0, 1, 0), form="dict"):
        self.metainfo = {"classes": classes}
        self._labels, self._form = labels, form

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        if self._form == "bare":
            return torch.zeros(3)
        if self._form == "tuple":
            return torch.zeros(3), self._labels[index]
        return {"inputs": torch.zeros(3), "labels": torch.tensor(self._labels[index])}


def written(folder, **options):
    """Run the job on the four samples."""
    Path(folder, "table.txt").write_text(options.pop("table", TABLE))
    (job := folder / "job").mkdir()
    told = answer_by_class(
        job, str(folder / "table.txt"), {"type": "ThreeThings", **options.pop("data", {})}, **options
    )
    return job, told


@pytest.mark.parametrize("form", ["dict", "tuple"])
def test_without_noise_the_table_is_written_down(tmp_path, form):
    """Answers under another question or image would train, and a table would show what they are worth."""
    job, told = written(tmp_path, spread=0.0, data={"form": form})
    teacher = AspectTeacher(str(job), questions=str(job / "questions.txt"))
    yes, no = 0.880797, 1 - 0.880797  # a margin of 2, as in the card
    expected = [[no, no, no], [yes, yes, no], [yes, no, no], [yes, yes, no]]
    torch.testing.assert_close(teacher.answers([0, 1, 2, 3])["aspects"], torch.tensor(expected), atol=1e-6, rtol=0)
    assert QuestionBank.read(job / "questions.txt").questions[1] == "Does it eat?"
    assert (told["images"], told["questions"], told["wrong"]) == (4, 3, 0.0)


def test_noise_puts_a_sixth_on_the_wrong_side(tmp_path):
    """P(z < -1) = 0.159: the share is what the page says of how good the answers are."""
    _, told = written(tmp_path, data={"labels": tuple(range(3)) * 1000})
    assert told["wrong"] == pytest.approx(0.1587, abs=0.015)


def test_a_question_that_no_class_answers_is_named(tmp_path):
    """A question with one answer for all teaches nothing, and nobody would notice."""
    _, told = written(tmp_path, margin=6.0, spread=0.0)
    assert told["constant"] == [2]


@pytest.mark.parametrize(
    ("table", "data", "told"),
    [
        ("Does it fly? gul", {}, "did you mean 'gull'"),
        ("gull, kite", {}, "not a question"),
        ("Does it fly? gull\nDoes it fly? kite", {}, "a question twice"),
        (TABLE, {"form": "bare"}, "a sample has no label"),
        (TABLE, {"classes": ()}, "the data do not name their classes"),
    ],
)
def test_what_cannot_be_answered_is_said(tmp_path, table, data, told):
    """A misspelt class would be answered no throughout."""
    with pytest.raises(UsageError, match=told):
        written(tmp_path, table=table, data=data)


def test_the_table_of_caltech24_can_be_read():
    """The evidence runs for minutes before it reaches a table that is broken."""
    file = Path(__file__).resolve().parents[4] / "configs/classification/caltech24/attributes.txt"
    bank, named = read_attributes(file)
    assert len(bank) == len(named)
    assert len({name for names in named for name in names}) == 24
