"""The first steps prove that each term teaches the student, and name what stops it: loss or adapter."""

import copy
import threading

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from kdhub.distill.adapters import Conv1x1
from kdhub.distill.distiller import Distiller
from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import GuardError, UsageError
from kdhub.testing.toys import ToySegmentor, segmentation_batch


class Squares(nn.Module):
    """A sound loss."""

    def forward(self, student, teacher):
        return (student - teacher).square().mean()


class DetachingLoss(Squares):
    def forward(self, student, teacher):
        return super().forward(student.detach(), teacher)


class DetachingLossThatLearns(Squares):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher):
        return super().forward(self.scale * student.detach(), teacher)


class OneTermDetaches(Squares):
    def forward(self, student, teacher):
        return {"good": super().forward(student, teacher), "bad": super().forward(student.detach(), teacher)}


class OneTermHears(OneTermDetaches):
    """Its dead term trains nothing, and differs with the student: a `.detach()` too many."""

    def forward(self, student, teacher):
        terms = super().forward(student, teacher)
        return {**terms, "regulariser": torch.ones((), requires_grad=True)}


class Regularised(Squares):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher):
        terms = {"regulariser": self.scale.square(), "constant": torch.ones(())}
        return terms | {"teaches": super().forward(self.scale * student, teacher)}


class Adversarial(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Conv2d(16, 1, 1)

    def forward(self, student, teacher):
        critic = self.critic(student.detach()).mean() - self.critic(teacher).mean()
        return {"critic": critic, "student": -self.critic(student).mean()}


class RegularisesOnly(DetachingLossThatLearns):
    def forward(self, student, teacher):
        return {"dead": super().forward(student, teacher), "regulariser": self.scale.square()}


class Hinge(nn.Module):
    """Pulls once the student is far from the teacher, which it is not yet."""

    def __init__(self, margin=100.0):
        super().__init__()
        self.margin = margin

    def forward(self, student, teacher):
        return {"hinge": torch.relu((student - teacher).sum() - self.margin), "teaches": student.mean()}


class NothingCounts(nn.Module):
    def forward(self, student, teacher):
        return {"masked": ((student - teacher) * torch.zeros(1)).square().mean(), "teaches": student.mean()}


class RoundingLoss(Squares):
    def forward(self, student, teacher):
        return super().forward(student.round(), teacher)


class ForgetsOneOfTwo(nn.Module):
    def forward(self, student_low, student_high, teacher_low, teacher_high):
        low = (student_low - teacher_low).square().mean()
        return low + (student_high.detach() - teacher_high).square().mean()


class TinyLoss(Squares):
    """Its gradient vanishes in bfloat16's smaller brother unless it is scaled."""

    def forward(self, student, teacher):
        return 1e-9 * super().forward(student, teacher)


class Widen(Conv1x1):
    """A sound adapter from 8 to 16 channels."""

    def __init__(self):
        super().__init__(8, 16)


class DetachingAdapter(Widen):
    def forward(self, value, like):
        return super().forward(value.detach(), like)


class NoGradAdapter(Widen):
    def forward(self, value, like):
        with torch.no_grad():
            return super().forward(value, like)


class MixesLike(Widen):
    def forward(self, value, like):
        return super().forward(value, like) + 0.5 * like


class ScalesByLike(Widen):
    def forward(self, value, like):
        return super().forward(value, like) * like.std()


class RandomAdapter(Widen):
    """Sound, and with all kinds of state: dropout, running statistics, numpy's random numbers."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(16)

    def forward(self, value, like):
        noise = torch.from_numpy(np.random.rand(1)).float()
        return nn.functional.dropout(self.norm(super().forward(value, like)), 0.5) + noise


class BeginsAtZero(Widen):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.projection.weight)


def model_of(loss=Squares, adapter=Widen, **options):
    torch.manual_seed(0)
    objective = {"loss": {"type": loss}, "student": "backbone", "teacher": "backbone", "adapter": {"type": adapter}}
    guards = options.pop("guards", None)
    teacher = ModelTeacher(ToySegmentor(width=16))
    return Distiller(ToySegmentor(), {"feature": {**objective, **options}}, teacher=teacher, guards=guards).train()


def steps(model, count=1, **options):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01), **options)
    for seed in range(count):
        model.train_step(segmentation_batch(seed=seed), wrapper)
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss": DetachingLoss},
            r"feature\.loss: loss_feature teaches the student nothing: the loss \(DetachingLoss\)",
        ),
        ({"loss": DetachingLossThatLearns}, r"feature\.loss: .*the loss \(DetachingLossThatLearns\)"),
        ({"loss": OneTermDetaches}, r"loss_feature_bad teaches the student nothing: the loss"),
        ({"loss": OneTermHears}, r"loss_feature_bad teaches the student nothing: the loss"),
        ({"loss": RegularisesOnly}, r"loss_feature_dead teaches the student nothing: the loss"),
        ({"loss": Regularised, "adapter": DetachingAdapter}, r"feature\.adapter: .*adapter's result"),
        (
            {"adapter": DetachingAdapter},
            r"feature\.adapter: .*adapter's result \(DetachingAdapter\).*adapter would learn",
        ),
        ({"adapter": NoGradAdapter}, r"feature\.adapter: .*\(NoGradAdapter\)"),
        ({"adapter": MixesLike}, r"feature\.adapter: the adapter \(MixesLike\) mixes"),
        ({"adapter": ScalesByLike}, r"\(ScalesByLike\) mixes"),
    ],
)
def test_what_stops_the_gradient_is_named_in_the_first_step(options, message):
    """Such a run ends with exit 0, and its curve even falls, as the adapter learns alone; nothing is distilled."""
    with pytest.raises(GuardError, match=message + ".*no_gradient=False"):
        steps(model_of(**options))
    steps(model_of(guards={"no_gradient": False}, **options))


def test_every_student_input_must_be_reached():
    """A loss of two student values that detaches one trains half of what its curve shows."""
    sides = {
        side: {f"{side}_low": "backbone.0", f"{side}_high": {"type": "kdhub.ModuleOutput", "path": "backbone"}}
        for side in ("student", "teacher")
    }
    model = Distiller(
        ToySegmentor(), {"two": {"loss": {"type": ForgetsOneOfTwo}, **sides}}, teacher=ModelTeacher(ToySegmentor())
    )
    with pytest.raises(GuardError, match=r"two\.loss: .*student_high.*ForgetsOneOfTwo"):
        steps(model.train())


def test_a_gradient_that_stays_zero_is_found_in_the_third_step():
    """Rounding and argmax keep the graph and send nothing through it: one batch may be so by chance, three are not."""
    model = steps(model_of(RoundingLoss), 2)
    with pytest.raises(GuardError, match="loss_feature is not 0, and its gradient.*first 3 updates"):
        steps(model)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adapter": BeginsAtZero},
        {"loss": TinyLoss},
        {"adapter": RandomAdapter},
        {"loss": Regularised},
        {"loss": Adversarial},
    ],
)
def test_sound_parts_pass(options):
    """A guard that stops a sound run is switched off by its user, and then guards nothing."""
    steps(model_of(**options), 5)
    steps(model_of(**options), 4, accumulative_counts=2)


def test_a_hinge_that_is_satisfied_is_named_once(monkeypatch):
    """A sound hinge was refused, and its user turned the guard off for all terms, the dead ones too."""
    said = []
    monkeypatch.setattr("kdhub.distill.guards.print_log", lambda text, *_: said.append(text))
    steps(model_of(loss=Hinge), 5)
    assert len(said) == 1
    assert "loss_feature_hinge was exactly 0 in each of the first 3 steps" in said[0]


def test_a_zero_that_no_values_of_the_student_would_move_is_refused():
    """An empty mask is 0 for ever; only a hinge may wait."""
    with pytest.raises(GuardError, match="loss_feature_masked was exactly 0 in each of the first 3 steps"):
        steps(model_of(loss=NothingCounts), 3)


def test_a_gradient_too_small_for_half_precision_is_one():
    """In float16 the gradient of a mean over many entries is 0 before the scaler of mixed precision acts."""
    model = model_of(TinyLoss)
    with torch.autocast("cpu", torch.bfloat16):
        steps(model, 4)


def test_a_term_is_proven_when_it_first_has_a_weight():
    """With a warm-up the first step says nothing about a term, and later nobody looks."""
    weight = {"type": "kdhub.LinearSchedule", "start": 0.0, "end": 1.0, "steps": 1, "begin": 2}
    model = steps(model_of(DetachingLoss, weight=weight), 3)
    with pytest.raises(GuardError, match="teaches the student nothing"):
        steps(model)


def test_the_proof_changes_nothing_that_is_trained():
    """Random numbers, running statistics or summing in another order would make a guarded run another run."""
    runs = []
    for guards in ({"no_gradient": True}, {"no_gradient": False}):
        np.random.seed(0)
        model = model_of(adapter=RandomAdapter, guards=guards)
        steps(model, 3)
        runs.append((model.state_dict(), torch.rand(1), np.random.rand()))
    assert all(torch.equal(value, runs[1][0][name]) for name, value in runs[0][0].items())
    assert runs[0][1:] == runs[1][1:]


def test_what_is_proven_goes_into_a_checkpoint():
    """A resumed run must count on where it was, and not begin its three steps anew at each resume."""
    model = steps(model_of(RoundingLoss), 2)
    resumed = model_of(RoundingLoss)
    resumed.load_guard_state(copy.deepcopy(model.guard_state()))
    with pytest.raises(GuardError, match="first 3 updates"):
        steps(resumed)


class KeepsItsResult(Widen):
    def forward(self, value, like):
        self.last = [super().forward(value, like)]
        return self.last[0]


class WeightNormed(nn.Module):
    def __init__(self):
        super().__init__()
        with pytest.warns(FutureWarning, match="weight_norm"):
            self.projection = nn.utils.weight_norm(nn.Conv2d(8, 16, 1))

    def forward(self, value, like):
        return self.projection(value)


class HoldsALock(Widen):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class KeepsAndIsHeldAtZero(Squares):
    def __init__(self, factor=0.0):
        super().__init__()
        self.factor, self.queue = factor, []

    def forward(self, student, teacher):
        self.queue.append(student)
        return {"live": super().forward(student, teacher), "later": self.factor * student.square().mean()}


class CheckpointsReentrantly(Squares):
    def forward(self, student, teacher):
        return torch.utils.checkpoint.checkpoint(super().forward, student, teacher, use_reentrant=True)


@pytest.mark.parametrize(
    "options",
    [
        {"adapter": KeepsItsResult},
        {"adapter": WeightNormed},
        {"adapter": HoldsALock},
        {"loss": KeepsAndIsHeldAtZero},
        {"loss": CheckpointsReentrantly},
    ],
)
def test_parts_that_keep_what_they_computed_train(options):
    """The proof works on copies, and torch copies no tensor with a graph: sound adapters and losses ended in a traceback."""
    steps(model_of(**options), 4)


def test_an_adapter_that_begins_at_zero_stays_there_while_gradients_accumulate():
    """Until the first update its gradient is 0: five accumulated steps are no proof that it trains nothing."""
    model = steps(model_of(adapter=BeginsAtZero), 6, accumulative_counts=5)
    assert model._watch.guards.no_gradient
    with pytest.raises(GuardError, match="gradient at what the taps read .* exactly 0"):
        steps(model_of(loss=RoundingLoss), 6, accumulative_counts=2)


class Pairs(nn.Module):
    def forward(self, value, like):
        pooled = value.mean((2, 3))
        return (pooled.unsqueeze(1) - pooled).flatten(0, 1)


class Lengths(nn.Module):
    def forward(self, student, teacher):
        return (student.square().sum(1) - teacher.square().sum(1)).square().mean()


def test_both_sides_may_be_brought_to_another_number_of_samples():
    """Pairs of samples on both sides are still comparable; only one side alone loses its partner."""
    pairs = {"type": Pairs}
    steps(with_adapters(student=pairs, teacher=pairs))
    with pytest.raises(UsageError, match="Pairs made 4 of 2 samples"):
        steps(with_adapters(student=pairs))


def with_adapters(**adapters):
    objective = {"loss": {"type": Lengths}, "student": "backbone", "teacher": "backbone", "adapter": adapters}
    return Distiller(ToySegmentor(), {"pairs": objective}, teacher=ModelTeacher(ToySegmentor(width=16))).train()
