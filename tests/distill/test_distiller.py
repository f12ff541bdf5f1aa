"""The Distiller trains what a hand-written loop would train, and refuses what would train wrongly in silence."""

import copy

import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, PixelData
from torch import nn
from torch.nn import functional

from kdhub.distill.distiller import Distiller
from kdhub.distill.fields import BatchFields
from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import GuardError, UsageError
from kdhub.records import LossSpec
from kdhub.testing.toys import ToyEncoder, ToySegmentor, pair_batch, segmentation_batch


def kl(**options):
    return {"type": "kdhub.TemperatureKL", "temperature": 2.0, "class_axis": 1, **options}


def logits_objective(**options):
    return {"loss": kl(), "student": "head", "teacher": "head", **options}


def distiller(student=None, teacher=None, *, objectives=None, **options):
    torch.manual_seed(1)
    student = student or ToySegmentor()
    if "teachers" not in options:
        torch.manual_seed(2)
        options["teacher"] = ModelTeacher(teacher or ToySegmentor(width=16))
    return Distiller(student, objectives or {"logits": logits_objective()}, **options)


def step(model, batch=None):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return model.train().train_step(batch or segmentation_batch(), wrapper)


def test_three_steps_equal_a_hand_written_loop():
    """Bookkeeping around the mathematics must not change one bit of the trained student."""
    model = distiller()
    student, teacher = copy.deepcopy(model.student), model.teachers["teacher"].model
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    student.train()
    for seed in range(3):
        batch = segmentation_batch(seed=seed)
        step(model, batch)
        ours = student.head(student.backbone(batch["inputs"]))
        with torch.no_grad():
            theirs = teacher(batch["inputs"])
        full = functional.interpolate(ours, size=(16, 16), mode="bilinear", align_corners=False)
        task = functional.cross_entropy(full, batch["labels"], ignore_index=255)
        pairs = functional.kl_div(
            (ours / 2).log_softmax(1), (theirs / 2).log_softmax(1), log_target=True, reduction="none"
        )
        loss = task + 4.0 * pairs.sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, theirs in zip(model.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_every_term_is_logged_under_its_own_name_and_trained():
    """Mmengine drops terms without 'loss' in their key from the total; ours must be trained whatever they are called."""
    model = distiller(objectives={"edges": logits_objective(), "shape": logits_objective(weight=0.5)})
    logged = step(model)
    assert set(logged) == {"loss", "loss_ce", "loss_edges", "loss_shape"}
    torch.testing.assert_close(logged["loss_shape"], logged["loss_edges"] * 0.5)
    torch.testing.assert_close(logged["loss"], logged["loss_ce"] + logged["loss_edges"] + logged["loss_shape"])


def test_teacher_is_neither_optimised_nor_saved_nor_copied():
    """A teacher in the checkpoint doubles its size; one in the optimizer is trained away; one per EMA copy fills memory."""
    model = distiller()
    teacher = model.teachers["teacher"].model
    ours = {id(parameter) for parameter in model.parameters()}
    assert not ours & {id(parameter) for parameter in teacher.parameters()}
    assert all(name.startswith(("student.", "position.")) for name in model.state_dict())
    assert len(model.state_dict()) == len(model.student.state_dict()) + 1
    assert copy.deepcopy(model).teachers["teacher"] is model.teachers["teacher"]
    before = copy.deepcopy(teacher.state_dict())
    step(model)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in before.items())


def test_teacher_stays_in_eval_mode_when_the_student_trains():
    """Dropout in the teacher would blur its answers: two passes over one batch must be equal bit for bit."""
    model = distiller(teacher=ToySegmentor(width=16, dropout=0.5)).train()
    assert not any(module.training for module in model.teachers["teacher"].model.modules())
    batch = segmentation_batch()
    first, second = (model(**model.data_preprocessor(batch, True), mode="loss")["loss_logits"] for _ in range(2))
    assert torch.equal(first, second)


def test_guard_stops_on_a_teacher_in_train_mode():
    """Somebody who wakes the teacher up must hear of it."""
    model = distiller(teacher=ToySegmentor(width=16, dropout=0.5))
    model.teachers["teacher"].model.dropout.train()
    with pytest.raises(GuardError, match="train mode at 'dropout'.*teacher_mode=False"):
        step(model)


class Normalise(BaseDataPreprocessor):
    """Adds a constant to the inputs."""

    def __init__(self, offset):
        super().__init__()
        self.offset = offset

    def forward(self, data, training=False):
        """Shift the inputs."""
        return {**data, "inputs": data["inputs"] + self.offset}


@pytest.mark.parametrize(("batch", "expected"), [("raw", 2.0), ("student", 1.0)])
def test_teacher_has_its_own_preprocessing(batch, expected):
    """A teacher fed with the student's normalisation answers wrongly at a plausible loss."""
    student, teacher = ToySegmentor(), ToySegmentor()
    student.data_preprocessor, teacher.data_preprocessor = Normalise(1.0), Normalise(2.0)
    model = Distiller(student, {"logits": logits_objective()}, teacher=ModelTeacher(teacher, batch=batch))
    data = segmentation_batch()
    seen = model.data_preprocessor(data, True)
    torch.testing.assert_close(seen["student"]["inputs"], data["inputs"] + 1.0)
    torch.testing.assert_close(seen["teachers"]["teacher"]["inputs"], data["inputs"] + expected)


class PadInPlace(BaseDataPreprocessor):
    """Pads images and, as mmseg's does, writes the padded label map into the sample."""

    batch_augments = ("mixup",)

    def forward(self, data, training=False):
        """Pad by 4 in training; mix nothing."""
        assert not (training and self.batch_augments)
        for sample in data["data_samples"]:
            truth = sample.truth.data
            del sample.truth.data  # one of another size is refused otherwise
            sample.truth.data = functional.pad(truth, (0, 4 * training), value=255)
        return {**data, "inputs": functional.pad(data["inputs"], (0, 4 * training))}


def test_raw_teacher_sees_the_frame_of_training_and_leaves_labels_alone():
    """Padded for the student only, the two would compare shifted maps; labels padded by both would grow each step."""
    student, teacher = ToySegmentor(), ToySegmentor()
    student.data_preprocessor, teacher.data_preprocessor = PadInPlace(), PadInPlace()
    student.data_preprocessor.batch_augments = None
    model = Distiller(student, {"logits": logits_objective()}, teacher=ModelTeacher(teacher))
    sample = BaseDataElement(truth=PixelData(data=torch.zeros(1, 16, 16, dtype=torch.long)))
    seen = model.data_preprocessor({"inputs": segmentation_batch()["inputs"], "data_samples": [sample]}, True)
    assert seen["student"]["inputs"].shape == seen["teachers"]["teacher"]["inputs"].shape == (2, 3, 16, 20)
    for batch in (seen["student"], seen["teachers"]["teacher"]):
        assert batch["data_samples"][0].truth.data.shape == (1, 16, 20)


def test_objectives_share_what_they_read_from_the_batch():
    """A mask derived from labels once must serve all objectives: they are given one object."""
    sample = BaseDataElement(truth=PixelData(data=torch.zeros(1, 4, 4)))
    fields = BatchFields({"data_samples": [sample, sample]})
    assert fields.read("data_samples.truth.data", "here") is fields.read("data_samples.truth.data", "there")


def test_two_teachers_each_by_name():
    """With several teachers a path must say whose it is, and each objective must hear the one it names."""
    teachers = {"wide": ModelTeacher(ToySegmentor(width=16)), "narrow": ModelTeacher(ToySegmentor(width=4))}
    objectives = {name: logits_objective(teacher=f"{name}:head") for name in teachers}
    logged = step(distiller(objectives=objectives, teachers=teachers))
    assert not torch.equal(logged["loss_wide"], logged["loss_narrow"])
    with pytest.raises(UsageError, match="several teachers"):
        distiller(teachers=teachers)
    with pytest.raises(UsageError, match="did you mean 'wide'"):
        distiller(objectives={"x": logits_objective(teacher="wied:head")}, teachers=teachers)


def test_shape_probe_proposes_an_adapter_that_works_when_pasted():
    """Different widths and strides must end in one message with the remedy, before anything is trained."""
    feature = {"loss": {"type": "kdhub.MSE"}, "student": "backbone", "teacher": "backbone"}
    options = {"student": ToySegmentor(stride=4), "teacher": ToySegmentor(width=16)}
    with pytest.raises(UsageError, match="model.objectives.feature.adapter=") as caught:
        step(distiller(objectives={"feature": feature}, **options))
    fragment = str(caught.value).split("adapter=")[1]
    feature["adapter"] = eval(fragment)
    logged = step(distiller(objectives={"feature": feature}, **options))
    assert logged["loss_feature"] > 0


def test_shape_probe_names_all_mismatches_at_once():
    """A user with two wrong objectives must not find the second after mending the first."""
    feature = {"loss": {"type": "kdhub.MSE"}, "student": "backbone", "teacher": "backbone"}
    with pytest.raises(UsageError, match="2 objectives cannot"):
        step(distiller(objectives={"one": feature, "two": feature}))


def test_adapters_train_with_the_student():
    """An adapter outside the optimizer would stay random, and the student would follow noise."""
    adapter = [{"type": "kdhub.Conv1x1", "in_channels": 8, "out_channels": 16}]
    feature = {"loss": {"type": "kdhub.MSE"}, "student": "backbone", "teacher": "backbone", "adapter": adapter}
    model = distiller(objectives={"feature": feature})
    before = copy.deepcopy(model.objectives.state_dict())
    step(model)
    assert before
    assert any(not torch.equal(value, model.objectives.state_dict()[name]) for name, value in before.items())


def test_weight_schedule_moves_and_survives_a_checkpoint():
    """A schedule that restarts at zero on resume trains with other weights than the unbroken run."""
    schedule = {"type": "kdhub.LinearSchedule", "start": 0.0, "end": 1.0, "steps": 4}
    model = distiller(objectives={"logits": logits_objective(weight=schedule)})
    assert step(model)["loss_logits"] == 0
    assert step(model)["loss_logits"] > 0
    resumed = distiller(objectives={"logits": logits_objective(weight=schedule)})
    resumed.load_state_dict(model.state_dict())
    assert resumed.position.step == 2
    torch.testing.assert_close(step(resumed)["loss_logits"], step(model)["loss_logits"])


def test_a_schedule_drives_a_number_of_the_loss():
    """Schedules are promised wherever a scalar stands, so a temperature must move with the step."""
    temperature = {"type": "kdhub.LinearSchedule", "start": 4.0, "end": 1.0, "steps": 3}
    model = distiller(objectives={"logits": logits_objective(loss=kl(temperature=temperature))})
    seen = []
    for _ in range(4):
        step(model)
        seen.append(model.objectives["logits"].loss.temperature)
    assert seen == pytest.approx([4.0, 3.0, 2.0, 1.0])


def test_validation_does_not_advance_schedules():
    """A loss computed in eval mode, say for early stopping, must not move the schedules."""
    model = distiller().eval()
    model(**model.data_preprocessor(segmentation_batch(), False), mode="loss")
    assert model.position.step == 0


def test_guard_stops_on_a_term_that_is_zero():
    """A student tapped on both sides gives a loss of exactly 0 for ever; no peer says so."""
    student = ToySegmentor()
    model = distiller(student=student, teacher=copy.deepcopy(student), task_weight=0.0)
    with pytest.raises(GuardError, match=r"loss_logits was exactly 0 in each of the first 3 steps.*zero_term=0"):
        for _ in range(3):
            step(model)


def test_guard_stops_on_a_term_that_is_not_finite():
    """NaN must stop the run at its first step, with the name of the term."""
    model = distiller()
    nn.init.constant_(model.teachers["teacher"].model.head.weight, float("nan"))
    with pytest.raises(UsageError, match=r"loss_logits is nan|NaN"):
        step(model)


def test_guards_can_be_silenced():
    """Each guard's message promises a way to silence it."""
    student = ToySegmentor()
    model = distiller(student=student, teacher=copy.deepcopy(student), task_weight=0.0, guards={"zero_term": 0})
    for _ in range(4):
        step(model)
    woken = distiller(teacher=ToySegmentor(width=16, dropout=0.5), guards={"teacher_mode": False})
    woken.teachers["teacher"].model.train()
    step(woken)


def test_a_silent_tap_stops_or_is_skipped():
    """A tap that never fires must stop the run, or, when silenced, skip just its objective."""
    objectives = {"dead": logits_objective(student="unused"), "logits": logits_objective()}

    def student():
        model = ToySegmentor()
        model.unused = nn.Conv2d(8, 4, 1)
        return model

    with pytest.raises(GuardError, match=r"unused.*never fired"):
        step(distiller(student=student(), objectives=objectives))
    logged = step(distiller(student=student(), objectives=objectives, guards={"silent_tap": False}))
    assert "loss_dead" not in logged
    assert "loss_logits" in logged


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (("road", "sky", "car"), "the same classes in another order: class 0 is 'road' there and 'sky'"),
        (("sky", "road", "bus"), "other classes: class 2 is 'bus'"),
    ],
)
def test_class_names_must_agree_in_order(teacher, message):
    """Equal shapes with differently ordered classes teach the wrong classes at a plausible loss."""
    model = Distiller(
        ToySegmentor(), {"logits": logits_objective()}, teacher=ModelTeacher(ToySegmentor(), class_names=teacher)
    )
    with pytest.raises(GuardError, match=message):
        model.check_class_names(("sky", "road", "car"))
    model.check_class_names(teacher)


def test_batch_fields_reach_the_loss():
    """A mask that stands in the batch must reach the loss: without it padded candidates would be distilled."""
    torch.manual_seed(0)
    student, teacher = ToyEncoder(), ToyEncoder()
    mask = torch.ones(8, 8, dtype=torch.bool)
    mask[:, 6:] = False

    def loss(batch_field, **fields):
        objective = {"loss": kl(class_axis=-1), "student": "score", "teacher": "score", "batch": batch_field}
        model = Distiller(copy.deepcopy(student), {"score": objective}, teacher=ModelTeacher(teacher))
        return step(model, {**pair_batch(), **fields})["loss_score"]

    masked, whole = loss({"mask": "mask"}, mask=mask), loss({"mask": "mask"}, mask=torch.ones_like(mask))
    assert torch.equal(whole, loss({}))
    assert not torch.equal(masked, whole)
    with pytest.raises(UsageError, match="no 'mask'.*one of query, document"):
        loss({"mask": "mask"})


def test_methods_called_once_per_column_are_joined():
    """A two-column encoder embeds twice in a forward; both columns must be distilled."""
    tap = {"type": "kdhub.MethodOutput", "path": "embed", "call": "cat"}
    objective = {"loss": {"type": "kdhub.Cosine"}, "student": tap, "teacher": tap}
    model, batch = (
        distiller(student=ToyEncoder(), teacher=ToyEncoder(), objectives={"embedding": objective}),
        pair_batch(),
    )
    sides = (model.student, model.teachers["teacher"].model)
    with torch.no_grad():
        ours, theirs = (torch.cat([one.embed(batch[name]) for name in ("query", "document")]) for one in sides)
    expected = (1 - functional.cosine_similarity(ours, theirs)).mean()
    torch.testing.assert_close(step(model, batch)["loss_embedding"], expected)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"loss": kl(), "student": "head"}, "loss input 'teacher' is not connected"),
        ({"loss": kl(), "student": "head", "teacher": "head", "wieght": 2.0}, "did you mean 'weight'"),
        ({"loss": kl(temprature=1.0), "student": "head", "teacher": "head"}, "temperature"),
        ({"loss": {"type": "kdhub.TemperatureLK"}, "student": "head", "teacher": "head"}, "TemperatureKL"),
        ({"loss": {"type": "kdhub.Conv1x1"}, "student": "head", "teacher": "head"}, "adapter"),
        ({"loss": kl(), "student": {"studnet": "head"}, "teacher": "head"}, "did you mean 'student'"),
        ({"student": "head", "teacher": "head"}, "no 'loss'"),
        (logits_objective(batch="labels"), "objectives.logits.batch: not a dict of loss input to path"),
        (logits_objective(batch={"mask": 3}), "objectives.logits.batch: not a dict of loss input to path"),
        (logits_objective(adapter={"student": 5}), "objectives.logits.adapter: int is no torch.nn.Module"),
        (logits_objective(loss=5), "objectives.logits.loss: int is no torch.nn.Module"),
        (logits_objective(student=5), "objectives.logits.student: not a tap"),
        (logits_objective(weight="1"), "objectives.logits.weight: not a number or a schedule"),
    ],
)
def test_a_wrong_objective_says_what_is_wrong(objective, message):
    """Mistakes in an objective must be found while it is built, with the nearest right name."""
    with pytest.raises(UsageError, match=message):
        distiller(objectives={"logits": objective})


def test_autocast_does_not_reach_the_arithmetic_of_a_term():
    """KD terms in bfloat16 lose two of three digits; they are computed in float32 under autocast."""
    model = distiller().train()
    batch = model.data_preprocessor(segmentation_batch(), True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, mode="loss")["loss_logits"]
    assert loss.dtype is torch.float32


def test_autocast_does_not_reach_the_teacher():
    """A teacher that inherits the student's precision gives other answers when only the student's flags change."""
    model = distiller().train()
    tap = model.objectives["logits"].teacher_taps["teacher"][1]
    teacher = model.teachers["teacher"]
    with torch.autocast("cpu", torch.bfloat16):
        teacher.values(segmentation_batch(), [tap], check_mode=True)
    assert tap.read().dtype is torch.float32


@MODELS.register_module(force=True)
class PreparedSegmentor(ToySegmentor):
    """A segmentor with a preprocessor, as mmseg's are."""

    def __init__(self, data_preprocessor=None):
        super().__init__()
        self.data_preprocessor = MODELS.build(data_preprocessor or {"type": "BaseDataPreprocessor"})


@pytest.mark.parametrize("own", [{}, {"data_preprocessor": {"type": "BaseDataPreprocessor"}}], ids=["none", "own"])
def test_a_preprocessor_at_the_top_of_a_config_is_the_students(own):
    """The Runner gives it to the model as an argument: every config on mmseg's tree died with a TypeError."""
    at_the_top = {"type": "ImgDataPreprocessor", "pad_value": 7}
    model = distiller({"type": "PreparedSegmentor", **own}, data_preprocessor=at_the_top)
    expected = "BaseDataPreprocessor" if own else "ImgDataPreprocessor"
    assert type(model.student.data_preprocessor).__name__ == expected
    assert type(model.data_preprocessor).__name__ == "DistillPreprocessor"


def test_student_must_be_an_mmengine_model():
    """A plain module has no modes and no preprocessing; the error must say what to do about it."""
    with pytest.raises(UsageError, match="not an mmengine BaseModel"):
        Distiller(nn.Linear(1, 1), {})


def test_fingerprint_tells_teachers_apart():
    """A resumed run must notice another teacher: other weights give another fingerprint, equal ones the same."""
    torch.manual_seed(0)
    first = ToySegmentor()
    second = copy.deepcopy(first)
    assert ModelTeacher(first).fingerprint() == ModelTeacher(second).fingerprint()
    with torch.no_grad():
        second.head.bias[0] += 1e-3
    assert ModelTeacher(first).fingerprint() != ModelTeacher(second).fingerprint()


def test_an_objective_cannot_replace_the_students_own_loss():
    """An objective called 'ce' would take the place of the student's loss_ce, and supervision would be gone."""
    with pytest.raises(UsageError, match="two losses are called 'loss_ce'"):
        step(distiller(objectives={"ce": logits_objective()}))


def test_guard_stops_on_a_value_without_gradient():
    """A tap on a frozen stage gives a loss that looks alive, all the more behind an adapter that learns alone."""
    student = ToySegmentor()
    student.backbone.requires_grad_(False)
    adapter = {"type": "kdhub.Conv1x1", "in_channels": 8, "out_channels": 16}
    feature = {"loss": {"type": "kdhub.MSE"}, "student": "backbone", "teacher": "backbone", "adapter": adapter}
    with pytest.raises(GuardError, match="carries no gradient.*no_gradient=False"):
        step(distiller(student=student, objectives={"feature": feature}))
    step(distiller(student=student, objectives={"feature": feature}, guards={"no_gradient": False}))


class TwoTerms(nn.Module):
    """Two terms, each with a weight of its own."""

    def __init__(self, first=1.0, second=1.0):
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, student, teacher):
        return {"first": self.first * (student - teacher).square().mean(), "second": self.second * self._other(student)}

    def _other(self, student):
        return student.abs().mean()


class OneDead(TwoTerms):
    def _other(self, student):
        return 0.0 * student.mean()


LATE = {"type": "kdhub.LinearSchedule", "start": 0.0, "end": 1.0, "steps": 3, "begin": 4}


@pytest.mark.parametrize("off", [0, 0.0, LATE])
def test_a_term_that_a_number_of_its_loss_holds_at_zero_is_no_silent_term(off):
    """A term that a schedule lets in later, or an ablation, is zero on purpose; stopping it would forbid both."""
    model = distiller(objectives={"logits": logits_objective(loss={"type": TwoTerms, "first": off})})
    for _ in range(5):
        step(model)


@pytest.mark.parametrize("off", [0, LATE])
def test_a_number_at_zero_excuses_its_own_term_alone(off):
    """One scheduled weight must not hide that another term of the same loss trains nothing."""
    model = distiller(objectives={"logits": logits_objective(loss={"type": OneDead, "first": off})})
    with pytest.raises(GuardError, match="loss_logits_second was exactly 0 in each of the first 3 steps"):
        for _ in range(3):
            step(model)


def test_a_term_without_a_weight_is_watched_once_it_has_one():
    """The weight is 0 in the first steps of a warm-up, and the term is as dead afterwards."""
    weight = {"type": "kdhub.LinearSchedule", "start": 0.0, "end": 1.0, "steps": 1, "begin": 5}
    dead = logits_objective(loss={"type": OneDead}, weight=weight)
    model = distiller(objectives={"logits": dead})
    for _ in range(8):
        step(model)
    with pytest.raises(GuardError, match="loss_logits_second was exactly 0"):
        step(model)


@pytest.mark.parametrize("objectives", [{}, None, {"off": None}, {"off": logits_objective(weight=0)}])
def test_objectives_that_are_switched_off_leave_the_student_alone(objectives):
    """`model.objectives={}`, NAME=None and weight=0 are the ablation that people want; refused, they edit the config."""
    torch.manual_seed(1)
    model = Distiller(ToySegmentor(), objectives, teacher=ModelTeacher(ToySegmentor()))
    assert not list(model.objectives.parameters())
    assert set(step(model)) == {"loss", "loss_ce"}


@pytest.mark.parametrize("name", ["values", "keys", "type", "train", "forward", "items", "add_module"])
def test_an_objective_may_have_the_name_of_a_method(name):
    """Torch's own containers refuse such names with "attribute 'values' already exists" and no place."""
    adapter = {"type": "kdhub.Conv1x1", "in_channels": 8, "out_channels": 16}
    feature = {"loss": {"type": "kdhub.MSE"}, "student": "backbone", "teacher": "backbone", "adapter": adapter}
    model = distiller(objectives={name: feature})
    before = copy.deepcopy(model.objectives.state_dict())
    assert f"loss_{name}" in step(model)
    assert all(key.startswith(f"{name}.adapters.") for key in before)
    assert any(not torch.equal(value, model.state_dict()[f"objectives.{key}"]) for key, value in before.items())
    copy.deepcopy(model).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"a.b": logits_objective()}, "model.objectives.a.b: an objective cannot have this name"),
        ({"": logits_objective()}, "cannot have this name"),
        ({3: logits_objective()}, "cannot have this name"),
        ({"training": logits_objective()}, "objectives.training: an objective cannot have this name.*not 'training'"),
        ({"logits": "head"}, "model.objectives.logits: not an objective"),
        ([logits_objective()], "model.objectives: not a dict of name to objective"),
    ],
)
def test_what_is_no_objective_is_refused_with_its_place(objectives, message):
    """A list or a name that torch cannot hold must not end in a traceback from inside of torch."""
    with pytest.raises(UsageError, match=message):
        distiller(objectives=objectives)


def test_a_teacher_that_runs_under_inference_mode_is_read():
    """Many `encode` and `predict` methods are decorated so; their tensors have no version counter to compare."""
    teacher = ToySegmentor(width=16)
    forward = teacher.forward

    def under_inference_mode(*args, **options):
        with torch.inference_mode():
            return forward(*args, **options)

    teacher.forward = under_inference_mode
    model = distiller(teacher=teacher)
    for _ in range(3):
        assert step(model)["loss_logits"] > 0


def test_a_loss_may_view_what_a_teacher_laid_out_otherwise():
    """Channels last is a teacher's own business; `view(B, -1)` in somebody's loss would fail with one and not with another."""
    teacher = ToySegmentor(width=16)
    teacher.head.register_forward_hook(lambda _m, _i, out: out.to(memory_format=torch.channels_last))
    model = distiller(teacher=teacher)
    model.objectives["logits"].loss.forward = lambda student, teacher: (
        (student.flatten(1) - teacher.view(len(teacher), -1)).square().mean()
    )
    assert step(model)["loss_logits"] > 0


class TwoFeatures(nn.Module):
    """A loss with two inputs on each side."""

    def forward(self, student_low, student_high, teacher_low, teacher_high):
        return (student_low - teacher_low).square().mean() + (student_high - teacher_high).square().mean()


def test_the_remedy_for_several_inputs_works_when_pasted(monkeypatch):
    """One fragment an input cannot be pasted twice under one key."""
    spec = LossSpec(
        name="TwoFeatures",
        target="tests.two:TwoFeatures",
        summary="Two pairs",
        inputs=("student_low", "student_high", "teacher_low", "teacher_high"),
    )
    monkeypatch.setattr("kdhub.distill.objective.loss_spec", lambda loss: spec)
    sides = {
        side: {f"{side}_low": "backbone.0", f"{side}_high": {"type": "kdhub.ModuleOutput", "path": "backbone"}}
        for side in ("student", "teacher")
    }
    two = {"loss": TwoFeatures(), **sides}
    with pytest.raises(UsageError, match="1 objective cannot") as caught:
        step(distiller(objectives={"two": two}))
    two["adapter"] = eval(str(caught.value).split("adapter=")[1])
    assert set(two["adapter"]) == {"student_low", "student_high"}
    assert step(distiller(objectives={"two": two}))["loss_two"] > 0


def test_fingerprint_is_the_same_in_every_process():
    """A config may hold functions; their addresses differ in each process, and resume would refuse the same teacher."""
    config = {"type": ToySegmentor, "width": 8, "classes": 4}
    torch.manual_seed(0)
    first = ModelTeacher(config)
    assert first.fingerprint().split(".config-")[1] == ModelTeacher(config).fingerprint().split(".config-")[1]
