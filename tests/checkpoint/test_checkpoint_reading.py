"""`read_checkpoint` gives back what was saved and runs nothing."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from kdhub.checkpoint import read_checkpoint
from kdhub.errors import UsageError


class _Touches:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.path), "w"))


def test_what_mmengine_saves_comes_back(tmp_path: Path) -> None:
    """A limited reader that refuses log histories or numpy metrics could resume no run at all."""
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    saved = {
        "state_dict": {"weight": torch.arange(3.0)},
        "meta": {"palette": np.arange(4, dtype=np.uint8), "best": np.float32(0.5), "name": "x"},
        "message_hub": {"log_scalars": {"train/loss": history}},
    }
    torch.save(saved, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert torch.equal(read["state_dict"]["weight"], torch.arange(3.0))
    assert read["meta"]["palette"].tolist() == [0, 1, 2, 3]
    assert read["meta"]["best"] == 0.5
    assert read["message_hub"]["log_scalars"]["train/loss"].mean() == pytest.approx(0.375)


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    """Version 2 of numpy moved its rebuilding functions, so every published teacher's metrics would be refused."""
    torch.save({"best": np.float64(0.5), "state_dict": {}}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_checkpoint(tmp_path / "old.pth")["best"] == 0.5


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """A downloaded checkpoint that runs a program owns the machine it is read on."""
    target = tmp_path / "owned"
    torch.save({"state_dict": {}, "meta": _Touches(target)}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match=r"open.*nothing was run.*KDHUB_TRUST_CHECKPOINT=evil\.pth") as caught:
        read_checkpoint(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_bare_pickle_with_code_is_refused(tmp_path: Path) -> None:
    """Files older than torch 1.6 are bare pickles, and take another way through torch's reader."""
    target = tmp_path / "owned"
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"state_dict": _Touches(target)}, protocol=2))
    with pytest.raises(UsageError):
        read_checkpoint(tmp_path / "old.pkl")
    assert not target.exists()


def test_getattr_reaches_nothing_but_statistics(tmp_path: Path) -> None:
    """Allowing getattr itself, as mmengine does, lets a pickle walk from any allowed class to any function."""

    class Walks:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (getattr, (np.ndarray, "tofile"))

    torch.save({"meta": Walks()}, tmp_path / "walk.pth")
    with pytest.raises(UsageError, match="getattr"):
        read_checkpoint(tmp_path / "walk.pth")


def test_trust_is_by_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trust that spreads to other files is no decision about a file."""
    target = tmp_path / "owned"
    for name in ("mine.pth", "other.pth"):
        torch.save({"meta": _Touches(target)}, tmp_path / name)
    monkeypatch.setenv("KDHUB_TRUST_CHECKPOINT", "mine.pth")
    with pytest.raises(UsageError):
        read_checkpoint(tmp_path / "other.pth")
    assert not target.exists()
    read_checkpoint(tmp_path / "mine.pth")["meta"].close()
    assert target.exists()
    target.unlink()
    monkeypatch.delenv("KDHUB_TRUST_CHECKPOINT")
    read_checkpoint(tmp_path / "mine.pth", trust=True)["meta"].close()
    assert target.exists()


@pytest.mark.parametrize("keep", [0, 4, 64, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_one_line(tmp_path: Path, suffix: str, keep: float) -> None:
    """An interrupted copy gave a page of traceback out of the depth of a reader."""
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    weights = {"weight": torch.zeros(1000)}
    save_file(weights, whole) if suffix == ".safetensors" else torch.save(weights, whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(UsageError, match=r"cut\.\w+: truncated or not a checkpoint") as caught:
        read_checkpoint(cut)
    assert "\n" not in str(caught.value)


def test_a_pointer_file_is_shown(tmp_path: Path) -> None:
    """A clone without Git LFS leaves a few lines of text in place of the weights; their sight says what happened."""
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UsageError, match="text that begins 'version https://git-lfs"):
        read_checkpoint(tmp_path / "model.safetensors")


def test_no_file_has_near_names(tmp_path: Path) -> None:
    """A typing mistake in a path is the commonest of all."""
    torch.save({}, tmp_path / "teacher.pth")
    with pytest.raises(UsageError, match=r"no such checkpoint.*did you mean 'teacher\.pth'"):
        read_checkpoint(tmp_path / "techer.pth")
    with pytest.raises(UsageError, match=r"a folder stands.*'teacher\.pth'"):
        read_checkpoint(tmp_path)


def test_a_list_is_not_weights(tmp_path: Path) -> None:
    """A tensor or list loads without complaint and fails far away."""
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="got a list"):
        read_checkpoint(tmp_path / "list.pth")


def test_reading_leaves_no_global_behind(tmp_path: Path) -> None:
    """An allow-list that stays would widen what the rest of the process unpickles."""
    before = set(map(str, torch.serialization.get_safe_globals()))
    buffer = io.BytesIO()
    torch.save({"a": np.float64(1)}, buffer)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    read_checkpoint(tmp_path / "a.pth")
    assert set(map(str, torch.serialization.get_safe_globals())) == before
