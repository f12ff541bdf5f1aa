"""The teacher contract finds what would go wrong in a run."""

import pytest
import torch

from kdhub import EMATeacher, ModelTeacher, Teacher, UsageError
from kdhub.testing import assert_teacher_contract
from kdhub.testing.toys import ToySegmentor, segmentation_batch


class Fine(Teacher):
    """Answers with the batch's mean."""

    def answers(self, batch):
        """Answer."""
        return {"mean": batch["inputs"].mean()}

    def fingerprint(self):
        """Identify it."""
        return "fine"


class Random(Fine):
    def answers(self, batch):
        return {"mean": torch.rand(())}


class Writing(Fine):
    def answers(self, batch):
        return {"mean": batch["inputs"].zero_().mean()}


class Graph(Fine):
    def values(self, batch, taps, *, check_mode):
        for tap in taps:
            tap.answer(torch.ones((), requires_grad=True))


class Moving(Fine):
    """Says that it is frozen, and moves."""

    steps = 0

    def answers(self, batch):
        return {"mean": batch["inputs"].mean() + self.steps}

    def after_step(self, student, step):
        self.steps = step


class Forgetting(Moving):
    frozen = False


class Nameless(Fine):
    def fingerprint(self):
        return str(id(self))


class Silent(Fine):
    def values(self, batch, taps, *, check_mode):
        pass


class Wordy(Fine):
    def answers(self, batch):
        return {"mean": "about a half"}


class Mute(Teacher):
    def fingerprint(self):
        return "mute"


class Unsaved(Fine):
    def state(self):
        return {"self": self}


def check(make, **options):
    assert_teacher_contract(make, batch=segmentation_batch(), **{"taps": ["mean"], **options})


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (Random, "answers the same batch differently"),
        (Writing, "changes the batch"),
        (Graph, "carries a gradient"),
        (Moving, "set frozen = False"),
        (Forgetting, "otherwise in a resumed run"),
        (Nameless, "different fingerprints"),
        (Silent, "does not answer 'mean'"),
        (Wordy, "answers 'mean' with str"),
        (Unsaved, "cannot be saved safely"),
    ],
)
def test_a_broken_promise_is_told(teacher, words):
    """Each of these trains wrongly or fails after hours; the author should meet it in a test."""
    with pytest.raises(AssertionError, match=words):
        check(teacher)


def test_a_method_that_is_missing_is_one_line():
    """A traceback through kdhub's own code hides from an author what to write."""
    with pytest.raises(UsageError, match="define answers"):
        check(Mute)
    with pytest.raises(UsageError, match="define fingerprint"):
        check(Teacher)


def test_kdhubs_own_teachers_keep_the_contract():
    """A contract that our own teachers break would send authors in the wrong direction."""
    check(Fine)

    def model():
        torch.manual_seed(0)
        return ToySegmentor(dropout=0.2)

    check(lambda: ModelTeacher(model(), own_weights=True), taps=["head", "backbone"])
    check(lambda: EMATeacher(model()), taps=["head"], student=model())
