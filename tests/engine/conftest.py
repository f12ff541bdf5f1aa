"""Makes ``tests/engine/tiny.py`` importable, here and in subprocesses, and lends a disk that is soon full, and a run from a store."""

import copy
import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parent))
import tiny


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1400 KiB, which a machine lets only its administrator do."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=1400k") != 0:
        pytest.skip(f"cannot mount a small file system here: {os.strerror(ctypes.get_errno())}")
    yield folder
    detach = 2  # MNT_DETACH: log files may still be open
    assert libc.umount2(os.fsencode(folder), detach) == 0


@pytest.fixture
def teacher(tmp_path: Path) -> dict[str, Any]:
    """A live teacher with weights of its own, which do not depend on the run."""
    torch.manual_seed(7)
    torch.save({"state_dict": tiny.TinyClassifier(width=8).state_dict()}, tmp_path / "teacher.pth")
    return {
        "type": "kdhub.ModelTeacher",
        "model": {"type": "TinyClassifier", "width": 8},
        "checkpoint": str(tmp_path / "teacher.pth"),
    }


@pytest.fixture
def config(tmp_path: Path, teacher: dict[str, Any]) -> Callable[..., Config]:
    """Describe a run from a store; ``None`` for its arguments gives the run with the live teacher."""

    def make(stored: dict[str, Any] | None, dataset: str = "TinyPoints", name: str = "run", **changes: Any) -> Config:
        cfg = tiny.config(tmp_path / name, **changes)
        model = tiny.distiller()
        model["student"]["dropout"] = 0.5
        model["teacher"] = copy.deepcopy(teacher)
        if stored is not None:
            model["teacher"] = {
                "type": "kdhub.StoredTeacher",
                "store": str(tmp_path / "store"),
                "teacher": model["teacher"],
                **stored,
            }
        cfg.model = model
        cfg.train_dataloader.dataset = {"type": dataset}
        cfg.train_dataloader.collate_fn = {"type": "default_collate"}
        return cfg

    return make


@pytest.fixture
def work_dir(run: Path, tmp_path: Path) -> Path:
    """Copy the finished run that the fixture ``run`` of a test's module made."""
    return Path(shutil.copytree(run, tmp_path / "copy"))
