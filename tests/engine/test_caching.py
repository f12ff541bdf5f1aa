"""Filling a store and training from it: the same run as with the live teacher, and nothing else is ever accepted."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor

from kdhub.caching import fill as caching
from kdhub.caching.fill import cache_teachers
from kdhub.caching.source import TeacherSource
from kdhub.checkpoint import read_checkpoint
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.store import Manifest, StoreReader


@DATASETS.register_module(force=True)
class NoisyPoints(tiny.TinyPoints):
    """Points that are never twice at the same place, as augmented images."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "inputs": sample["inputs"] + 0.3 * torch.randn(2)}


@DATASETS.register_module(force=True)
class DeadlyPoints(tiny.TinyPoints):
    """Points of which one kills the process that loads it after the three looks of the replay check, if it is told to."""

    loaded = 0

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.loaded += index == 9
        if self.loaded == 4 and "KDHUB_TEST_DEADLY" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def weights(cfg: Config) -> dict[str, Tensor]:
    """Train and return the last checkpoint's weights."""
    train(cfg)
    return read_checkpoint(sorted(Path(cfg.work_dir).glob("*.pth"))[-1])["state_dict"]


def assert_same_run(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    # products of another batch may be summed in another order
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-6) for name in one)


def test_a_run_from_a_plain_store_is_the_run_with_the_live_teacher(config: Callable[..., Config]) -> None:
    """A store that shifted samples or random numbers would train another student, at a plausible loss."""
    live = weights(config(None, name="live"))
    (result,) = cache_teachers(config({}))
    assert (result.written, result.info.missing) == (16, 0)
    assert_same_run(live, weights(config({})))


def test_a_run_from_recorded_augmentations_is_the_run_with_the_live_teacher(config: Callable[..., Config]) -> None:
    """A student that sees another crop than the stored teacher saw learns what was never there."""
    live = weights(config(None, "NoisyPoints", name="live"))
    (result,) = cache_teachers(config({"draws": 2}, "NoisyPoints"))
    assert result.written == 32
    assert_same_run(live, weights(config({"draws": 2}, "NoisyPoints")))


def test_a_pipeline_that_augments_needs_draws(config: Callable[..., Config]) -> None:
    """One augmentation of each sample, stored once, would be answered for all the others."""
    with pytest.raises(UsageError, match=r"the data pipeline augments.*draws=n"):
        cache_teachers(config({}, "NoisyPoints"))


def test_two_teachers_need_two_stores(config: Callable[..., Config]) -> None:
    """The second one met the first one's lock: "another kdhub cache is filling this store", which was itself."""
    cfg = config({})
    one = cfg.model.pop("teacher")
    cfg.model.teachers = {"one": one, "two": {**copy.deepcopy(one), "store": one.store + "/"}}
    cfg.model.objectives.logits.teacher = "one:head"
    with pytest.raises(UsageError, match=r"teachers\.two\.store: teachers 'one' and 'two' have one store"):
        cache_teachers(cfg)


@pytest.mark.parametrize(("size", "computed"), [(4, 4), (3, 1)])
def test_batches_of_another_size_compute_nothing_twice(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, computed: int
) -> None:
    """One record is missing: its batch is computed as it was, for the same bits; with other batches there are none."""
    cache_teachers(config({}))
    (block,) = (tmp_path / "store").glob("*.safetensors")
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(content)
    seen: list[int] = []
    answer = TeacherSource.answer

    def counted(self: TeacherSource, batch: Any) -> dict[str, Any]:
        seen.append(len(batch["labels"]))
        return answer(self, batch)

    monkeypatch.setattr(TeacherSource, "answer", counted)
    cfg = config({}, default_hooks={"baseline": None})
    cfg.train_dataloader.batch_size = size
    (result,) = cache_teachers(cfg)
    assert (result.written, result.info.missing) == (1, 0)
    assert seen[3:] == [computed]  # after the batch and its two parts that the values are looked at in


def test_processes_that_differ_fill_no_store(config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is the main process's: what another one computed of other data would stand under its name."""

    def gathered(manifest: Manifest) -> list[Manifest]:
        return [manifest, dataclasses.replace(manifest, data="other points")]

    monkeypatch.setattr(caching, "all_gather_object", gathered)
    with pytest.raises(
        UsageError, match=r"process 1 has another teacher or other data.*data: '.*', not 'other points'"
    ):
        cache_teachers(config({}))


def test_a_killed_run_goes_on_where_it_stopped(config: Callable[..., Config], tmp_path: Path) -> None:
    """A night of a teacher's work must not be lost with its process, nor done twice."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_caching, tiny
from mmengine.config import Config
from kdhub.caching.fill import cache_teachers
from kdhub.store import StoreWriter
StoreWriter.COMMIT_SECONDS = 0.0
cache_teachers(Config.fromfile({str(tmp_path / "deadly.py")!r}))
"""
    cfg = config({}, "DeadlyPoints")
    cfg.dump(tmp_path / "deadly.py")
    environment = os.environ | {"KDHUB_TEST_DEADLY": "1", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (result,) = cache_teachers(cfg)
    assert result.written == 8  # two batches of four were acknowledged before sample 9 was loaded
    assert result.info.missing == 0


def test_a_store_that_is_not_complete_is_refused(config: Callable[..., Config], tmp_path: Path) -> None:
    """A run that stops at the first missing sample stops after hours; before the first step costs nothing."""
    cache_teachers(config({}))
    for block in list((tmp_path / "store").glob("*.safetensors")):
        block.unlink()
    with pytest.raises(UsageError, match=r"not complete.*expected 16 records, got 0.*kdhub cache"):
        train(config({}))


def test_a_missing_store_says_how_to_write_it(config: Callable[..., Config]) -> None:
    """The first thing that a user of a stored teacher meets must say what to type."""
    with pytest.raises(UsageError, match=r"no teacher store here.*kdhub cache"):
        train(config({}))


def test_a_damaged_record_is_named_and_computed_again(config: Callable[..., Config], tmp_path: Path) -> None:
    """One flipped bit would teach one sample wrong for ever; the remedy in the message must be one."""
    cache_teachers(config({}))
    (block,) = (tmp_path / "store").glob("*.safetensors")
    content = bytearray(block.read_bytes())
    content[-5] ^= 1
    block.write_bytes(content)
    with pytest.raises(UsageError, match=r"is damaged, and was not used.*kdhub cache"):
        train(config({"verify": 0}, train_cfg={"by_epoch": False, "max_iters": 4, "val_interval": 4}))
    (result,) = cache_teachers(config({}))
    assert 0 < result.written < 16
    train(config({}, name="repaired"))


def test_a_missing_record_is_computed_in_the_batch_that_it_was_lost_from(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, its last bits would be others, and the store that was mended another than the undisturbed one."""
    answer, sizes = TeacherSource.answer, []

    def noted(self: TeacherSource, batch: Any) -> Any:
        sizes.append(len(batch["inputs"]))
        return answer(self, batch)

    cache_teachers(config({}))
    keys = [(index, 0) for index in range(16)]
    before = StoreReader(tmp_path / "store").read(keys)
    (block,) = (tmp_path / "store").glob("*.safetensors")
    content = bytearray(block.read_bytes())
    content[-5] ^= 1
    block.write_bytes(content)
    monkeypatch.setattr(TeacherSource, "answer", noted)
    (result,) = cache_teachers(config({}))
    after = StoreReader(tmp_path / "store").read(keys)
    assert result.written == 1
    assert sizes[3:] == [4]  # behind the first look of three
    assert all(torch.equal(after[tap], before[tap]) for tap in before)


def test_a_finished_store_is_not_computed_again(config: Callable[..., Config]) -> None:
    """Whoever types the command twice must not wait twice."""
    cache_teachers(config({}))
    (again,) = cache_teachers(config({}))
    assert again.written == 0


def test_what_is_there_is_checked_and_said(config: Callable[..., Config], capfd: pytest.CaptureFixture[str]) -> None:
    """Checking a large store takes minutes; a command that is silent for minutes is killed."""
    cache_teachers(config({}))
    assert "checked" not in capfd.readouterr().err
    cache_teachers(config({}))
    assert "store: checked 16 records, " in capfd.readouterr().err


def test_a_store_that_is_a_file_is_refused(config: Callable[..., Config], tmp_path: Path) -> None:
    """`store='teacher.pth'` must say what is wrong, and leave the file alone."""
    (tmp_path / "store").write_text("precious")
    with pytest.raises(UsageError, match=r"the store is a file \(expected a folder"):
        cache_teachers(config({}))
    assert (tmp_path / "store").read_text() == "precious"


def test_a_folder_of_something_else_is_left_as_it_was(config: Callable[..., Config], tmp_path: Path) -> None:
    """`store='photos'` must not fill the folder with blocks among the photos, nor leave a lock behind."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "photo.jpg").write_text("precious")
    with pytest.raises(UsageError, match=r"no teacher store and not empty \(got photo.jpg"):
        cache_teachers(config({}))
    assert [entry.name for entry in (tmp_path / "store").iterdir()] == ["photo.jpg"]


def test_ctrl_c_keeps_what_was_computed(config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs the GPU for a moment must not lose the last half minute, and wants to know what to type."""
    answers = TeacherSource.answer

    def stopped(self: TeacherSource, batch: Any) -> Any:
        if len(calls) == 5:  # three of the first look, and two batches
            raise KeyboardInterrupt
        calls.append(batch)
        return answers(self, batch)

    calls: list[Any] = []
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="stored -> to go on: kdhub cache CONFIG"):
        patch.setattr(TeacherSource, "answer", stopped)
        cache_teachers(config({}))
    (result,) = cache_teachers(config({}))
    assert (result.written, result.info.missing) == (8, 0)


def test_another_precision_needs_another_store(config: Callable[..., Config]) -> None:
    """A store in two precisions would be neither; the folder's own must stay as it is."""
    cache_teachers(config({}))
    with pytest.raises(UsageError, match=r"another teacher store.*'float16', not 'float32'"):
        cache_teachers(config({"precision": "float16"}))


def test_two_processes_fill_one_store(config: Callable[..., Config], tmp_path: Path) -> None:
    """Processes that wrote the same samples, or left some out, would make torchrun useless or the store incomplete."""
    config({"draws": 2}, "NoisyPoints").dump(tmp_path / "two.py")
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_caching
from mmengine.config import Config
from kdhub.caching.fill import cache_teachers
cache_teachers(Config.fromfile({str(tmp_path / "two.py")!r}), launcher="pytorch")
""")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (result,) = cache_teachers(config({"draws": 2}, "NoisyPoints"))
    assert (result.written, result.info.records) == (0, 32)
    assert result.info.blocks == 1  # reading is fastest from one
    assert done.stderr.count("evaluating teacher") == 1
    (together,) = result.info.manifest.metrics.values()
    cfg = config({"draws": 2}, "NoisyPoints")
    cfg.model.teacher.store = str(tmp_path / "alone")
    (alone,) = cache_teachers(cfg)[0].info.manifest.metrics.values()
    # processes that each measured a part of the data would record another number, or two
    assert together["metrics"] == alone["metrics"]
