"""A run opens only a store of its own teacher, taps, data, preprocessing and precision."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from torch import Tensor

from kdhub.caching.data import TeacherData
from kdhub.caching.fill import cache_teachers
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import GuardError, UsageError
from kdhub.models.torch_model import TorchModel
from kdhub.store import DamagedStoreError


@DATASETS.register_module(force=True)
class MovablePoints(tiny.TinyPoints):
    """Points that somebody moves between two runs."""

    moved = 0.0

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "inputs": sample["inputs"] + self.moved}

    def move(self, distance: float) -> None:
        """Move all points."""
        self.moved = distance


def save_teacher(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    state = {"state_dict": tiny.TinyClassifier(width=8).state_dict()}
    torch.save({**state, "meta": {"dataset_meta": {"classes": tiny.CLASSES}}}, path)


@pytest.fixture
def unfilled(tmp_path: Path) -> Config:
    """A run of one step from a store that is yet to be filled."""
    save_teacher(tmp_path / "teacher.pth", seed=7)
    cfg = tiny.config(tmp_path / "run", train_cfg={"by_epoch": False, "max_iters": 1, "val_interval": 1})
    cfg.model = tiny.distiller()
    cfg.model.teacher.checkpoint = str(tmp_path / "teacher.pth")
    cfg.model.teacher = {"type": "kdhub.StoredTeacher", "store": str(tmp_path / "store"), "teacher": cfg.model.teacher}
    cfg.train_dataloader.dataset = {"type": "MovablePoints"}
    cfg.default_hooks = {"baseline": None}
    return cfg


@pytest.fixture
def cfg(unfilled: Config) -> Config:
    """A run of one step from a store that is filled."""
    cache_teachers(unfilled)
    return unfilled


def retap(cfg: Config) -> None:
    cfg.model.objectives.logits.teacher = "body"


CHANGES: dict[str, tuple[Callable[[Config], Any], str]] = {
    "tap": (retap, r"no values of 'body', only of 'head'\) -> name another folder.*or delete this one.*kdhub cache"),
    "data": (lambda cfg: cfg.train_dataloader.dataset.update(size=12), r"samples: 12, not 16"),
    "class of data": (lambda cfg: cfg.train_dataloader.dataset.update(type="TinyPoints"), r"data: .*TinyPoints"),
    "pipeline": (lambda cfg: cfg.train_dataloader.dataset.update(seed=3), r"preprocessing: "),
    "collate": (lambda cfg: cfg.train_dataloader.update(collate_fn={"type": "pseudo_collate"}), r"preprocessing: "),
    "precision": (lambda cfg: cfg.model.teacher.update(precision="bfloat16"), r"precision of head: 'bfloat16', not"),
    "draws": (lambda cfg: cfg.model.teacher.update(draws=2), r"mode: 'recorded', not 'plain'; draws: 2, not 1"),
    "config of the teacher": (
        lambda cfg: cfg.model.teacher.teacher.model.update(dropout=0.1),
        r"teacher: 'weights-.*', not 'weights-",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_of_something_else_is_refused(cfg: Config, change: str) -> None:
    """Each of these gives other values of the same shape; only the store's manifest can tell."""
    apply, said = CHANGES[change]
    apply(cfg)
    with pytest.raises(UsageError, match=rf"the store of teacher 'teacher' does not fit this run.*{said}"):
        train(cfg)


def test_other_weights_of_the_teacher_are_refused(cfg: Config, tmp_path: Path) -> None:
    """A teacher that was trained on is another teacher under the same name."""
    save_teacher(tmp_path / "teacher.pth", seed=8)
    with pytest.raises(UsageError, match=r"does not fit this run.*teacher: 'weights-"):
        train(cfg)


def test_data_that_changed_under_the_same_name_are_seen(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that were exported anew keep class, number and config; only the live teacher can tell."""
    monkeypatch.setattr(MovablePoints, "moved", 2.0)
    with pytest.raises(UsageError, match=r"answers otherwise than its store.*head to differ by at most 0\.02"):
        train(cfg)


def test_without_the_checkpoint_the_store_is_taken_at_its_word(
    cfg: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A store travels to machines that do not have the teacher; that nothing was verified must be said."""
    (tmp_path / "teacher.pth").unlink()
    train(cfg)
    assert "cannot check them against the store" in capfd.readouterr().err
    card = RunCard.read(tmp_path / "run")
    assert card is not None
    assert ".store-" in card.content["teachers"]["teacher"]


@pytest.mark.parametrize(
    "change",
    [
        lambda teacher: teacher.model.update(dropout=0.5),
        lambda teacher: teacher.update(precision="bfloat16"),
        lambda teacher: teacher.update(mode="predict"),
    ],
)
def test_without_the_checkpoint_the_config_is_compared_nevertheless(
    cfg: Config, tmp_path: Path, change: Callable[[Config], None]
) -> None:
    """With a misspelt path of the checkpoint, a store of any other teacher passed with a warning."""
    (tmp_path / "teacher.pth").unlink()
    change(cfg.model.teacher.teacher)
    with pytest.raises(UsageError, match=r"teacher: '(weights-\w+)\.config-\w+', not '\1\.config-"):
        train(cfg)


def test_a_live_teacher_that_cannot_be_built_here_is_no_obstacle(
    cfg: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its library may be missing where a store is to stand in for it."""
    (tmp_path / "teacher.pth").unlink()
    cfg.model.teacher.teacher.model.type = "elsewhere.Network"
    train(cfg)
    assert "the live teacher's config cannot be compared" in capfd.readouterr().err


class Switch(Hook):
    """Changes the training data before the second epoch, as hooks do that end strong augmentation."""

    def __init__(self, by_method: bool) -> None:
        self.by_method = by_method

    def before_train_epoch(self, runner: Any) -> None:
        """Move all points."""
        data = runner.train_dataloader.dataset
        if runner.epoch == 1:
            data.move(5.0) if self.by_method else setattr(data, "moved", 5.0)


@pytest.mark.parametrize(
    ("by_method", "said"),
    [
        (False, r"dataset\.moved: something set 'moved' of the training data"),
        (True, r"a sample is another one than when"),
    ],
)
def test_training_data_that_are_changed_meanwhile_are_refused(cfg: Config, by_method: bool, said: str) -> None:
    """Mmdet's PipelineSwitchHook gives the student other images from then on, and the store answered for the former ones."""
    for key, part in tiny.by_epoch().items():
        cfg[key] = part
    cfg.train_dataloader.dataset = {"type": "MovablePoints"}
    cfg.custom_hooks = [{"type": Switch, "by_method": by_method}]
    with pytest.raises(UsageError, match=said + r".*the teacher store answers for what its teacher saw.*custom_hooks"):
        train(cfg)


@DATASETS.register_module(force=True)
class WanderingPoints(tiny.TinyPoints):
    """Points of which one cannot be loaded: another one comes in its place, as mmengine's data sets do it, by chance."""

    seen: list[tuple[int, Tensor]] = []  # noqa: RUF012 - what training loaded, for the test to look at

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(int(torch.randint(len(self), ())) if index == 17 else index)
        self.seen.append((index, sample["inputs"]))
        return sample


def test_a_sample_that_is_replaced_by_chance_is_the_same_in_each_pass(unfilled: Config) -> None:
    """The one in 50 that the check of a plain pipeline misses was another sample in each pass, and the store's in none."""
    unfilled.train_dataloader.dataset = {"type": "WanderingPoints", "size": 50}
    unfilled.train_dataloader.batch_size = 25
    unfilled.train_cfg.max_iters = 4
    cache_teachers(unfilled)
    WanderingPoints.seen.clear()
    train(unfilled)
    shown = {tuple(inputs.tolist()) for index, inputs in WanderingPoints.seen if index == 17}
    assert len(shown) == 1


def test_a_preprocessor_that_has_seen_a_batch_is_the_same() -> None:
    """Filling a store saw batches before it described them, and a run without a baseline did not: it refused the store."""
    preprocessor = TorchModel(torch.nn.Linear(2, 2)).data_preprocessor
    cfg = {"train_dataloader": {"dataset": {"type": "MovablePoints"}}}
    data = TeacherData(MovablePoints(), cfg["train_dataloader"]["dataset"], "plain", 1)
    before = data.preprocessing(cfg, preprocessor)
    preprocessor({"input": torch.zeros(1, 2), "labels": torch.zeros(1)}, True)
    assert data.preprocessing(cfg, preprocessor) == before


def test_with_a_live_teacher_training_data_may_change(cfg: Config) -> None:
    """It sees what the student sees."""
    for key, part in tiny.by_epoch().items():
        cfg[key] = part
    cfg.train_dataloader.dataset = {"type": "MovablePoints"}
    cfg.custom_hooks = [{"type": Switch, "by_method": False}]
    cfg.model.teacher = cfg.model.teacher.teacher
    train(cfg)


def test_a_store_that_is_damaged_or_gone_says_what_to_type(cfg: Config, tmp_path: Path) -> None:
    """A store does not know the config; "kdhub cache CONFIG" leaves it to memory which one, with which overrides."""
    cfg.dump(tmp_path / "my.py")
    cfg = Config.fromfile(tmp_path / "my.py")
    (block,) = (tmp_path / "store").glob("*.safetensors")
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(content)
    cfg.model.teacher.verify = 0
    cfg.train_cfg.max_iters = 4
    with pytest.raises(DamagedStoreError, match=r"`kdhub cache \S*my\.py`: it computes again"):
        train(cfg)
    shutil.rmtree(tmp_path / "store")
    cfg.work_dir += "-2"
    with pytest.raises(UsageError, match=r"no teacher store here .* write it: kdhub cache \S*my\.py$"):
        train(cfg)


def test_the_recorded_classes_are_compared_without_the_teacher(cfg: Config, tmp_path: Path) -> None:
    """Logits in another order of classes have the same shape; the guard must work from the store alone."""
    (tmp_path / "teacher.pth").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny.TinyPoints, "metainfo", {"classes": ("above", "below")})
        with pytest.raises(GuardError, match="the same classes in another order"):
            train(cfg)


def test_stored_and_live_teachers_teach_together(cfg: Config) -> None:
    """A stored teacher is asked by keys, which the live one beside it must not get as data."""
    stored = cfg.model.pop("teacher")
    cfg.model.teachers = {"kept": stored, "live": copy.deepcopy(stored["teacher"])}
    objectives = cfg.model.objectives
    objectives.second = copy.deepcopy(objectives.logits)
    objectives.logits.teacher, objectives.second.teacher = "kept:head", "live:head"
    metrics = train(cfg).metrics
    assert metrics


FEATURES = {
    "loss": {"type": "kdhub.MSE"},
    "student": "body",
    "teacher": "body",
    "adapter": {"type": "kdhub.Linear", "in_features": 4, "out_features": 8},
}


@pytest.fixture
def wide(unfilled: Config) -> Config:
    """A run like `cfg`, whose store also holds what another method needs."""
    unfilled.model.teacher.precision = {"head": "float32", "body": "float16"}
    unfilled.model.objectives.features = FEATURES
    cache_teachers(unfilled)
    return unfilled


def only(cfg: Config, objective: str) -> Config:
    """Return the config of another run, with one objective."""
    one = copy.deepcopy(cfg)
    one.work_dir += f"-{objective}"
    one.model.objectives = {objective: cfg.model.objectives[objective]}
    return one


@pytest.mark.parametrize("objective", ["logits", "features"])
def test_one_store_serves_several_methods(wide: Config, objective: str) -> None:
    """Without it the logits would be stored once for each method."""
    train(only(wide, objective))  # `verify` compares what is read with the live teacher


def test_only_the_precision_of_what_is_read_counts(wide: Config) -> None:
    """The form of another method's features is not this run's business, and that of its own is."""
    wide.model.teacher.precision = "float32"
    train(only(wide, "logits"))
    with pytest.raises(UsageError, match=r"precision of body: 'float32', not 'float16'\)"):
        train(only(wide, "features"))


def test_the_order_of_objectives_is_free(wide: Config) -> None:
    """The identity of a store counts its taps in order; whoever sorts a config must not lose the store."""
    wide.model.objectives = dict(reversed(wide.model.objectives.items()))
    assert cache_teachers(wide)[0].written == 0
    train(wide)


def test_a_store_that_holds_more_has_nothing_to_be_filled_with(wide: Config, capfd: pytest.CaptureFixture[str]) -> None:
    """`kdhub cache` is what every message tells to type, so it must not refuse a store that `kdhub train` accepts."""
    (result,) = cache_teachers(only(wide, "logits"))
    assert (result.written, result.info.missing) == (0, 0)
    assert "16 of 16 records are there already, with 'body', which this config does not read" in capfd.readouterr().err


def test_a_store_that_holds_more_is_completed_by_its_own_config_alone(wide: Config, tmp_path: Path) -> None:
    """Records with half of the taps would be read by the other method as if they were whole."""
    for block in (tmp_path / "store").glob("*.safetensors"):
        block.unlink()
    with pytest.raises(UsageError, match=r"not complete, and holds taps.*got 0, with 'body'.*begun with"):
        cache_teachers(only(wide, "logits"))
    assert cache_teachers(wide)[0].written == 16


def test_a_tap_that_the_store_lacks_is_named(cfg: Config) -> None:
    """The store of one method looks like the wider one that another method needs."""
    cfg.model.objectives.features = FEATURES
    with pytest.raises(
        UsageError, match=r"another teacher store \(got no values of 'body', only of 'head'\) -> choose"
    ):
        cache_teachers(cfg)


def test_a_run_from_a_store_resumes(cfg: Config) -> None:
    """The identity of a stored teacher must be the same in the second process, or no run could go on."""
    train(cfg)
    cfg.train_cfg.max_iters = 2
    assert train(cfg, resume=True).metrics
