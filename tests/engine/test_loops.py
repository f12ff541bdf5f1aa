"""The loops' iteration over passes of the data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import tiny
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS as SAMPLERS, DATASETS, HOOKS
from torch.utils.data import DataLoader, IterableDataset, Sampler

from kdhub.engine.resume.loops import Batches
from kdhub.engine.resume.sampling import keyed_loader
from kdhub.engine.train import train
from kdhub.errors import UsageError


def batches(size: int, drop_last: bool = False) -> Batches:
    """Iterate over numbers in batches of two, in another order in each pass."""
    data = list(range(size))
    sampler = DefaultSampler(data, shuffle=True, seed=0)  # type: ignore[arg-type]
    plain = DataLoader(data, batch_size=2, sampler=sampler, collate_fn=list, drop_last=drop_last)  # type: ignore[arg-type]
    return Batches(keyed_loader(plain, seed=0))


@pytest.mark.parametrize("done", range(7))
def test_entered_anywhere_it_goes_on_alike(done: int) -> None:
    """Mmengine's loop begins a pass again, or skips by a rule that holds for one sampler only."""
    whole, entered = batches(5), batches(5)
    expected = list(islice(whole, 9))
    passes = [sorted(chain.from_iterable(expected[first : first + 3])) for first in (0, 3)]
    assert passes == [list(range(5))] * 2
    assert expected[:3] != expected[3:6]
    entered.enter(*divmod(done, 3))
    assert list(islice(entered, 9 - done)) == expected[done:]
    assert (entered.passes, entered.done) == (whole.passes, whole.done) == (2, 3)


def test_the_end_of_a_pass_is_a_position() -> None:
    """A checkpoint behind the last batch of a pass says so, and the next batch is the next pass's first."""
    whole, entered = batches(4), batches(4)
    expected = list(islice(whole, 3))
    entered.enter(0, 2)
    assert next(entered) == expected[2]


def test_the_rest_of_an_epoch() -> None:
    """An epoch-based loop ends with its epoch, and the next one begins at its start."""
    one = batches(5)
    expected = [*one.rest_of_pass(), *one.rest_of_pass()]
    assert len(expected) == 6
    entered = batches(5)
    entered.enter(1, 2)
    assert list(entered.rest_of_pass()) == expected[5:]
    assert (entered.passes, entered.done) == (2, 0)


def test_data_that_gives_no_batch() -> None:
    """Fewer samples than a batch, with drop_last, would be looked for until the machine is switched off."""
    with pytest.raises(UsageError, match="give no batch"):
        next(batches(1, drop_last=True))
    with pytest.raises(UsageError, match="give no batch"):
        list(batches(1, drop_last=True).rest_of_pass())


@DATASETS.register_module(force=True)
class TinyStream(IterableDataset[Any]):
    """Gives points one after the other."""

    def __iter__(self) -> Iterator[Any]:
        points = tiny.TinyPoints()
        return iter([points[index] for index in range(len(points))] * 2)


@DATASETS.register_module(force=True)
class TinyLongStream(TinyStream):
    """Says how many there are."""

    def __len__(self) -> int:
        return 32


@SAMPLERS.register_module(force=True)
class TinyNothing(Sampler[int]):
    """Draws no sample, and says otherwise."""

    def __init__(self, dataset: Any, **_options: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 16


LOADER = tiny.by_epoch()["train_dataloader"]
ENDLESS = tiny.config("")["train_dataloader"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (tiny.by_epoch(train_dataloader={**LOADER, "batch_size": 32, "drop_last": True}), "give no batch"),
        (tiny.by_epoch(train_dataloader={**LOADER, "sampler": {"type": "TinyNothing"}}), "give no batch"),
        ({"train_dataloader": {**ENDLESS, "sampler": {"type": "TinyNothing"}}}, "give no batch"),
        (
            {"train_dataloader": {**ENDLESS, "dataset": {"type": "TinyPoints", "size": 0}}},
            "the data are empty",
        ),
        (tiny.by_epoch(train_dataloader={**LOADER, "dataset": {"type": "TinyPoints", "size": 0}}), "data are empty"),
        ({"train_cfg": {"by_epoch": False, "max_iters": 0}}, "train_cfg.max_iters: nothing would be trained"),
        (
            tiny.by_epoch(train_cfg={"by_epoch": True, "max_epochs": 0}),
            "train_cfg.max_epochs: nothing would be trained",
        ),
        (
            tiny.by_epoch(train_cfg={"by_epoch": True, "max_epochs": -1}),
            "train_cfg.max_epochs: nothing would be trained",
        ),
        ({"custom_hooks": [{"type": "TinyStop"}]}, "nothing was trained, so no student is exported"),
        (
            tiny.by_epoch(train_dataloader={**LOADER, "sampler": None, "dataset": {"type": "TinyStream"}}),
            "the training data have no length",
        ),
        (
            {"train_dataloader": {**ENDLESS, "dataset": {"type": "TinyStream"}}},
            "a stream, which no sampler can draw from",
        ),
    ],
)
def test_a_run_that_would_train_nothing_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Such a run said 'trained 0 iterations', ended well and exported a student that had learned nothing, or it hung."""
    with pytest.raises(UsageError, match=told):
        train(tiny.config(tmp_path, **changes))
    assert not (tmp_path / "student").exists()


def test_a_stream_with_a_length_trains(tmp_path: Path) -> None:
    """What is refused above is a stream without a length, and a sampler beside it."""
    loader = {**ENDLESS, "sampler": None, "dataset": {"type": "TinyLongStream"}}
    train(tiny.config(tmp_path, train_dataloader=loader))
    assert (tmp_path / "iter_6.pth").is_file()


@HOOKS.register_module(force=True)
class TinyStop(Hook):
    """Stops training before it begins."""

    def before_train(self, runner: Any) -> None:
        runner.train_loop.stop_training = True


@pytest.mark.parametrize(
    ("parts", "end", "words"),
    [
        ({}, {"max_iters": 2}, r"the checkpoint is of 6 iterations.*expected at least 6, got 2"),
        (tiny.by_epoch(), {"max_epochs": 1}, r"the checkpoint is of 3 epochs.*expected at least 3, got 1"),
    ],
)
def test_a_checkpoint_past_the_end_is_refused(tmp_path: Path, parts: Any, end: Any, words: str) -> None:
    """A run that goes on from iteration 6 to 2 trains nothing and would call itself finished."""
    train(tiny.config(tmp_path, **parts))
    shorter = tiny.config(tmp_path, **parts)
    shorter.train_cfg.update(end)
    with pytest.raises(UsageError, match=words):
        train(shorter, resume=True)
