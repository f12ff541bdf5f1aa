"""One model in every command: the student, or a teacher, as it stands in a config, with the preprocessor in force."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

import kdhub
from kdhub.caching.fill import cache_teachers
from kdhub.cli.one_batch import outlines
from kdhub.config.standing import scoped, student_as_it_stands
from kdhub.distill.teachers import ModelTeacher
from kdhub.engine.test import test as run_test
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.store import StoreReader

NEGATED = {"type": "Negated"}
PLACES: dict[str, Callable[[Config], None]] = {
    "student": lambda cfg: cfg.model.student.update(data_preprocessor=NEGATED),
    "distiller": lambda cfg: cfg.model.update(data_preprocessor=NEGATED),
    "top": lambda cfg: cfg.update(data_preprocessor=NEGATED),
}


@MODELS.register_module(force=True)
class Negated(BaseDataPreprocessor):
    """Negates points: whoever leaves it out gives every answer the other way round."""

    def forward(self, data: Any, training: bool = False) -> Any:
        """Negate."""
        data = super().forward(data, training)
        return {**data, "inputs": -data["inputs"]}


@MODELS.register_module(force=True)
class Side(BaseModel):
    """Right about all points as they are, so wrong about all that are negated. It has nothing to learn."""

    seen: tuple[Tensor, Tensor] | None = None

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        Side.seen = inputs, labels
        logits = self.head(inputs)
        if mode == "loss":
            return {"loss_ce": functional.cross_entropy(logits, labels)}
        return logits if mode == "tensor" else list(logits.argmax(1))


def describe(work_dir: Path, place: str) -> Config:
    """Describe a run of three steps that learns nothing, with the preprocessor in one of its places."""
    model = tiny.distiller(batch="student", own_weights=True)
    model["student"] = {"type": "Side"}
    model["teacher"]["model"] = {"type": "Side"}
    model["guards"] = {"zero_term": 0}
    cfg = tiny.config(
        work_dir,
        model=model,
        train_cfg={"by_epoch": False, "max_iters": 3, "val_interval": 3},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}},
    )
    cfg.train_dataloader.sampler = {"type": "DefaultSampler", "shuffle": False}
    for part in ("dataloader", "evaluator", "cfg"):
        cfg[f"test_{part}"] = cfg[f"val_{part}"]
    PLACES[place](cfg)
    return cfg


@pytest.fixture(scope="module", params=PLACES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A finished run, by where its preprocessor stands."""
    cfg = describe(tmp_path_factory.mktemp(request.param) / "run", request.param)
    train(cfg)
    return cfg


def trained(cfg: Config, folder: Path) -> float:
    """What training's own evaluation found."""
    (evaluation,) = json.loads(Path(cfg.work_dir, "run.json").read_text())["evaluations"]
    return float(evaluation["metrics"]["tiny/accuracy"])


def compared(cfg: Config, folder: Path) -> float:
    """What the report shows of the teacher, which takes the student's batch."""
    card = json.loads(Path(cfg.work_dir, "run.json").read_text())
    return float(card["baselines"]["teachers"]["teacher"]["tiny/accuracy"])


def on_test_data(cfg: Config, folder: Path) -> float:
    """What ``kdhub test`` prints."""
    cfg.work_dir, checkpoint = str(folder), Path(cfg.work_dir, "iter_3.pth")
    return float(run_test(cfg, checkpoint)["tiny/accuracy"])


def probed(cfg: Config, folder: Path) -> float:
    """How right ``kdhub probe``'s student was about its batch."""
    outlines(cfg, kdhub.init(), "student")
    assert Side.seen is not None
    points, labels = Side.seen
    return accuracy(Side().head(points), labels)


def stored(cfg: Config, folder: Path) -> float:
    """How right the answers are that ``kdhub cache`` stored, of a teacher that takes the student's batch."""
    store = str(folder / "store")
    cfg.model.teacher = {"type": "kdhub.StoredTeacher", "store": store, "teacher": cfg.model.teacher}
    cache_teachers(cfg)
    reader = StoreReader(store)
    (recorded,) = reader.manifest.metrics.values()
    assert recorded["metrics"]["tiny/accuracy"] == 0.0
    return accuracy(reader.read([(index, 0) for index in range(16)])["head"], tiny.TinyPoints().labels)


def exported(cfg: Config, folder: Path) -> float:
    """How right an exported student is that becomes a teacher."""
    student = Path(cfg.work_dir, "student")
    return taught(ModelTeacher(str(student / "model.py"), checkpoint=str(student / "model.safetensors")))


def named(cfg: Config, folder: Path) -> float:
    """How right a teacher is that is another run's config and checkpoint."""
    return taught(ModelTeacher(str(Path(cfg.work_dir, "config.py")), str(Path(cfg.work_dir, "iter_3.pth"))))


def taught(teacher: ModelTeacher) -> float:
    points = tiny.TinyPoints()
    batch = teacher.preprocess({"inputs": points.points, "labels": points.labels}, True)
    return accuracy(teacher.model._run_forward(batch, mode="tensor"), points.labels)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


@pytest.mark.parametrize("command", [trained, compared, on_test_data, probed, stored, exported, named])
def test_every_command_means_the_same_model(run: Config, command: Callable[..., float], tmp_path: Path) -> None:
    """Unnormalised images give a worse metric, a worse teacher or a broken export, and nobody sees why."""
    assert command(copy.deepcopy(run), tmp_path) == 0.0


@pytest.mark.parametrize(
    ("own", "distiller", "top", "wins"),
    [
        ("own", "distiller", "top", "own"),
        (..., "distiller", "top", "distiller"),
        (..., ..., "top", "top"),
        (..., None, "top", ...),  # as mmengine: a None that is written stands
        (None, "distiller", "top", None),
        (..., ..., ..., ...),
    ],
)
def test_the_nearest_preprocessor_wins(own: Any, distiller: Any, top: Any, wins: Any) -> None:
    """A command with another order than training's would take another one wherever a config names two."""

    def given(**places: Any) -> dict[str, Any]:
        return {name: value for name, value in places.items() if value is not ...}

    student = {"type": "Side", **given(data_preprocessor=own)}
    model = {"type": "kdhub.Distiller", "student": student, **given(data_preprocessor=distiller)}
    found = student_as_it_stands({"model": model, **given(data_preprocessor=top)})["model"]
    assert found == {"type": "Side", **given(data_preprocessor=wins)}


def test_the_student_alone_takes_along_what_its_names_need() -> None:
    """A student of another library, or of one's own module, would not be found where it becomes a teacher."""
    names = {"custom_imports": {"imports": ["mine"]}, "default_scope": "mmpretrain"}
    cfg = {**names, "model": {"type": "Mine"}, "data_preprocessor": {"type": "Theirs"}, "train_cfg": {}}
    model = {"type": "Mine", "data_preprocessor": {"type": "Theirs"}}
    assert student_as_it_stands(cfg) == {**names, "model": model}
    assert scoped(cfg) == {"_scope_": "mmpretrain", **model}
    assert scoped({**cfg, "model": {"_scope_": "mmdet", "type": "Mine"}})["_scope_"] == "mmdet"


def test_a_config_without_a_model_is_no_teacher(tmp_path: Path) -> None:
    """A file of data sets alone ended in an AttributeError of mmengine's Config."""
    (tmp_path / "data.py").write_text("train_dataloader = dict()\n")
    with pytest.raises(UsageError, match=r"data\.py: the config has no model"):
        ModelTeacher(str(tmp_path / "data.py"))
