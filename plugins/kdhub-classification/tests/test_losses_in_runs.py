"""The losses of kdcls inside a distiller: bound without configuration, and stopped by the guards that they count on."""

import pytest
import torch
from mmengine.registry import MODELS

from kdcls.digits import Digits
from kdhub.api import GuardError, UsageError, init

LOGITS = {"PLD": 1.0, "DKD": 1.0, "OFAKD": 1.0, "SinKD": 1e-3, "BinaryKL": 0.1, "RescaledKL": 1.0}


def net(width, classes=10):
    return {"type": "kdhub.TorchModel", "net": {"type": "kdcls.DigitNet", "width": width, "num_classes": classes}}


def distiller(objective, teacher=None, **more):
    """A narrow student and a wide teacher, both with random weights."""
    init()
    student = {**net(4), "criterion": {"type": "torch.nn.CrossEntropyLoss"}}
    taught = {"type": "kdhub.ModelTeacher", "model": net(8), "own_weights": True, **(teacher or {})}
    cfg = {"type": "kdhub.Distiller", "student": student, "teacher": taught, "objectives": {"one": objective}, **more}
    return MODELS.build(cfg)


def losses(model):
    data = Digits()
    batch = {name: torch.stack([data[index][name] for index in range(8)]) for name in ("inputs", "labels")}
    return model(**model.data_preprocessor(batch, training=True), mode="loss")


@pytest.mark.parametrize("name", LOGITS)
def test_a_loss_on_logits_needs_no_configuration(name):
    """Labels are found in the batch of every `TorchModel`; a place that each config must name is a place to be misspelt."""
    model = distiller(
        {"loss": {"type": f"kdcls.{name}"}, "student": "classifier", "teacher": "classifier", "weight": LOGITS[name]}
    )
    found = losses(model)
    sum(found.values()).backward()
    assert found["loss_one"].isfinite()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_attention_and_angles_need_no_adapter():
    """Channels and widths differ between any two nets; these two losses are chosen because it does not matter to them."""
    for name in ("AttentionTransfer", "AngleRelational"):
        found = losses(distiller({"loss": {"type": f"kdcls.{name}"}, "student": "features.3", "teacher": "features.3"}))
        assert found["loss_one"] > 0


@pytest.mark.parametrize("name", LOGITS)
def test_a_teacher_with_its_classes_in_another_order_is_refused(name):
    """The losses fall all the same, and the student learns to take threes for eights."""
    objective = {"loss": {"type": f"kdcls.{name}"}, "student": "classifier", "teacher": "classifier"}
    model = distiller(objective, teacher={"class_names": tuple("1023456789")})
    with pytest.raises(GuardError, match="class"):
        model.check_class_names(Digits.metainfo["classes"])
    distiller(objective, teacher={"class_names": tuple("0123456789")}).check_class_names(tuple("0123456789"))


@pytest.mark.parametrize("name", LOGITS)
def test_a_teacher_of_more_classes_is_refused(name):
    """No adapter can say which of 11 classes is which of 10."""
    objective = {"loss": {"type": f"kdcls.{name}"}, "student": "classifier", "teacher": "classifier"}
    with pytest.raises(UsageError, match="class"):
        losses(distiller(objective, teacher={"model": net(8, classes=11)}))
