"""Teachers beyond a frozen model: one that follows the student, the student itself, one's own, one asked after the student."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from kdhub import Teacher
from kdhub.distill.distiller import Distiller
from kdhub.distill.teachers import AfterStudent, EMATeacher
from kdhub.errors import GuardError, UsageError
from kdhub.testing.toys import ToySegmentor, segmentation_batch

MSE = {"type": "kdhub.MSE"}


def step(model, seed=0, **batch):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return model.train().train_step({**segmentation_batch(seed=seed), **batch}, wrapper)


def logits(teacher="head"):
    return {"logits": {"loss": MSE, "student": "head", "teacher": teacher}}


def noisy_student():
    torch.manual_seed(0)
    return ToySegmentor(dropout=0.3)


def test_an_ema_teacher_is_the_average_of_the_students():
    """A wrong momentum, or an average that starts elsewhere, would teach something else with the same loss curves."""
    model = Distiller(
        noisy_student(), logits(), teacher={"type": "kdhub.EMATeacher", "momentum": 0.75, "warmup": False}
    )
    teacher = model.teachers["teacher"]
    teacher.begin(model.student)
    average = {name: weight.detach().double() for name, weight in model.student.named_parameters()}
    for seed in range(3):
        step(model, seed)
        teacher.after_step(model.student, seed + 1)
        for name, weight in model.student.named_parameters():
            average[name] = 0.75 * average[name] + 0.25 * weight.detach().double()
    assert not torch.equal(teacher.model.head.weight, model.student.head.weight)
    for name, weight in teacher.model.named_parameters():
        torch.testing.assert_close(weight.double(), average[name], rtol=1e-5, atol=1e-6)
        assert not weight.requires_grad


def test_warmup_forgets_the_random_start():
    """With m = 0.999 from the first step a run of 500 steps would be taught by its own random weights."""
    student = noisy_student()
    teacher = EMATeacher(student, momentum=0.999)
    teacher.begin(student)
    before = teacher.model.head.bias.clone()
    with torch.no_grad():
        student.head.bias += 1
    teacher.after_step(student, 1)
    torch.testing.assert_close(teacher.model.head.bias, before + 0.5)  # min(0.999, 1 - 1 / 2)


def test_an_ema_teacher_that_nobody_moves_is_refused():
    """Under a runner without kdhub's hook it would stay at the random weights of the start and teach them."""
    model = Distiller(noisy_student(), logits(), teacher={"type": "kdhub.EMATeacher"})
    with pytest.raises(GuardError, match="never follow"):
        step(model)


def test_buffers_of_an_ema_teacher_are_the_students():
    """Averaged weights with the running statistics of random weights would see noise."""
    student = noisy_student()
    student.backbone.append(nn.BatchNorm2d(8))
    teacher = EMATeacher(student)
    teacher.begin(student)
    student.backbone[-1].running_mean += 3
    teacher.after_step(student, 1)
    assert torch.equal(teacher.model.backbone[-1].running_mean, student.backbone[-1].running_mean)


def test_an_ema_teacher_goes_on_from_its_state():
    """A resumed run whose average begins anew at the student is another run."""
    student, other = noisy_student(), ToySegmentor()
    teacher = EMATeacher(student)
    teacher.begin(student)
    teacher.after_step(other, 5)
    resumed = EMATeacher(copy.deepcopy(other))
    resumed.load_state(teacher.state())
    resumed.begin(other)
    assert torch.equal(resumed.model.head.weight, teacher.model.head.weight)
    assert resumed.fingerprint() == teacher.fingerprint()


@pytest.mark.parametrize("momentum", [1.0, -0.1, "0.9", True, None])
def test_a_momentum_without_sense_is_refused(momentum):
    """With m = 1 the teacher would never learn anything."""
    with pytest.raises(UsageError, match="momentum"):
        EMATeacher(noisy_student(), momentum=momentum)


def test_the_student_teaches_itself():
    """Self-distillation must not send gradients into the part that teaches, nor run the student twice."""
    student = noisy_student()
    runs = []
    student.backbone.register_forward_hook(lambda *_: runs.append(1))
    student.early = nn.Conv2d(8, 4, 1)
    student.dropout = nn.Sequential(nn.Dropout(0.0), _Early(student))
    objectives = {"deep": {"loss": MSE, "student": "early", "teacher": "student:head"}}
    model = Distiller(student, objectives, task_weight=0.0)
    losses = model.train()(**_preprocessed(model), mode="loss")
    losses["loss_deep"].backward()
    assert len(runs) == 1
    assert student.head.weight.grad is None
    assert student.early.weight.grad.abs().sum() > 0


class _Early(nn.Module):
    """Runs an exit on the features that pass."""

    def __init__(self, owner):
        super().__init__()
        self.owner = (owner,)

    def forward(self, features):
        self.owner[0].early(features)
        return features


def _preprocessed(model):
    return model.data_preprocessor(segmentation_batch(), True)


def test_no_teacher_may_be_called_student():
    """Its taps would silently read the student."""
    with pytest.raises(UsageError, match="'student' stands for"):
        Distiller(noisy_student(), logits("student:head"), teachers={"student": {"type": "kdhub.EMATeacher"}})


class Oracle(Teacher):
    """Answers with the labels, one-hot, at the students' resolution."""

    def answers(self, batch):
        """Answer."""
        wanted = nn.functional.one_hot(batch["labels"][:, ::2, ::2], 4).permute(0, 3, 1, 2).float()
        return {"scores": wanted, "parts": {"scores": wanted}}

    def fingerprint(self):
        """Identify it."""
        return "oracle"


@pytest.mark.parametrize(
    "tap", ["scores", {"type": "kdhub.ModuleOutput", "path": "parts", "key": "scores"}], ids=["name", "key"]
)
def test_a_teacher_of_ones_own_answers_by_name(tap):
    """People with a server, a rule or a table as a teacher would have to write an nn.Module around it."""
    student = noisy_student()
    model = Distiller(student, logits(tap), teacher={"type": Oracle}, task_weight=0.0)
    losses = model.train()(**_preprocessed(model), mode="loss")
    student.eval()
    batch = segmentation_batch()
    wanted = Oracle().answers(batch)["scores"]
    model.eval()
    torch.manual_seed(0)
    found = Distiller(noisy_student().eval(), logits(tap), teacher=Oracle()).eval()
    expected = (noisy_student().eval()(batch["inputs"]) - wanted).square().mean()
    torch.testing.assert_close(found(**_preprocessed(found), mode="loss")["loss_logits"], expected)
    assert losses["loss_logits"].requires_grad


def test_a_name_that_a_teacher_does_not_answer_is_told():
    """A misspelt name must not end in a KeyError of the teacher's code."""
    model = Distiller(noisy_student(), logits("scorse"), teacher=Oracle())
    with pytest.raises(UsageError, match="scorse") as caught:
        step(model)
    assert "scores" in str(caught.value)


def test_what_is_no_teacher_is_refused():
    """A model in the teacher's place would fail in the first step, in the words of Python."""
    with pytest.raises(UsageError, match="not a teacher"):
        Distiller(noisy_student(), logits(), teacher=ToySegmentor())


class Critic(Teacher):
    """Answers with twice what the student said."""

    batch = "after_student"

    def answers(self, batch):
        """Answer."""
        assert isinstance(batch, AfterStudent)
        self.saw = batch
        return {"better": 2 * batch.student["head"]}

    def fingerprint(self):
        """Identify it."""
        return "critic"


def test_a_teacher_may_be_asked_about_what_the_student_made():
    """Detection on the student's proposals and on-policy text need an answer to this step's output, not to the batch."""
    model = Distiller(noisy_student().eval(), logits("better"), teacher=Critic(), task_weight=0.0)
    losses = model.eval()(**_preprocessed(model), mode="loss")
    said = noisy_student().eval()(segmentation_batch()["inputs"])
    torch.testing.assert_close(losses["loss_logits"], said.square().mean())
    saw = model.teachers["teacher"].saw
    assert not saw.student["head"].requires_grad
    assert set(saw.batch) == {"inputs", "labels"}


def test_a_student_without_labels_learns_from_the_objectives_alone():
    """Unlabelled data is what distillation is best at; a student that insists on labels would keep people from it."""
    model = Distiller(noisy_student(), logits("scores"), teacher=Unlabelled(), student_mode="tensor")
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log = model.train().train_step({"inputs": segmentation_batch()["inputs"]}, wrapper)
    assert set(log) == {"loss", "loss_logits"}


class Unlabelled(Oracle):
    """Says zero."""

    def answers(self, batch):
        """Answer."""
        return {"scores": torch.zeros(2, 4, 8, 8)}


def test_a_mode_that_is_none_is_refused():
    """A student that ran in mode 'predict' would train on class numbers."""
    with pytest.raises(UsageError, match="student_mode"):
        Distiller(noisy_student(), logits("scores"), teacher=Oracle(), student_mode="predict")
