"""A store answers by index: data sets whose samples differ must not pass for one another, and those that merely moved must."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from tiny import TinyPoints

from kdhub.engine.resume.data_identity import data_fingerprint, described_dataset

Infos = list[dict[Any, Any]]


class Listed(BaseDataset):
    """A data set that tells of its samples what it is given."""

    def __init__(self, infos: Infos, root: Path | str = "") -> None:
        self.infos = [{**info, "img_path": str(Path(root) / f"{number}.png")} for number, info in enumerate(infos)]
        super().__init__(data_root=str(root), lazy_init=False)

    def load_data_list(self) -> Infos:
        return copy.deepcopy(self.infos)


def infos() -> Infos:
    return [{"label": number % 3, "boxes": np.full((2, 4), float(number)), "ids": {number: "x"}} for number in range(6)]


def images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.png").write_bytes(b"x" * (100 + number))
    return folder


CHANGES: dict[str, Callable[[Infos], Any]] = {
    "order": lambda told: told.reverse(),
    "label": lambda told: told[4].update(label=9),
    "array": lambda told: told[4].update(boxes=told[4]["boxes"] + 1),
    "kind of array": lambda told: told[4].update(boxes=told[4]["boxes"].astype(np.float32)),
    "tensor": lambda told: told[4].update(boxes=torch.ones(2, dtype=torch.bfloat16)),
    "key": lambda told: told[4].update(more=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_samples_are_another_data_set(change: str) -> None:
    """By class and length alone, a list that another machine reads in another order would get other samples' answers."""
    told = infos()
    CHANGES[change](told)
    assert data_fingerprint(Listed(told)) != data_fingerprint(Listed(infos()))


def test_other_files_under_the_same_names_are_another_data_set(tmp_path: Path) -> None:
    """Images that were exchanged or scaled after the store was filled would be answered as they were."""
    before = data_fingerprint(Listed(infos(), images(tmp_path / "a")))
    (tmp_path / "a" / "3.png").write_bytes(b"another image")
    assert data_fingerprint(Listed(infos(), tmp_path / "a")) != before
    (tmp_path / "a" / "3.png").unlink()
    data_fingerprint(Listed(infos(), tmp_path / "a"))  # who misses it says so when it is read


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: RepeatDataset(one, times=2),
        lambda one: ConcatDataset([one, one]),
    ],
)
def test_the_same_samples_in_another_folder_are_the_same_data_set(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    """A store that goes along to another machine must not be refused for where the images lie there."""
    here, there = (data_fingerprint(wrap(Listed(infos(), images(tmp_path / name)))) for name in ('a "b"', "c/d"))
    assert here == there


def test_where_wrapped_data_lie_is_left_out_of_their_config(tmp_path: Path) -> None:
    """The config is compared as well, and names the folder."""
    config = {"type": "RepeatDataset", "dataset": {"type": "Listed", "data_root": "a", "data_prefix": {"img": "x"}}}
    left = {"type": "RepeatDataset", "dataset": {"type": "Listed", "data_prefix": {"img": "x"}}}
    assert described_dataset(config, RepeatDataset(Listed(infos()), times=2)) == left
    assert described_dataset({"datasets": [{"data_root": "a", "b": 1}]}, Listed(infos())) == {"datasets": [{"b": 1}]}
    assert described_dataset(config, TinyPoints()) == config  # nothing else tells its samples apart


class Fingerprinted(Listed):
    """A data set that knows what it holds, and tells nothing else of it."""

    def __init__(self, content: str) -> None:
        self.content = content
        super().__init__(infos())

    def fingerprint(self) -> str:
        return self.content


def test_what_a_wrapper_holds_counts_as_well() -> None:
    """ConcatDataset tells the paths of its samples, and hides that the data set within would know their content."""
    one, other = (data_fingerprint(ConcatDataset([Fingerprinted(name)])) for name in "ab")
    assert one != other
    assert one.startswith("ConcatDataset of 6, ")


@pytest.mark.parametrize("key", [np.int64(4), ("a", 4)])
def test_keys_that_are_no_text_hide_nothing(key: Any) -> None:
    """A label map by numpy's integers made everything else about the samples count for nothing."""
    told = [{**info, "map": {key: 1}} for info in infos()]
    relabelled = [{**info, "label": 9} for info in told]
    assert data_fingerprint(Listed(told)) != data_fingerprint(Listed(relabelled))


def test_the_spelling_of_the_folder_does_not_count(tmp_path: Path) -> None:
    """``data_root="data/x/"`` is no other data set than ``"data/x"``; nor is one in a folder called as a key begins."""
    images(tmp_path / "label")
    told = []
    for root in (tmp_path / "label", f"{tmp_path}/label/"):
        dataset = Listed(infos(), tmp_path / "label")
        dataset.data_root = str(root)
        told.append(data_fingerprint(dataset))
    one, other = Listed(infos(), "label"), Listed(infos(), "elsewhere")
    assert told[0] == told[1]
    assert data_fingerprint(one) == data_fingerprint(other)


class Odd:
    """Neither JSON nor an array."""


def test_an_identity_is_the_same_in_every_process() -> None:
    """An address or the order of a set in it would refuse every store after the next start."""
    told = [{"object": Odd(), "type": Odd, "path": Path("x"), "number": np.float32(1), ("a", 1): 2} for _ in range(3)]
    told += [{"object": Odd(), "type": Odd, "path": Path("x"), "number": np.float32(1)}]
    assert data_fingerprint(Listed(told)) == data_fingerprint(Listed(copy.deepcopy(told)))
    code = "import test_data_identity as here; print(here.data_fingerprint(here.Listed(here.infos())))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout.strip() == data_fingerprint(Listed(infos()))


def test_data_that_say_nothing_are_known_by_class_and_length() -> None:
    """Guessing at the attributes of foreign data sets would refuse stores for what does not matter."""
    assert data_fingerprint(TinyPoints(size=5)) == "TinyPoints of 5"
