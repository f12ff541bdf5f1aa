"""A loss, an adapter, a student or a batch that does not keep its side is named in one line, with who provides it."""

import re
import types

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from kdhub.distill.distiller import Distiller
from kdhub.distill.fields import batch_field
from kdhub.distill.teachers import ModelTeacher
from kdhub.errors import KdhubError, PluginError, UsageError
from kdhub.plugins import Switches
from kdhub.testing.distributions import fake_distribution
from kdhub.testing.isolation import isolated_plugins
from kdhub.testing.toys import ToySegmentor, segmentation_batch

MANIFEST = """
from kdhub import Component, LossSpec, PluginInfo, hookimpl

@hookimpl
def kdhub_plugin_info():
    return PluginInfo(summary="Faults", api_level=1)

@hookimpl
def kdhub_losses():
    names = ("Vector", "Number", "Nothing", "Whole", "Pair", "Twice", "Raises", "InTorch", "Good")
    for name in names:
        yield LossSpec(name=name, target=f"kdacme.parts:{name}", summary=name)
    yield LossSpec(name="Wants", target="kdacme.parts:Wants", summary="Needs more than it declares")

@hookimpl
def kdhub_adapters():
    for name in ("Drops", "NoLike", "ReturnsNone", "RaisesToo", "WrongWidth"):
        yield Component(kind="adapter", name=name, target=f"kdacme.parts:{name}", summary=name)
"""

PARTS = """
import torch
from torch import nn

class Good(nn.Module):
    def forward(self, student, teacher):
        return (student - teacher).square().mean()

class Vector(nn.Module):
    def forward(self, student, teacher):
        return (student - teacher).square().flatten(1).mean(1)

class Number(nn.Module):
    def forward(self, student, teacher):
        return (student - teacher).square().mean().item()

class Nothing(nn.Module):
    def forward(self, student, teacher):
        (student - teacher).square().mean()

class Whole(nn.Module):
    def forward(self, student, teacher):
        return (student > teacher).sum()

class Pair(nn.Module):
    def forward(self, student, teacher):
        return {"good": (student - teacher).square().mean(), "rate": 0.5}

class Twice(nn.Module):
    def forward(self, student, teacher):
        term = (student - teacher).square().mean()
        return {"loss_edge": term, "edge": term}

class Raises(nn.Module):
    def forward(self, student, teacher):
        raise ValueError("two\\nlines")

class InTorch(nn.Module):
    def forward(self, student, teacher):
        return torch.nn.functional.linear(student, teacher[:, :3]).mean()

class Wants(nn.Module):
    def forward(self, student, teacher, labels):
        return (student - teacher).square().mean()

class Drops(nn.Module):
    def forward(self, value, like):
        return value[1:]

class NoLike(nn.Module):
    def forward(self, value):
        return value

class ReturnsNone(nn.Module):
    def forward(self, value, like):
        self.kept = value

class RaisesToo(nn.Module):
    def forward(self, value, like):
        return value.reshape(-1, 7)

class WrongWidth(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 4)

    def forward(self, value, like):
        return self.map(value)
"""


@pytest.fixture(scope="module", autouse=True)
def acme(tmp_path_factory):
    """A plugin kdacme, of the distribution kdhub-acme 2.3, with every fault once."""
    files = {"kdacme/__init__.py": "", "kdacme/plugin.py": MANIFEST, "kdacme/parts.py": PARTS}
    folder = tmp_path_factory.mktemp("site")
    with (
        fake_distribution(folder, "kdhub-acme", "2.3", files=files, entry_points={"kdacme": "kdacme.plugin"}),
        isolated_plugins(installed=True, switches=Switches(only=frozenset({"kdacme"}))),
    ):
        yield


def step(objective, student=None, batch=None):
    torch.manual_seed(0)
    parts = {"student": "head", "teacher": "head", **objective}
    model = Distiller(student or ToySegmentor(), {"x": parts}, teacher=ModelTeacher(ToySegmentor(width=16)))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    return model.train().train_step(segmentation_batch() if batch is None else batch, wrapper)


def loss(name):
    return {"loss": {"type": f"kdacme.{name}"}}


def adapter(name):
    return {**loss("Good"), "adapter": {"type": f"kdacme.{name}"}}


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (loss("Vector"), r"objectives.x.loss: kdacme.Vector returned \(2,\) float32 where a term.*\.mean\(\)"),
        (loss("Number"), r"kdacme.Number returned \d\.\d+ where a term should be"),
        (loss("Nothing"), "kdacme.Nothing returned None where a term should be"),
        (loss("Whole"), r"kdacme.Whole returned \(\) int64 where a term should be"),
        (loss("Pair"), "kdacme.Pair returned 0.5 where a term should be"),
        (loss("Twice"), "kdacme.Twice returned loss_edge, edge: two terms of one name"),
        (loss("Raises"), r"kdacme.Raises raised ValueError: two lines \(\S+kdacme/parts.py:36\)"),
        (loss("InTorch"), r"kdacme.InTorch raised RuntimeError: .*kdacme/parts.py:40\)"),
        (loss("Wants"), "kdacme.Wants cannot be called with student, teacher: .*'labels'"),
        (adapter("NoLike"), "objectives.x.adapter: kdacme.NoLike cannot be called with value, like"),
        (adapter("ReturnsNone"), "kdacme.ReturnsNone returned NoneType, no tensor"),
        (adapter("RaisesToo"), r"objectives.x.adapter: kdacme.RaisesToo raised RuntimeError: .*parts.py:\d+\)"),
        (
            adapter("WrongWidth"),
            r"kdacme.WrongWidth raised RuntimeError: .*shapes cannot be multiplied.*parts.py:\d+\)",
        ),
        (adapter("Drops"), "objectives.x.adapter: kdacme.Drops made 1 of 2 samples"),
    ],
)
def test_a_plugins_fault_is_one_line_with_its_version(objective, message):
    """A traceback of 84 lines names neither the objective nor whose fault it is, so the wrong people get the report."""
    with pytest.raises(PluginError, match=message) as caught:
        step(objective)
    text = str(caught.value)
    assert text.startswith("plugin 'kdacme' (kdhub-acme 2.3): model.objectives.x.")
    assert "\n" not in text
    if "raised" in message:
        assert caught.value.__cause__ is not None


class Raises(nn.Module):
    """A loss of nobody's plugin."""

    def forward(self, student, teacher):
        raise KeyError("gone")


def test_a_part_of_no_plugin_is_named_by_its_class():
    """One's own class in a config has no distribution; the place and the line are all the more wanted."""
    with pytest.raises(
        UsageError, match=r"model.objectives.x.loss: Raises raised KeyError: 'gone' \(\S+parts.py:\d+\)"
    ):
        step({"loss": {"type": Raises}})


class RunsOut(nn.Module):
    def forward(self, student, teacher):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_no_memory_in_a_loss_is_still_told_as_no_memory():
    """Blamed on the loss, the remedy (smaller batches) would be lost."""
    from kdhub.engine.faults.explained import explained

    with pytest.raises(UsageError, match="out of memory.*take smaller batches"), explained({}, lambda: "kdhub train"):
        step({"loss": {"type": RunsOut}})


class Alone(nn.Module):
    """Compares the student with nothing."""

    def forward(self, student):
        return student.square().mean()


class MaybeTaught(nn.Module):
    def forward(self, student, teacher=None):
        return student.square().mean()


@pytest.mark.parametrize(("kind", "missing"), [(Alone, "no other input"), (MaybeTaught, "no 'teacher' here")])
@pytest.mark.parametrize("name", ["SpatialResize", "TokenPool"])
def test_an_adapter_without_a_partner_is_refused(kind, missing, name):
    """It took the student's own value for the teacher's: it resized to itself and did nothing."""
    objective = {"loss": {"type": kind}, "student": "head", "teacher": None, "adapter": {"type": f"kdhub.{name}"}}
    with pytest.raises(
        UsageError, match=f"objectives.x.adapter: the adapter has nothing to fit 'student' to: .*{missing}"
    ):
        step(objective)


class OtherLosses(ToySegmentor):
    """A student that returns what a test says."""

    def forward(self, inputs, labels=None, mode="tensor"):
        result = super().forward(inputs, labels, mode)
        return self.named(result["loss_ce"]) if mode == "loss" else result


def student(named):
    torch.manual_seed(0)
    model = OtherLosses()
    model.named = named
    return model


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (lambda ce: {"ce": ce}, "student's 'ce' would be logged and never trained.*return it as 'loss_ce'"),
        (lambda ce: {"aux": [ce, ce], "loss_x": ce}, "'aux' would be logged and never trained"),
        (lambda ce: {"loss_ce": ce.item()}, "student's loss 'loss_ce' is no tensor"),
        (lambda ce: None, "returns no losses .*got None"),
        (lambda ce: (ce, ce), "returns no losses"),
        (lambda ce: {"loss": ce, "loss_task": ce}, "both 'loss' and 'loss_task'"),
    ],
)
def test_a_student_loss_that_would_not_be_summed_is_refused(named, message):
    """Mmengine adds up names that hold 'loss': 9.8 % accuracy in the place of 35.4 %, and a log that looks right."""
    with pytest.raises(UsageError, match=message):
        step(loss("Good"), student(named))


def test_what_is_only_logged_may_have_any_name():
    """Accuracies and other figures without a gradient are no losses, and refusing them would refuse mmseg's models."""
    logged = step(loss("Good"), student(lambda ce: {"loss_ce": ce, "acc": ce.detach()}))
    assert set(logged) == {"loss", "loss_ce", "acc", "loss_x"}


def test_the_log_s_loss_is_the_sum():
    """A student loss of the very name 'loss' took the place of the total: curves and best checkpoints of the wrong number."""
    logged = step(loss("Good"), student(lambda ce: {"loss": ce}))
    assert set(logged) == {"loss", "loss_task", "loss_x"}
    torch.testing.assert_close(logged["loss"], logged["loss_task"] + logged["loss_x"])


class NoMode(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)

    def forward(self, inputs, labels):
        return self.head(inputs)


def test_a_forward_without_mode_is_refused_when_it_is_built():
    """It failed in the first step, after the teacher was evaluated, in 60 lines."""
    with pytest.raises(
        UsageError, match=r"model.student: the forward of NoMode takes no `mode`.*got forward\(inputs, labels\)"
    ):
        step(loss("Good"), NoMode())
    with pytest.raises(UsageError, match="model.teacher: the forward of NoMode"):
        Distiller(ToySegmentor(), {}, teacher=ModelTeacher(NoMode()))


def test_a_batch_that_nobody_collated_is_named():
    """Mmengine's default leaves a list of tensors, and a convolution says so in its own words."""
    batch = {name: list(value) for name, value in segmentation_batch().items()}
    with pytest.raises(UsageError, match=r"train_dataloader: .*'inputs' is a list of tensors.*default_collate"):
        step(loss("Good"), batch=batch)


def test_a_batch_of_other_fields_is_named():
    """A data set says `images` where the model's forward says `inputs`: a TypeError deep inside of mmengine."""
    batch = {"images": segmentation_batch()["inputs"]}
    with pytest.raises(UsageError, match=r"ToySegmentor does not take the batch: .*images=\(2, 3, 16, 16\) float32"):
        step(loss("Good"), batch=batch)


class TupleStudent(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)

    def forward(self, inputs, labels, mode="tensor"):
        result = self.head(inputs)
        return {"loss_ce": nn.functional.cross_entropy(result, labels)} if mode == "loss" else result


class Labelled(nn.Module):
    def forward(self, student, teacher, labels):
        assert labels.dtype == torch.int64
        return (student - teacher).square().mean()


@pytest.mark.parametrize("kind", [tuple, list])
def test_an_entry_of_a_tuple_batch_can_be_bound(kind):
    """Torch's own collate function gives lists; labels could not be bound: "expected one of , got"."""
    batch = kind(segmentation_batch().values())
    objective = {"loss": {"type": Labelled}, "student": "head", "teacher": "head", "batch": {"labels": "1"}}
    model = Distiller(TupleStudent(), {"x": objective}, teacher=ModelTeacher(TupleStudent()))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert model.train().train_step(batch, wrapper)["loss_x"] > 0


SAMPLES = [types.SimpleNamespace(label=torch.tensor(1)), types.SimpleNamespace(label=torch.tensor(2))]


@pytest.mark.parametrize(
    ("batch", "path", "message"),
    [
        ({"n": 3}, "n.x", "a path that ends at the int, got int"),
        ({"n": None}, "n.x", "a path that ends at the NoneType"),
        ({"n": "text"}, "n.x", "a path that ends at the str"),
        ({"n": torch.zeros(2)}, "n.shape", "a path that ends at the Tensor"),
        ((torch.zeros(2), torch.ones(2)), "labels", "expected one of 0, 1"),
        ((torch.zeros(2), torch.ones(2)), "2", "expected one of 0, 1"),
        ([], "0", "a path that ends at the list"),
        ({"samples": SAMPLES}, "samples.lable", "did you mean 'label'"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(batch, path, message):
    """`vars()` of a number is a TypeError of Python's, and names neither the path nor the objective."""
    with pytest.raises(UsageError, match="here: the batch has no .*" + message):
        batch_field(batch, path, "here")


def test_numbers_and_names_lead_through_lists():
    """Samples in a list are gone through; a number picks one entry."""
    named = (torch.zeros(2), {"labels": torch.ones(2), 3: torch.ones(1)})
    assert torch.equal(batch_field(named, "1.labels", "here"), torch.ones(2))
    assert torch.equal(batch_field(named, "1.3", "here"), torch.ones(1))
    assert torch.equal(batch_field({"samples": SAMPLES}, "samples.label", "here"), torch.tensor([1, 2]))
    assert torch.equal(batch_field({"samples": tuple(SAMPLES)}, "samples.label", "here"), torch.tensor([1, 2]))
    assert torch.equal(batch_field({"samples": SAMPLES}, "samples.1.label", "here"), torch.tensor(2))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 10), (2, 12)), r"10 and 12 classes.*last 2 of the teacher are padding, .*logits\[:, :10\]"),
        (((2, 12, 3, 3), (2, 10, 3, 3)), r"last 2 of the student are padding.*logits\[:, :10, :, :\]"),
    ],
)
def test_another_number_of_classes_is_not_mended_by_a_learned_map(shapes, message):
    """A Linear over logits mixes the classes: the student's own order is then free, and the loss means nothing."""
    torch.manual_seed(0)
    model = Distiller(
        ToySegmentor(),
        {"x": {"loss": {"type": "kdhub.TemperatureKL"}, "student": "head", "teacher": "head"}},
        teacher=ModelTeacher(ToySegmentor()),
    )
    ours, theirs = (torch.zeros(shape, requires_grad=True) for shape in shapes)
    objective = model.objectives["x"]
    objective.gather = lambda batch: {"student": ours, "teacher": theirs.detach()}
    with pytest.raises(KdhubError, match=message) as caught:
        model._first_adapt([objective], {"x": objective.gather(None)})
    assert not re.search("Linear|Conv1x1", str(caught.value))
