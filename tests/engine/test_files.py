"""What was there before survives whatever happens while something new is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from kdhub.engine.resume.saving import write_checkpoint
from kdhub.errors import UsageError
from kdhub.files import FullDiskError, atomic_file, atomic_folder, storage_error, write_json, write_text


def test_a_full_disk_keeps_the_former_checkpoint(tiny_disk: Path) -> None:
    """Saving over the only checkpoint when the disk is full used to cost the checkpoint as well."""
    write_checkpoint(tiny_disk / "a.pth", {"state_dict": {"weight": torch.ones(1000)}})
    before = (tiny_disk / "a.pth").read_bytes()
    with pytest.raises(
        UsageError, match=r"no space left to write a\.pth.*untouched.*bytes free.*-> free some space"
    ) as caught:
        write_checkpoint(tiny_disk / "a.pth", {"state_dict": {"weight": torch.ones(1_000_000)}})
    assert str(tiny_disk) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tiny_disk / "a.pth").read_bytes() == before
    assert [path.name for path in tiny_disk.iterdir()] == ["a.pth"]


def test_a_full_disk_keeps_the_former_folder(tiny_disk: Path) -> None:
    """Half an export is worse than the one before."""
    (tiny_disk / "student").mkdir()
    (tiny_disk / "student" / "model").write_text("former")

    def export() -> None:
        with atomic_folder(tiny_disk / "student") as folder:
            (folder / "model").write_bytes(bytes(2_000_000))

    with pytest.raises(UsageError, match="no space left to write student"):
        export()
    assert (tiny_disk / "student" / "model").read_text() == "former"
    assert [path.name for path in tiny_disk.iterdir()] == ["student"]


def test_an_error_within_leaves_the_former_file(tmp_path: Path) -> None:
    """A crash halfway through must not be seen on disk, and must not be renamed into something else."""
    write_text(tmp_path / "a", "former")

    def crash() -> None:
        with atomic_file(tmp_path / "a") as stream:
            stream.write(b"half")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        crash()
    assert (tmp_path / "a").read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_crash_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    """Between taking the former folder away and putting the new one there, there is neither."""
    (tmp_path / ".student.former").mkdir()
    (tmp_path / ".student.former" / "model").write_text("former")

    def crash() -> None:
        with atomic_folder(tmp_path / "student"):
            raise KeyError("again")

    with pytest.raises(KeyError):
        crash()
    assert (tmp_path / "student" / "model").read_text() == "former"
    with atomic_folder(tmp_path / "student") as folder:
        (folder / "model").write_text("new")
    assert (tmp_path / "student" / "model").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The reason and the folder, instead of a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write a.*Not a directory.*--work-dir"):
        write_text(tmp_path / "file" / "a", "")


def test_a_full_disk_is_known_from_the_words_of_safetensors(tmp_path: Path) -> None:
    """Its errors are none of the operating system's: exporting a student to a full disk ended in a traceback."""

    def export() -> None:
        with atomic_folder(tmp_path / "student"):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(FullDiskError, match="no space left to write student"):
        export()


def test_a_full_disk_is_told_before_the_first_folder_is_made(tmp_path: Path) -> None:
    """Asking a folder that is not there how much space is left was the next traceback."""
    error = storage_error(tmp_path / "a" / "b" / "c", OSError(28, "No space left on device"))
    assert isinstance(error, FullDiskError)


def test_json_holds_what_metrics_are(tmp_path: Path) -> None:
    """NaN is no JSON, and a browser refuses the whole file for it."""
    write_json(tmp_path / "a.json", {"nan": float("nan"), "tensor": torch.tensor(2.0), "list": (1, None), 3: Path("p")})
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"nan": "nan", "tensor": 2.0, "list": [1, None], "3": "p"}
