"""The loss contract itself: it must find each defect that it exists for, and say what to mend."""

import re

import pytest
import torch
from torch import nn

from kdhub.records import LossSpec
from kdhub.testing.contracts import assert_loss_contract

SHAPES = {"student": (4, 6), "teacher": (4, 6)}


class GoodLoss(nn.Module):
    def __init__(self, power=2.0):
        super().__init__()
        self.power = power

    def forward(self, student, teacher, mask=None):
        return (student.float() - teacher.float().detach()).abs().pow(self.power).mean()


class NoModule:
    def forward(self, student, teacher):
        return student.sum()


class ForgetsArgument(GoodLoss):
    def __init__(self, power=2.0, margin=0.5):
        super().__init__(power)


class HidesArgument(GoodLoss):
    def __init__(self, power=2.0):
        super().__init__(2 * power)


class TakesAnything(GoodLoss):
    def forward(self, student, teacher, **others):
        return super().forward(student, teacher)


class Unreduced(GoodLoss):
    def forward(self, student, teacher):
        return (student.float() - teacher.detach().float()).square()


class ReturnsNumber(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student, teacher).item()


class NoTerm(GoodLoss):
    def forward(self, student, teacher):
        return {}


class NotFinite(GoodLoss):
    def forward(self, student, teacher):
        return {"a": super().forward(student, teacher), "b": student.float().clamp(max=0).log().sum()}


class AlwaysZero(GoodLoss):
    def forward(self, student, teacher):
        return 0.0 * student.float().sum()


class Dropout(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(nn.functional.dropout(student), teacher)


class DetachesStudent(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student.detach(), teacher)


class ForgetsOneStudent(GoodLoss):
    def forward(self, student, student_extra, teacher):
        return super().forward(student, teacher)


class FlatGradient(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student.round() + 0 * student, teacher)


class RootAtZero(GoodLoss):
    def forward(self, student, teacher):
        distances = [(v.float()[:, None] - v.float()).square().sum(-1).sqrt() for v in (student, teacher.detach())]
        return super().forward(*distances)


class LeaksIntoTeacher(GoodLoss):
    def forward(self, student, teacher):
        return (student.float() - teacher.float()).square().mean()


class OverflowsInHalf(GoodLoss):
    def forward(self, student, teacher):
        return (student - teacher.detach()).square().mean().float()


class ComputesInHalf(GoodLoss):
    def forward(self, student, teacher):
        return (student - teacher.detach()).abs().mean()


class RestsElsewhere(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student, teacher + 1)


class PullsAtEquality(GoodLoss):
    def forward(self, student, teacher):
        difference = student.float() - teacher.float().detach()
        return difference.square().mean() + difference.mean()


class FirstSampleOnly(GoodLoss):
    def forward(self, student, teacher):
        weight = torch.arange(1.0, 1.0 + len(student)).unsqueeze(1)
        return super().forward(weight * student.float(), weight * teacher.float())


class LosesState(GoodLoss):
    def __init__(self):
        super().__init__()
        self.center = torch.randn(6)

    def forward(self, student, teacher):
        return super().forward(student.float() * self.center, teacher.float() * self.center)


class OddState(GoodLoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher):
        return self.scale * super().forward(student, teacher)

    def get_extra_state(self):
        return object()

    def set_extra_state(self, state):
        pass


def spec(**fields):
    return LossSpec(name="Example", target="example:Example", summary="Example", **fields)


@pytest.mark.parametrize("loss", [GoodLoss, GoodLoss(3.0)])
def test_a_good_loss_passes(loss):
    """A contract that refuses correct losses teaches authors to skip it."""
    assert_loss_contract(loss, inputs=SHAPES, spec=spec(optional=("mask",)))


def test_a_good_loss_of_several_terms_passes():
    """A dict of scalars is as good as a scalar."""

    class TwoTerms(GoodLoss):
        def forward(self, student, teacher):
            value = super().forward(student, teacher)
            return {"edge": value, "body": 2 * value}

    assert_loss_contract(TwoTerms, inputs=SHAPES, spec=spec())


def test_the_callers_random_numbers_are_left_alone():
    """A helper that reseeds the generator makes the author's other tests depend on their order."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert_loss_contract(GoodLoss, inputs=SHAPES)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (NoModule, "is no torch.nn.Module -> derive"),
        (ForgetsArgument, r"argument 'margin' is not kept -> write self\.margin = margin"),
        (HidesArgument, r"argument power=2\.0 is kept as 4\.0"),
        (TakesAnything, r"forward takes \*\*others -> name every input"),
        (Unreduced, r"returns \(4, 6\) -> reduce it"),
        (ReturnsNumber, "returns float -> return a tensor"),
        (NoTerm, "returns no term"),
        (NotFinite, r"is nan for normal numbers \(term 'b'\)|is -inf for normal numbers \(term 'b'\)"),
        (AlwaysZero, "is 0 though student and teacher differ"),
        (Dropout, "two values for the same inputs -> leave random numbers"),
        (DetachesStudent, "has no gradient -> compute with the student's tensors"),
        (FlatGradient, "gradient of 'student' is 0 everywhere"),
        (RootAtZero, "gradient of 'student' is not finite -> look for a root"),
        (LeaksIntoTeacher, r"a gradient reaches 'teacher' -> write teacher = teacher\.detach\(\)"),
        (OverflowsInHalf, r"is inf for torch\.float16 values up to 10000 -> raise the inputs with \.float\(\)"),
        (ComputesInHalf, r"computes in torch\.float16 .* -> raise the inputs with \.float\(\)"),
        (RestsElsewhere, "at equality -> mend it, or set zero_at_equality=False"),
        (PullsAtEquality, "pulls 'student' by .* at equality"),
        (FirstSampleOnly, "depends on the order of the batch -> .*batch_order=False"),
        (LosesState, r"another value after a checkpoint -> keep what it learns in nn\.Parameter"),
        (OddState, "state_dict does not load again .* -> keep tensors in it"),
    ],
)
def test_a_bad_loss_is_told_what_to_mend(loss, message):
    """Each of these trains without an error and gives a worse student, or fails far from its cause."""
    declared = spec(optional=("mask",)) if loss.forward is GoodLoss.forward else spec()
    with pytest.raises(AssertionError, match=rf"^{loss.__name__}: .*(?:{message})"):
        assert_loss_contract(loss, inputs=SHAPES, spec=declared if loss is not TakesAnything else None)


def test_an_unused_student_input_is_found():
    """A second input that enters nowhere is a tap and an adapter that train nothing."""
    inputs = {**SHAPES, "student_extra": (4, 2)}
    with pytest.raises(AssertionError, match="no gradient reaches 'student_extra'"):
        assert_loss_contract(ForgetsOneStudent, inputs=inputs)


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (SHAPES, {}, "declares optional nothing"),
        (
            SHAPES,
            {"inputs": ("student", "teacher", "labels"), "optional": ("mask",)},
            "declares inputs labels, student",
        ),
        ({"student": (4, 6)}, {"optional": ("mask",)}, "no example for teacher"),
        ({**SHAPES, "maks": (4,)}, {"optional": ("mask",)}, "forward does not take maks"),
        ({"student": (1, 6), "teacher": (1, 6)}, {"optional": ("mask",)}, "tested with one sample"),
    ],
)
def test_inputs_that_are_not_those_declared(inputs, fields, message):
    """`kdhub check` binds by the record: a name it lacks is refused there, a name it invents fails in training."""
    with pytest.raises(AssertionError, match=message):
        assert_loss_contract(GoodLoss, inputs=inputs, spec=spec(**fields))


def test_arguments_belong_to_a_class():
    """Arguments beside an instance would be ignored in silence."""
    with pytest.raises(AssertionError, match="give the class"):
        assert_loss_contract(GoodLoss(), arguments={"power": 3.0}, inputs=SHAPES)


class ThreeFaults(nn.Module):
    """Keeps an argument under another name, lets the teacher learn, and computes in half precision."""

    def __init__(self, power=2.0):
        super().__init__()
        self.exponent = power

    def forward(self, student, teacher):
        return (student - teacher).abs().pow(self.exponent).mean()


class NeverANumber(nn.Module):
    """A root of what is below 0."""

    def forward(self, student, teacher):
        return ((student - teacher.detach()).square().float().mean() * -1).sqrt()


class Rolls(nn.Module):
    """Draws at every call."""

    def forward(self, student, teacher):
        return (student - teacher.detach()).square().float().mean() * (1 + torch.rand(()))


@pytest.mark.parametrize(
    ("loss", "absent"),
    [(NeverANumber, "gives two values|depends on the order|after a checkpoint"), (Rolls, "order|after a checkpoint")],
)
def test_one_breach_is_not_told_as_another(loss, absent):
    """NaN differs from itself, and a random loss from itself: their authors looked for counters and buffers that were not there."""
    with pytest.raises(AssertionError) as caught:
        assert_loss_contract(loss, inputs=SHAPES)
    assert not re.search(absent, str(caught.value))


def test_every_breach_of_a_loss_is_told_at_once():
    """An author who mends one breach a run, and starts the tests five times, thinks of the contract as an enemy."""
    with pytest.raises(AssertionError) as caught:
        assert_loss_contract(ThreeFaults, inputs={"student": (4, 3), "teacher": (4, 3)})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for words in ("argument 'power' is not kept", "a gradient reaches 'teacher'", "computes in torch.float16"):
        assert words in str(caught.value)
    assert all(line.startswith("ThreeFaults: ") and " -> " in line for line in lines)
