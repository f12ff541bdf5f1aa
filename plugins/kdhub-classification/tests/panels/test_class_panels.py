"""`PanelHook`: what is drawn of hand-made answers, and a run whose report holds it."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from kdcls.panels.answers import Answers, ask, changed
from kdcls.panels.draw import Card, draw_cards, draw_reliability
from kdcls.panels.hook import PanelHook
from kdhub.config import load_config
from kdhub.engine.alone import train_with_alone
from kdhub.engine.train import train
from kdhub.errors import UsageError

FEW = [
    "train_cfg.max_epochs=1",
    "teacher:train_cfg.max_epochs=1",
    "teacher:train_cfg.val_interval=1",
]


class Says(nn.Module):
    """Gives fixed scores, and no labels if it is a teacher that hears none."""

    def __init__(self, scores, labels=(0, 1, -100)):
        super().__init__()
        self.scores, self.labels = scores, labels

    def val_step(self, batch):
        rows = zip(torch.tensor(self.scores), self.labels, strict=True)
        return [{"pred_score": score, "gt_label": torch.tensor([label])} for score, label in rows]


def test_answers_are_those_of_the_softmax():
    """A confidence read from logits would leave the diagram, and one of another class would call a wrong answer sure."""
    logits = np.log([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    labels, found = ask({"student": Says(logits.tolist())}, [None])
    assert labels.tolist() == [0, 1, -100]
    assert found["student"].answer.tolist() == [0, 0, 2]
    np.testing.assert_allclose(found["student"].confidence, [0.7, 0.5, 0.6])
    np.testing.assert_allclose(found["student"].truth, [0.7, 0.25, 0.0])


def test_probabilities_are_not_softened_again():
    """Models of mmpretrain give probabilities; the softmax of those would call every model unsure."""
    _, found = ask({"student": Says([[0.9, 0.1]], labels=(1,))}, [None], scores="probabilities")
    np.testing.assert_allclose(found["student"].confidence, [0.9], rtol=1e-6)


def test_both_directions_from_the_largest_difference_on():
    """A picture of the gains alone would be an advertisement."""
    labels = np.array([0, 0, 0, 0, 1])
    student = Answers(np.array([0, 0, 1, 0, 0]), np.ones(5), np.array([0.6, 0.9, 0.3, 0.8, 0.1]))
    alone = Answers(np.array([1, 1, 0, 0, 1]), np.ones(5), np.array([0.4, 0.2, 0.5, 0.7, 0.9]))
    gained, lost = changed(labels, student, alone)
    assert gained.tolist() == [1, 0]  # differences 0.7 and 0.2
    assert lost.tolist() == [4, 2]  # differences -0.8 and -0.2


def test_names_of_classes_stay_text(tmp_path):
    """A class called ``<script>`` or ``$x_1$`` comes with a data set that somebody else made."""
    draw_cards([Card(np.zeros((4, 4, 3)), ["<script>alert(1)</script>", "$x_1$ 50%"])], tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "$x_1$ 50%" in svg


def test_a_diagram_of_no_model_that_is_ever_right(tmp_path):
    """Bins without samples are left out, and a single bin is a diagram too."""
    from kdcls.class_report import calibration_bins

    bins = calibration_bins(np.full(3, 0.95), np.zeros(3, bool), 15)
    draw_reliability(
        {"student": bins, "teacher": bins}, {"student": "#010203", "teacher": "#010204"}, tmp_path / "a.svg"
    )
    assert "student: calibration error 95.0 %" in (tmp_path / "a.svg").read_text()


def test_the_report_of_a_distilled_run_holds_them(tmp_path):
    """The hook is found, the student alone is found beside the run, and all of it is inside the one file."""
    cfg = load_config("kdcls:digits-student", FEW)
    cfg.work_dir = str(tmp_path / "run")
    run = train_with_alone(cfg)
    card = json.loads((run.work_dir / "run.json").read_text())
    titles = [one["title"] for one in card["pictures"]]
    assert titles[0] == "How often each model is right, by how sure it is"
    counts = re.search(r"Of 300 images the student gained (\d+) and lost (\d+) against student alone",
                       " ".join(one["caption"] for one in card["pictures"]))  # fmt: skip
    evaluated = [one["evaluations"][-1]["metrics"]["top1"] for one in (card, card["alone"])]
    if counts is None:
        assert evaluated[0] == evaluated[1]
    else:  # the pictures and the table tell of the same students
        gained, lost = map(int, counts.groups())
        assert abs((gained - lost) / 3 - (evaluated[0] - evaluated[1])) < 0.01
    text = run.report_path.read_text()
    pictures = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert len(pictures) == len(titles)
    diagram = base64.b64decode(pictures[0]).decode()
    assert all(f"{name}: calibration error" in diagram for name in ("teacher", "student alone", "student"))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", diagram)
    # alone, one model is drawn
    alone = json.loads((run.work_dir / "alone/run.json").read_text())
    assert len(alone["pictures"]) == 1


def test_a_stale_run_alone_is_not_shown(tmp_path):
    """Beside a run of another config, the student alone of the former one would be compared with a student of more steps."""
    teacher = {"type": "kdhub.ModelTeacher", "model": None, "own_weights": True}
    cfg = load_config("kdcls:digits-student", FEW)
    cfg.pop("predecessors")
    cfg.model.teacher = teacher | {"model": dict(cfg.model.student)}
    cfg.work_dir = str(tmp_path / "run")
    cfg.train_cfg = {"by_epoch": False, "max_iters": 2, "val_interval": 2}
    train_with_alone(cfg)
    (tmp_path / "run").rename(tmp_path / "former")
    (tmp_path / "run").mkdir()
    (tmp_path / "former/alone").rename(tmp_path / "run/alone")
    cfg.train_cfg = {"by_epoch": False, "max_iters": 3, "val_interval": 3}
    run = train(cfg)
    diagram = (run.work_dir / "pictures/reliability.svg").read_text()
    assert "teacher: calibration error" in diagram
    assert "student alone" not in diagram


def test_a_wrong_reference_costs_no_run(tmp_path):
    """An hour of training, and then no pictures for a misspelt path."""
    cfg = load_config("kdcls:digits-teacher")
    cfg.work_dir = str(tmp_path / "run")
    cfg.custom_hooks = [{"type": "kdcls.PanelHook", "reference": str(tmp_path / "nowhere")}]
    with pytest.raises(UsageError, match="no student to compare with"):
        train(cfg)
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize("name", ["count", "images", "bins"])
def test_numbers_are_checked_at_once(name):
    """Zero images would be drawn without a word."""
    with pytest.raises(UsageError, match=f"bad {name}"):
        PanelHook(**{name: 0})
