"""What a teacher's weights are: their fingerprint, whether they are random, and whether they are the student's."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from kdhub.distill.distiller import Distiller
from kdhub.distill.knowledge import same_weights, weights_fingerprint
from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import UsageError
from kdhub.testing.toys import ToySegmentor

TOY = "kdhub.testing.toys.ToySegmentor"


class Counting(nn.Module):
    """Keeps something beside its weights."""

    def __init__(self, state: Any) -> None:
        super().__init__()
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state


def fingerprint(state: Any) -> str:
    return weights_fingerprint(nn.Sequential(Counting(state)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"calls": 1}, {"calls": 2}),
        ({1: "a", "b": None}, {1: "a", "b": 0}),
        ([1, (2, 3)], [1, (2, 4)]),
        ({1, 2}, {1, 3}),
        (b"one", b"other"),
        (io.BytesIO(b"one"), io.BytesIO(b"other")),
        (torch.tensor([1.0]), torch.tensor([2.0])),
        ({"scale": torch.tensor(1.0)}, {"scale": torch.tensor(2.0)}),
        (np.float32(1), np.float32(2)),
        (None, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_extra_state_counts(one: Any, other: Any) -> None:
    """A quantised model keeps its scales there: the fingerprint died, or took two teachers for one."""
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    assert fingerprint(one) != fingerprint(other)


def test_the_order_of_keys_is_no_difference() -> None:
    """A dict that was filled in another order would refuse to resume with the same teacher."""
    assert fingerprint({"a": 1, "b": {2, 3}}) == fingerprint({"b": {3, 2}, "a": 1})


def test_the_digest_of_tensors_is_the_one_that_stores_hold() -> None:
    """Another fingerprint of the same weights would refuse every teacher store that is there."""
    model = nn.Linear(2, 1)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    # sha256 of "bias torch.float32 (1,)", 4 bytes of 0, "weight torch.float32 (1, 2)", 2 times 0000803f
    assert weights_fingerprint(model).startswith("a872cb8f2de5de66")


def test_a_sparse_entry_counts() -> None:
    """A state dict holds what modules register, and not every tensor can be flattened."""
    model, other = nn.Module(), nn.Module()
    model.register_buffer("graph", torch.eye(3).to_sparse())
    other.register_buffer("graph", torch.ones(3, 3).to_sparse())
    assert weights_fingerprint(model) != weights_fingerprint(other)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What is said while a teacher is built."""
    logger = MMLogger.get_current_instance()
    before = logger.level  # a test of `kdhub probe` in this process leaves it quiet
    logger.setLevel("INFO")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    yield caplog
    logger.setLevel(before)


def said(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


@MODELS.register_module(force=True)
class Knowing(ToySegmentor):
    """Loads weights on its own: all of them, or those of its backbone."""

    def __init__(self, head: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            known = ToySegmentor().state_dict()
        self.load_state_dict({name: one for name, one in known.items() if head or "head" not in name}, strict=False)


@MODELS.register_module(force=True)
class Constant(BaseModel):
    """Has nothing that training would change, such as a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, inputs: torch.Tensor, mode: str = "tensor", **_: Any) -> torch.Tensor:
        return inputs * self.scale[0]


def test_a_random_teacher_is_named(log: pytest.LogCaptureFixture) -> None:
    """A forgotten checkpoint trains the student towards noise, and every curve falls."""
    ModelTeacher({"type": TOY})
    (line,) = said(log)
    assert "it knows nothing" in line
    assert "own_weights=True" in line


@pytest.mark.parametrize(
    "options",
    [
        {"model": {"type": "Knowing"}},
        {"model": {"type": "Knowing", "head": False}},
        {"model": {"type": "Constant"}},
        {"model": {"type": TOY}, "own_weights": True},
        {"model": ToySegmentor()},
    ],
    ids=["loads", "loads a part", "constant", "meant", "built elsewhere"],
)
def test_a_teacher_that_may_know_something_is_not_named(log: pytest.LogCaptureFixture, options: dict[str, Any]) -> None:
    """A warning that is wrong now and then is a warning that nobody reads."""
    ModelTeacher(**options)
    assert said(log) == []


def test_weights_from_a_file_are_knowledge(log: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    """Both ways of naming a file, by the teacher and by its model, are the usual ones."""
    torch.save(ToySegmentor().state_dict(), tmp_path / "teacher.pth")
    ModelTeacher({"type": TOY}, checkpoint=str(tmp_path / "teacher.pth"))
    assert said(log) == []


def test_the_look_at_its_weights_leaves_no_trace() -> None:
    """A run that draws other random numbers because of a warning cannot be compared with one that has none."""

    def drawn(**options: Any) -> tuple[Any, ...]:
        torch.manual_seed(3)
        np.random.seed(3)
        teacher = ModelTeacher({"type": TOY}, **options)
        return teacher.fingerprint(), float(torch.rand(())), float(np.random.rand())

    assert drawn() == drawn(own_weights=True)


def test_own_weights_beside_a_checkpoint_are_refused() -> None:
    """One of the two would be left out, and which one nobody could see."""
    with pytest.raises(UsageError, match=r"own_weights=True, checkpoint='a\.pth'"):
        ModelTeacher({"type": TOY}, checkpoint="a.pth", own_weights=True)


def shared_backbone(student: ToySegmentor) -> ToySegmentor:
    teacher = ToySegmentor()
    teacher.backbone = student.backbone
    return teacher


def tied(student: ToySegmentor) -> ToySegmentor:
    teacher = ToySegmentor()
    teacher.head.weight = student.head.weight
    return teacher


def assigned(student: ToySegmentor) -> ToySegmentor:
    teacher = ToySegmentor()
    teacher.load_state_dict(student.state_dict(), assign=True)
    return teacher


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda student: student, "the student itself"),
        (shared_backbone, "shares 'backbone'"),
        (tied, "shares 'head.weight'"),
        (assigned, "shares 'backbone.0.weight'"),
    ],
    ids=["same", "module", "parameter", "memory"],
)
def test_a_teacher_has_nothing_in_common_with_the_student(make: Any, words: str) -> None:
    """What is frozen for the teacher does not train in the student, and what the student trains changes the teacher."""
    student = ToySegmentor()
    objective = {"loss": {"type": "kdhub.MSE"}, "student": "head", "teacher": "head"}
    with pytest.raises(UsageError, match=rf"model\.teacher: .*{words}.*copy\.deepcopy"):
        Distiller(student, {"logits": objective}, teacher=ModelTeacher(make(student)))


def test_a_copy_of_the_student_may_teach() -> None:
    """Self-distillation begins so."""
    student = ToySegmentor()
    model = Distiller(student, {}, teacher=ModelTeacher(copy.deepcopy(student)))
    assert all(parameter.requires_grad for parameter in model.student.parameters())


def test_same_weights_under_other_names_are_the_same() -> None:
    """A wrapper around one of the two changes every name."""
    one = ToySegmentor()
    assert same_weights(one, nn.Sequential(copy.deepcopy(one)))
    assert not same_weights(one, ToySegmentor())
    assert not same_weights(one, ToySegmentor(width=4))
    assert not same_weights(nn.ReLU(), nn.ReLU())
