"""`AspectHead` and the file of questions: same predictions, taken off again, versions."""

import pytest
import torch
from torch import nn

from kddet.aspects import AspectHead, QuestionBank, with_aspects, without_aspects
from kdhub.api import UsageError


class Net(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.head = nn.ModuleDict({"fc": nn.Linear(5, 3, bias=bias)})

    def forward(self, x):
        return self.head["fc"](self.body(x).relu())


@pytest.mark.parametrize("bias", [True, False])
def test_predictions_do_not_change(bias):
    """Widened or not, and taken off again after a step of training: the same class logits, bit for bit."""
    torch.manual_seed(0)
    model, x = Net(bias), torch.randn(6, 4)
    before = model(x)
    names = set(model.state_dict())
    with_aspects(model, "head.fc", 7)
    torch.testing.assert_close(model(x), before)
    head = model.head["fc"]
    assert head.wide(model.body(x).relu()).shape == (6, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    trained = model(x)
    without_aspects(model)
    torch.testing.assert_close(model(x), trained)
    assert type(model.head["fc"]) is nn.Linear
    assert set(model.state_dict()) == names


def test_a_bare_layer():
    """A model may be nothing but its head."""
    head = AspectHead(nn.Linear(4, 3), 2)
    plain = without_aspects(head)
    x = torch.randn(2, 4)
    torch.testing.assert_close(plain(x), head(x))
    assert without_aspects(plain) is plain


def test_what_cannot_be_widened():
    """The message must name the layers that can."""
    with pytest.raises(UsageError, match="no module to widen.*body, head.fc.*got head.cf"):
        with_aspects(Net(), "head.cf", 2)
    with pytest.raises(UsageError, match="widens a linear layer.*Conv2d"):
        AspectHead(nn.Conv2d(1, 1, 1), 2)
    with pytest.raises(UsageError, match="bad questions"):
        AspectHead(nn.Linear(2, 2), -1)


def test_questions_from_a_file(tmp_path):
    """The number of a line is the number of an output, so that order and wording are the version."""
    file = tmp_path / "questions.txt"
    file.write_text("# of Pets\nDoes it  have wheels?\n\n  Is it alive?\n", encoding="utf-8")
    bank = QuestionBank.read(file)
    assert bank.questions == ("Does it have wheels?", "Is it alive?")
    assert len(bank) == 2
    assert bank.version == QuestionBank(["Does it have wheels?", "Is it alive?"]).version
    assert bank.version != QuestionBank(["Is it alive?", "Does it have wheels?"]).version


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "questions.txt: no questions"),
        ("Is it red?\nIt is blue.\n", r"questions.txt, question 2: not a question.*'It is blue\.'"),
        ("Is it red?\nIs it blue?\nis it  RED?\n", "questions.txt, question 3: a question twice.*it is question 1 too"),
    ],
)
def test_files_that_are_no_questions(tmp_path, text, match):
    """A heading that counts as a question shifts all answers by one."""
    (tmp_path / "questions.txt").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        QuestionBank.read(tmp_path / "questions.txt")


def test_no_file_of_questions(tmp_path):
    """A path that is wrong must be named."""
    with pytest.raises(UsageError, match="cannot read the questions"):
        QuestionBank.read(tmp_path / "nowhere.txt")
