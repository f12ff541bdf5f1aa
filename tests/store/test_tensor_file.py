"""Files that are written piece by piece are those that the library reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from kdhub.store.tensor_file import begin


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    """A length, an offset or a name of a type that is wrong makes a store that nobody can read again."""
    tensors = {
        f"{dtype}"[6:] + name: torch.ones(shape).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        for name, shape in ((".rows", (3, 5)), (".flat", (7,)), (".none", (0, 2)))
    }
    tensors |= {
        f"{dtype}"[6:]: torch.arange(5).to(dtype)
        for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
    }
    with (tmp_path / "file").open("wb") as stream:
        starts = begin(stream, {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}, {"a": "é"})
        for name, value in reversed(tensors.items()):  # the order is the caller's
            stream.seek(starts[name])
            stream.write(value.view(torch.uint8).numpy().tobytes())
    assert all(starts[name] % value.itemsize == 0 for name, value in tensors.items())
    found = safetensors.torch.load_file(tmp_path / "file")
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert torch.equal(found[name], value)
    with safetensors.safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == {"a": "é"}


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_the_layout_is_the_library_s(rows: int) -> None:
    """Tensors that lie elsewhere than the library puts them may lie askew, which costs speed or is refused."""
    tensors = {"b": torch.ones(rows, 3), "keys": torch.ones(rows, 2, dtype=torch.int64), "a": torch.ones(5).half()}
    stream = io.BytesIO()
    starts = begin(stream, {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}, {})
    theirs = safetensors.torch.save(tensors, {})
    length = int.from_bytes(theirs[:8], "little")
    header = json.loads(theirs[8 : 8 + length])
    begun = stream.getvalue()
    assert len(begun) % 8 == 0
    assert {name: start - len(begun) for name, start in starts.items()} == {
        name: header[name]["data_offsets"][0] for name in tensors
    }
    mine = json.loads(begun[8:])
    assert {name: mine[name] for name in tensors} == {name: header[name] for name in tensors}
