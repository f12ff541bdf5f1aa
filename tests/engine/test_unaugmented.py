"""A teacher that is asked once a sample, un-augmented, while the student sees views of it; only where the method allows it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from torch import Tensor, nn

import kdhub
from kdhub.caching.fill import cache_teachers
from kdhub.caching.stored import StoredTeacher
from kdhub.config import check_config
from kdhub.config.objectives import unaugmented_problem
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import UsageError
from kdhub.records import LossSpec
from kdhub.store import Manifest, StoreReader, find_tree


@DATASETS.register_module(force=True)
class ViewedPoints(tiny.TinyPoints):
    """Points that are never twice at the same place, unless ``noise`` is 0; ``name`` is all that identifies them."""

    seen: list[Tensor] = []  # noqa: RUF012 - what training loaded, for the test to look at

    def __init__(self, noise: float = 0.3, name: str = "points", **points: int) -> None:
        super().__init__(**points)
        self.noise, self.name = noise, name

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        view = sample["inputs"] + self.noise * torch.randn(2)
        self.seen.append(view)
        return {**sample, "inputs": view}

    def fingerprint(self) -> str:
        """Identify the points, not the noise."""
        return self.name


@DATASETS.register_module(force=True)
class InformedPoints(tiny.TinyPoints):
    """Points that tell their place as mmengine's data sets tell their files, and have no fingerprint."""

    def __init__(self, noise: float = 0.3, **points: int) -> None:
        super().__init__(**points)
        self.noise = noise

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return where a point is."""
        return {"place": self.points[index].tolist()}


@MODELS.register_module(force=True)
class Painter(tiny.TinyClassifier):
    """A teacher with a value for each place of a map, and with a list of parts of any number."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.map, self.parts = Map(), Parts()

    def forward(self, inputs: Tensor, labels: Tensor, mode: str = "tensor") -> Any:
        """Run on points (B, 2)."""
        self.map(inputs)
        self.parts(inputs)
        return super().forward(inputs, labels, mode)


class Map(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value[:, :, None].expand(-1, -1, 3).clone()


class Parts(nn.Module):
    def forward(self, value: Tensor) -> list[Tensor]:
        return [one[: 1 + int(one.sum() > 0)] for one in value]


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A run of several passes over augmented points, whose teacher is to see the points themselves."""
    torch.manual_seed(7)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    cfg = tiny.config(tmp_path / "run", train_cfg={"by_epoch": False, "max_iters": 9, "val_interval": 9})
    cfg.model = tiny.distiller(checkpoint=str(tmp_path / "teacher.pth"))
    cfg.model.teacher = {
        "type": "kdhub.StoredTeacher",
        "store": str(tmp_path / "store"),
        "teacher": cfg.model.teacher,
        "unaugmented": {"noise": 0.0},
    }
    cfg.train_dataloader.dataset = {"type": "ViewedPoints"}
    cfg.default_hooks = {"baseline": None}
    return cfg


def test_the_teacher_answers_for_the_sample_and_the_student_learns_from_views(cfg: Config, tmp_path: Path) -> None:
    """Stored for one view and used for another, an answer would be stale; un-augmented it belongs to the sample."""
    (result,) = cache_teachers(cfg)
    assert (result.written, result.info.manifest.mode) == (16, "unaugmented")
    teacher = tiny.TinyClassifier(width=8)
    teacher.load_state_dict(torch.load(tmp_path / "teacher.pth")["state_dict"])
    points = tiny.TinyPoints()
    with torch.no_grad():
        expected = teacher(points.points, points.labels)
    stored = StoreReader(tmp_path / "store").read([(index, 0) for index in range(16)])["head"]
    assert torch.allclose(stored, expected, atol=1e-6)

    ViewedPoints.seen.clear()
    train(cfg)
    places = {tuple(view.tolist()) for view in ViewedPoints.seen}
    assert len(places) > 2 * len(points)  # three passes, each over other views
    card = RunCard.read(tmp_path / "run")
    assert card is not None
    assert card.content["status"] == "finished"


def test_the_student_s_augmentation_may_change(cfg: Config) -> None:
    """What only the student sees is none of the store's business: a sweep over augmentations needs one store."""
    cache_teachers(cfg)
    cfg.train_dataloader.dataset.noise = 0.7
    assert cache_teachers(cfg)[0].written == 0
    train(cfg)


CHANGES: dict[str, tuple[Callable[[Config], Any], str]] = {
    "how the teacher's samples are loaded": (
        lambda cfg: cfg.model.teacher.unaugmented.update(seed=3),
        r"does not fit this run.*preprocessing: ",
    ),
    "mode": (lambda cfg: cfg.model.teacher.update(unaugmented=None, draws=2), r"mode: 'recorded', not 'unaugmented'"),
    "samples": (
        lambda cfg: cfg.model.teacher.unaugmented.update(size=12),
        r"other samples than training \(expected ViewedPoints of 16, points, got ViewedPoints of 12, points\)",
    ),
    "fingerprint": (
        lambda cfg: cfg.model.teacher.unaugmented.update(name="others"),
        r"other samples than training \(expected ViewedPoints of 16, points, got ViewedPoints of 16, others\)",
    ),
    "a key that is none": (
        lambda cfg: cfg.model.teacher.unaugmented.update(noize=0.0),
        r"StoredTeacher.unaugmented: the data set cannot be built with these changes.*unexpected keyword.*'noize'",
    ),
    "a type that is none": (
        lambda cfg: cfg.model.teacher.unaugmented.update(type="Nope"),
        r"StoredTeacher.unaugmented: the data set cannot be built with these changes.*KeyError.*Nope",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_fit_is_refused(cfg: Config, change: str) -> None:
    """Index 5 of another list of samples is another sample, and a store would give its answer."""
    cache_teachers(cfg)
    apply, said = CHANGES[change]
    apply(cfg)
    with pytest.raises(UsageError, match=said):
        train(cfg)


def test_samples_that_cannot_be_compared_are_told_of(cfg: Config, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong seed of a split gives other samples; where nothing can tell, at least that must be said."""
    cfg.train_dataloader.dataset = {"type": "TinyPoints"}
    cfg.model.teacher.unaugmented = {"seed": 0}
    cache_teachers(cfg)
    assert "warning: TinyPoints of 16 tells nothing of its samples" in capfd.readouterr().err


def test_samples_without_a_fingerprint_are_held_against_what_the_data_set_tells(cfg: Config) -> None:
    """The data sets of mmseg and mmdet have no fingerprint, but name the file of each sample."""
    cfg.train_dataloader.dataset = {"type": "InformedPoints"}
    cache_teachers(cfg)
    cfg.model.teacher.unaugmented.seed = 1
    with pytest.raises(UsageError, match=r"other samples than training.*got another sample 0\)"):
        cache_teachers(cfg)


def test_samples_that_are_augmented_all_the_same_are_refused(cfg: Config) -> None:
    """A transform that was overlooked would store one random view as the sample."""
    cfg.model.teacher.unaugmented.noise = 0.1
    with pytest.raises(UsageError, match=r"with StoredTeacher.unaugmented: the data pipeline augments.*named there"):
        cache_teachers(cfg)


@pytest.mark.parametrize("tap", ["map", "parts"])
def test_values_of_places_are_refused(cfg: Config, tap: str) -> None:
    """A map of the whole image beside a crop of it: same shape, wrong place, plausible loss."""
    del cfg.model.teacher.teacher["checkpoint"]
    cfg.model.teacher.teacher.model.type = "Painter"
    cfg.model.objectives.logits.teacher = tap
    with pytest.raises(UsageError, match=rf"{tap}: the value says something of places.*draws=n"):
        cache_teachers(cfg)


def test_a_loss_that_does_not_allow_it_is_refused(cfg: Config) -> None:
    """Similarities within a batch of views are not those within the batch of samples; the check, too, must say so."""
    cfg.model.objectives.logits.loss = {"type": "kdhub.Relational"}
    report = check_config(cfg, kdhub.init())
    assert [finding.path for finding in report.errors] == ["model.objectives.logits.loss"]
    for command in (cache_teachers, train):
        with pytest.raises(
            UsageError, match=r"objectives.logits.loss: the loss wants the teacher to see what.*draws=n"
        ):
            command(cfg)


def test_the_check_knows_the_option(cfg: Config) -> None:
    """A finding about a config that is right keeps people from running it."""
    cfg.model.teacher.unaugmented = {"pipeline": [{"type": "LoadImageFromFile"}, {"type": "PackInputs"}]}
    assert check_config(cfg, kdhub.init()).ok


def test_a_loss_must_say_that_it_allows_it() -> None:
    """Third parties' losses were written for a teacher that sees what the student sees."""
    spec = LossSpec(name="Theirs", target="theirs:Theirs", summary="Another loss")
    for silent in (spec, None):
        problem = unaugmented_problem(silent, "model.objectives.x")
        assert problem is not None
        assert "LossSpec says unaugmented=True" in str(problem)
    assert unaugmented_problem(dataclasses.replace(spec, unaugmented=True), "model.objectives.x") is None


def test_recorded_and_un_augmented_teachers_teach_together(cfg: Config, tmp_path: Path) -> None:
    """The one decides which views there are, and the other must not mind."""
    whole = cfg.model.pop("teacher")
    views = {**copy.deepcopy(whole), "store": str(tmp_path / "views"), "draws": 2, "unaugmented": None}
    cfg.model.teachers = {"whole": whole, "views": views}
    objectives = cfg.model.objectives
    objectives.second = copy.deepcopy(objectives.logits)
    objectives.logits.teacher, objectives.second.teacher = "whole:head", "views:head"
    assert [result.written for result in cache_teachers(cfg)] == [16, 32]
    train(cfg)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unaugmented": {"noise": 0.0}, "draws": 2}, "either augmented samples or un-augmented ones"),
        ({"unaugmented": {}}, "not what to change in train_dataloader.dataset"),
        ({"unaugmented": True}, r"expected a dict, such as dict\(pipeline=test_pipeline\), got True"),
    ],
)
def test_what_says_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    """`unaugmented=True` reads well, and would leave the augmentation as it is."""
    with pytest.raises(UsageError, match=said):
        StoredTeacher("store", **options)


@pytest.mark.parametrize(
    ("make", "located"),
    [
        (lambda size: torch.zeros(size), False),
        (lambda size: torch.zeros(size, 3), False),
        (lambda size: torch.zeros(2 * size, 3), False),  # two calls, one after the other
        (lambda size: torch.zeros(size, 3, 5), True),
        (lambda size: ["text"] * size, False),
        (lambda size: [0.5] * size, False),
        (lambda size: [torch.zeros(3)] * size, True),
        (lambda size: [{"boxes": torch.zeros(3, 4)}] * size, True),
        (lambda size: {"scale": 2, "classes": torch.zeros(size, 3), "name": "net"}, False),
        (lambda size: {"classes": torch.zeros(size, 3), "map": torch.zeros(size, 3, 2, 2)}, True),
        (lambda size: [("text", 1.5)] * size, False),
    ],
)
def test_what_has_places_is_known(make: Callable[[int], Any], located: bool) -> None:
    """What has axes beyond one, or a number of parts of its own, is somewhere in the sample."""
    assert find_tree([(size, make(size)) for size in (3, 2)]).located is located


@pytest.mark.parametrize(("mode", "draws"), [("unaugmented", 2), ("plain", 2), ("recorded", 0), ("other", 1)])
def test_modes_that_are_none_are_refused(mode: str, draws: int) -> None:
    """A store of several draws in a mode that knows one would answer with the first for all."""
    with pytest.raises(UsageError, match="is no mode of a store"):
        Manifest(
            teacher="t",
            taps=("head",),
            mode=mode,
            draws=draws,
            seed=None,
            samples=3,
            data="d",
            preprocessing="p",
            precision={},
        )
