"""A batch that is split over steps or processes trains as the whole batch does, or the run says that it does not."""

import copy
import re

import pytest
import torch
from mmengine.optim import OptimWrapper

from kdhub.distill.distiller import Distiller
from kdhub.distill.losses.cosine import Cosine
from kdhub.distill.losses.mse import MSE
from kdhub.distill.losses.smooth_l1 import SmoothL1
from kdhub.distill.losses.temperature_kl import TemperatureKL
from kdhub.distill.split import split_warning
from kdhub.distill.teachers import ModelTeacher
from kdhub.testing.toys import ToyEncoder


def tokens(valid=(60, 1)):
    """Rows of 60 tokens, of which so many count."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(60).expand(len(valid), 60) < torch.tensor(valid).unsqueeze(1)
    return {
        **{name: torch.randn(len(valid), 60, 5, generator=generator) for name in ("query", "document")},
        "mask": mask,
    }


def trained(loss, batches):
    """The student's weights after one step over the batches."""
    torch.manual_seed(0)
    student, teacher = ToyEncoder(), ToyEncoder()
    objective = {
        "loss": loss,
        "student": {"type": "kdhub.MethodOutput", "path": "embed", "call": 0},
        "teacher": {"type": "kdhub.MethodOutput", "path": "embed", "call": 0},
        "batch": {"mask": "mask"},
    }
    student.score = teacher.score = lambda query, document: query.sum()
    model = Distiller(copy.deepcopy(student), {"tokens": objective}, teacher=ModelTeacher(teacher)).train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=len(batches))
    wrapper.initialize_count_status(model, 0, len(batches))
    for batch in batches:
        model.train_step(batch, wrapper)
    return torch.cat([p.detach().flatten() for p in model.student.parameters()])


def halves(batch):
    return [{name: value[row : row + 1] for name, value in batch.items()} for row in range(len(batch["mask"]))]


def shortened(batch):
    """Each row padded to its own longest text only, as a collate function does."""
    length = int(batch["mask"].sum())
    return {name: value[:, :length] for name, value in batch.items()}


LOSSES = [
    {"type": "kdhub.TemperatureKL", "class_axis": -1},
    {"type": "kdhub.MSE", "axis": -1},
    {"type": "kdhub.SmoothL1", "axis": -1},
    {"type": "kdhub.Cosine", "axis": -1},
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["type"])
def test_accumulated_gradients_are_those_of_the_whole_batch(loss):
    """A mean over what counts gives the short row of a split batch 60 times its weight: another student is trained."""
    batch = tokens()
    whole = trained({**loss, "reduction": "samples"}, [batch])
    split = trained({**loss, "reduction": "samples"}, [shortened(half) for half in halves(batch)])
    torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(trained(loss, halves(batch)), trained(loss, [batch]), rtol=1e-2)


def test_a_sample_of_which_nothing_counts_adds_nothing():
    """It must count among the samples all the same, or the split would matter again."""
    batch = tokens((60, 0))
    loss = {**LOSSES[0], "reduction": "samples"}
    torch.testing.assert_close(trained(loss, halves(batch)), trained(loss, [batch]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [MSE, SmoothL1, Cosine, TemperatureKL])
def test_samples_by_hand(loss):
    """Rows with 2 and 1 entries that count: (mean of row 0 + mean of row 1) / 2, and not the mean of 3."""
    student, teacher = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(2, 2, 3)
    axis = {"class_axis": -1} if loss is TemperatureKL else {"axis": -1}
    by_row = [
        loss(**axis)(student[row : row + 1, :kept], teacher[row : row + 1, :kept]) for row, kept in ((0, 2), (1, 1))
    ]
    mask = torch.tensor([[1, 1], [1, 0]])
    found = loss(**axis, reduction="samples")(student, teacher, mask)
    torch.testing.assert_close(found, (by_row[0] + by_row[1]) / 2)


def warning(loss, accumulated, processes, **options):
    objective = {"loss": loss, "student": "embed", "teacher": "embed", **options}
    model = Distiller(ToyEncoder(), {"one": objective}, teacher=ModelTeacher(ToyEncoder()))
    return split_warning(model, accumulated, processes)


MASKED = {"batch": {"mask": "mask"}}


class Gathers(torch.nn.Module):
    """Compares samples, and may gather them from all processes."""

    depends_on_split = "samples"

    def __init__(self, gather=False):
        super().__init__()
        self.gather = gather

    def forward(self, student, teacher):
        return (student - teacher).square().mean()


@pytest.mark.parametrize(
    ("loss", "accumulated", "processes", "options", "expected"),
    [
        ({"type": "kdhub.MSE"}, 2, 1, MASKED, "2 accumulated steps.*one.loss .MSE divides.*reduction='samples'"),
        ({"type": "kdhub.MSE"}, 1, 4, MASKED, "4 processes"),
        ({"type": "kdhub.MSE"}, 2, 4, {}, None),
        ({"type": "kdhub.MSE"}, 1, 1, MASKED, None),
        ({"type": "kdhub.MSE", "reduction": "samples"}, 2, 2, MASKED, None),
        ({"type": "kdhub.Relational"}, 2, 2, {}, "2 accumulated steps and 2 processes.*Relational compares only"),
        ({"type": Gathers}, 1, 2, {}, "gather=True"),
        ({"type": Gathers, "gather": True}, 1, 2, {}, None),
        ({"type": Gathers, "gather": True}, 2, 2, {}, "make the parts large"),
    ],
)
def test_a_run_says_which_losses_depend_on_the_split(loss, accumulated, processes, options, expected):
    """The same config on two GPUs trains another student; a warning in every run would be read by nobody."""
    found = warning(loss, accumulated, processes, **options)
    assert (found is None) if expected is None else re.search(expected, found)


def test_a_student_with_a_loss_of_its_own_and_a_loss_that_depends_on_the_tap_say_so_too():
    """A run without a teacher, or a loss whose lists are the batch, would train another student on two GPUs in silence."""
    objective = {"loss": {"type": OnTap}, "student": "embed", "teacher": "embed"}
    student = ToyEncoder()
    model = Distiller(student, {"one": objective}, teacher=ModelTeacher(ToyEncoder()))
    assert re.search("for model.objectives.one.loss .OnTap compares only", split_warning(model, 1, 2))
    student.depends_on_split = "samples"
    assert "for model.student (ToyEncoder compares only" in split_warning(model, 1, 2)
    assert "for model (ToyEncoder compares only" in split_warning(student, 2, 1)
    assert split_warning(student, 1, 1) is None


class OnTap(torch.nn.Module):
    """Compares samples if the student's tap says so."""

    def depends_on_split(self, taps):
        return "samples" if "embed" in taps else ""

    def forward(self, student, teacher):
        return (student - teacher).square().mean()
