"""Faults of the data in one line that names the sample, its files and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.structures import LabelData
from torch import Tensor, nn

from kdhub.engine.faults.samples import collate_samples, explained_batch, load_sample
from kdhub.engine.train import train
from kdhub.errors import UsageError


@TRANSFORMS.register_module(force=True)
class TinyLoad:
    """Loads a point, but of one file."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        if results["img_path"].endswith("5.png"):
            raise OSError("image file is truncated\n(3 bytes not processed)")
        return {"inputs": torch.zeros(2), "labels": torch.tensor(0)}


@DATASETS.register_module(force=True)
class TinyFiles(BaseDataset):
    """Names files, as the data sets of mmengine's libraries do."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{"img_path": f"images/{index}.png", "seg_map_path": f"masks/{index}.png"} for index in range(16)]


def files(**loader: Any) -> dict[str, Any]:
    """Describe training data of files, one of which is damaged."""
    base = tiny.by_epoch()["train_dataloader"]
    return {**base, "dataset": {"type": "TinyFiles", "pipeline": [{"type": "TinyLoad"}]}, **loader}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_names_sample_file_and_step(tmp_path: Path, workers: int) -> None:
    """A hundred lines of traceback said that an image is truncated, and not which of a hundred thousand."""
    cfg = tiny.config(tmp_path, **tiny.by_epoch(train_dataloader=files(num_workers=workers)))
    with pytest.raises(UsageError) as caught:
        train(cfg)
    line = str(caught.value)
    assert line.startswith("sample 5 of TinyFiles, images/5.png, masks/5.png: a sample cannot be loaded"), line
    assert "got OSError: image file is truncated" in line
    assert ", in TinyLoad)" in line
    assert "repair its files" in line
    assert "\n" not in line
    assert "Traceback" not in line


def test_a_data_set_without_files_names_its_own_step() -> None:
    """A data set that reads one file of all samples has no transform and no path to name."""

    class Plain:
        def __getitem__(self, index: int) -> Any:
            raise KeyError("text")

    with pytest.raises(
        UsageError, match=r"^sample 3 of Plain: a sample cannot be loaded \(got KeyError: 'text', in Plain"
    ):
        load_sample(Plain(), 3)


@pytest.mark.parametrize(
    "error",
    [UsageError("the archive has moved"), MemoryError("x"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_what_is_no_fault_of_a_sample_stays(error: Exception) -> None:
    """A data set's own words are better than any around them, and nobody repairs a file where memory ran out."""

    class Telling:
        def __getitem__(self, index: int) -> Any:
            raise error

    with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
        load_sample(Telling(), 0)


def test_samples_of_different_shapes_name_the_batch() -> None:
    """Torch's 'stack expects each tensor to be equal size' does not say of which samples."""
    samples = [torch.zeros(2), torch.zeros(3)]
    with pytest.raises(
        UsageError, match=r"collate_fn: samples 4, 9 cannot be put together.*got RuntimeError: stack expects"
    ):
        collate_samples(torch.stack, samples, [4, 9])


@DATASETS.register_module(force=True)
class TinyMislabelled(tiny.TinyPoints):
    """Gives one sample a label that is no class."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        return {**sample, "labels": torch.tensor(7)} if index == 11 else sample

    def get_data_info(self, index: int) -> dict[str, Any]:
        return {"img_path": f"{index}.png"}


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_label_that_is_no_class_names_its_sample(tmp_path: Path, by_epoch: bool) -> None:
    """'Target 7 is out of bounds' says neither which of the samples it is nor what to do."""
    cfg = tiny.config(tmp_path, **(tiny.by_epoch() if by_epoch else {}))
    cfg.train_dataloader.dataset.type = "TinyMislabelled"
    with pytest.raises(
        UsageError,
        match=r"^sample 11 of the training data, 11\.png: a label .*got IndexError: Target 7 is out of bounds",
    ):
        train(cfg)


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": torch.tensor(7)},
        {"labels": torch.tensor([1, 7])},
        {"inputs": torch.zeros(2), "data_samples": LabelData(a=torch.tensor([7]))},
        (torch.rand(3), 7),
        {"student": {"labels": [0, 7]}},
    ],
)
def test_the_sample_is_found_in_samples_of_all_forms(wrong: Any) -> None:
    """A guess that names a sound sample sends people to the wrong file; then all of the batch are named."""
    sound = {"inputs": torch.tensor([7.0]), "labels": torch.tensor([1])}
    line, error = "sample 5 of", IndexError("Target 7 is out of bounds.")
    with pytest.raises(UsageError, match=line), explained_batch(lambda: [4, 5, 6], [*[sound] * 5, wrong, sound]):
        raise error
    with pytest.raises(UsageError, match="samples 4, 5, 6 of"), explained_batch(lambda: [4, 5, 6], [sound] * 7):
        raise error
    with pytest.raises(UsageError, match="samples 4, 5, 6 of"), explained_batch(lambda: [4, 5, 6], []):
        raise error
    with pytest.raises(UsageError, match=r"^training data: a label"), explained_batch(lambda: [], [sound]):
        raise error


@MODELS.register_module(force=True)
class TinyNormal(tiny.TinyClassifier):
    """Normalises its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)


def test_a_last_batch_of_one_sample_says_what_to_do(tmp_path: Path) -> None:
    """'Expected more than 1 value per channel' comes after the first epoch, and does not name drop_last."""
    cfg = tiny.config(tmp_path, model={"type": "TinyNormal"}, **tiny.by_epoch())
    cfg.train_dataloader.dataset.size = 9
    with pytest.raises(UsageError, match=r"a batch of one sample.*drop_last=True"):
        train(cfg)


def test_other_errors_of_a_model_keep_their_traceback() -> None:
    """A mistake in a model is for its author, who needs to see where it is."""
    with pytest.raises(ValueError, match=re.escape("shapes (2,) and (3,)")), explained_batch(lambda: [], object()):
        raise ValueError("shapes (2,) and (3,)")


@pytest.mark.parametrize(
    ("workers", "line"),
    [
        (
            0,
            r"^sample 5 of TinyFiles, images/5\.png, masks/5\.png: a sample cannot be loaded \(got OSError: image .*TinyLoad",
        ),
        (
            1,
            r"^DataLoader worker process 0: a sample cannot be loaded \(got OSError: image file is truncated\).*num_workers=0",
        ),
    ],
)
def test_a_damaged_file_of_the_validation_data_is_named(tmp_path: Path, workers: int, line: str) -> None:
    """Evaluation reads with torch's own loader, whose traceback of 45 lines does not name the sample."""
    cfg = tiny.config(tmp_path)
    cfg.val_dataloader = {**files(num_workers=workers), "sampler": {"type": "DefaultSampler", "shuffle": False}}
    with pytest.raises(UsageError, match=line):
        train(cfg)


def test_validation_samples_that_make_no_batch_are_named(tmp_path: Path) -> None:
    """Torch's 'each element in list of batch should be of equal size' does not say of which samples."""
    cfg = tiny.config(tmp_path)
    cfg.val_dataloader.dataset = {"type": "TinyUneven"}
    with pytest.raises(UsageError, match=r"^samples 0, 1, 2, 3 of TinyUneven: .*got RuntimeError: stack expects"):
        train(cfg)


@DATASETS.register_module(force=True)
class TinyUneven(tiny.TinyPoints):
    """Gives points of different dimensions."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**super().__getitem__(index), "inputs": torch.zeros(2 + index)}


def test_a_label_that_a_blamed_loss_does_not_know_names_its_sample() -> None:
    """A loss of an objective is blamed in one line, which hid the sample and its label."""
    samples = [{"labels": torch.tensor(label)} for label in (0, 0, 0, 0, 0, 7)]
    with (
        pytest.raises(UsageError, match=r"sample 5 of .*got UsageError: model\.objectives\.x\.loss.*Target 7"),
        explained_batch(lambda: [4, 5], samples),
    ):
        raise UsageError("CE raised IndexError: Target 7 is out of bounds.", where="model.objectives.x.loss")
    with pytest.raises(UsageError, match=r"^something else$"), explained_batch(lambda: [4, 5], samples):
        raise UsageError("something else")
