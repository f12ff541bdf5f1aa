"""`read_checkpoint`: weights from a file, without ever running code that the file brings along."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import safetensors
import torch
from mmengine.logging import print_log
from safetensors.torch import load_file

from kdhub.checkpoint.safe_globals import safe_globals
from kdhub.config.check.missing_files import how_to_train
from kdhub.errors import UsageError, near_matches
from kdhub.registry import init

TRUST_VARIABLE = "KDHUB_TRUST_CHECKPOINT"
"""Environment variable with the file names, separated by commas, that may be unpickled."""

_BLOCKED = re.compile(r"GLOBAL (getattr\(.*?\)|[\w.]+)")


def read_checkpoint(path: str | Path, trust: bool = False, map_location: Any = "cpu") -> dict[str, Any]:
    """Read weights and what was saved with them.

    A checkpoint is a zip of tensors around a pickle, and unpickling runs whatever program the pickle holds. So only
    tensors, plain values and the short list in `kdhub.checkpoint.safe_globals` are rebuilt, and the rest is refused.

    Args:
        path: A ``.safetensors`` file, or a file written by ``torch.save``.
        trust: Unpickle without limits. Only for a file whose author you trust as you trust the programs you run; the
            environment variable ``KDHUB_TRUST_CHECKPOINT=<file name>`` does the same for a file of that name.
        map_location: Device to put the tensors on, as in `torch.load`.

    Returns:
        What the file holds. Safetensors give ``{"state_dict": tensors, "meta": metadata}``.

    Raises:
        UsageError: If the file is missing, truncated, no checkpoint, or holds more than data.
    """
    file = Path(path).expanduser()
    _require_file(file)
    try:
        content = _read(file, trust, map_location)
    except OSError as error:
        if error.errno == errno.EINVAL:  # a zip's directory that points outside the file
            raise _damaged(file, str(error)) from error
        raise UsageError("the checkpoint cannot be read", where=str(file), got=error.strerror or str(error)) from error
    if not isinstance(content, dict):
        raise UsageError(
            "the file holds no named weights",
            where=str(file),
            expected="a state dict, or a dict with 'state_dict' or 'model'",
            got=f"a {type(content).__name__}",
            fix="save model.state_dict() instead",
        )
    return content


def reads_back(value: Any) -> bool:
    """Whether `read_checkpoint` would rebuild a value from a file that holds it."""
    stream = io.BytesIO()
    try:
        torch.save(value, stream)
        stream.seek(0)
        with torch.serialization.safe_globals(safe_globals()):
            torch.load(stream, weights_only=True)
    except Exception:  # noqa: BLE001 - pickling runs somebody else's code, which may raise anything
        return False
    return True


def _read(file: Path, trust: bool, map_location: Any) -> Any:
    if file.suffix == ".safetensors":
        return _read_safetensors(file, map_location)
    if trust or file.name in os.environ.get(TRUST_VARIABLE, "").split(","):
        print_log(f"{file}: unpickled without limits, as trusted by name", logger="current")
        return torch.load(file, map_location=map_location, weights_only=False)
    return _read_limited(file, map_location)


def _require_file(file: Path) -> None:
    if file.is_dir():
        raise UsageError(
            "a folder stands where a checkpoint is wanted",
            where=str(file),
            near=sorted(entry.name for entry in file.iterdir() if entry.suffix in (".pth", ".pt", ".safetensors"))[:3],
            fix="name the file in it",
        )
    if not file.is_file():
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        near, fix = near_matches(file.name, siblings), how_to_train(file, init())
        raise UsageError("no such checkpoint", where=str(file), near=near, fix=fix)


def _read_safetensors(file: Path, map_location: Any) -> dict[str, Any]:
    try:
        with safetensors.safe_open(file, framework="pt") as reader:
            metadata = dict(reader.metadata() or {})
        return {"state_dict": load_file(file, device=str(map_location or "cpu")), "meta": metadata}
    except safetensors.SafetensorError as error:
        raise _damaged(file, str(error)) from error


def _read_limited(file: Path, map_location: Any) -> Any:
    try:
        with torch.serialization.safe_globals(safe_globals()):
            return torch.load(file, map_location=map_location, weights_only=True)
    # ValueError: our stand-in for getattr; the others: what torch's readers raise for bytes they cannot make sense of
    except (pickle.UnpicklingError, ValueError) as error:
        blocked = _BLOCKED.search(str(error))
        if blocked is None:
            raise _damaged(file, str(error).splitlines()[0]) from error
        raise UsageError(
            f"the file asks to run {blocked[1]!r} when it is read, which no weights need; nothing was run",
            where=str(file),
            expected="tensors and plain values only",
            fix="ask its author for safetensors; or, if you trust the author as you trust a program you run, "
            f"set {TRUST_VARIABLE}={file.name}",
        ) from error
    except (RuntimeError, EOFError, LookupError, AttributeError, TypeError, AssertionError, struct.error) as error:
        raise _damaged(file, str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _damaged(file: Path, reason: str) -> UsageError:
    with file.open("rb") as stream:
        head = stream.read(32)
    text = head.decode("ascii", errors="replace")
    got = f"text that begins {text!r}" if head and text.isprintable() else f"{file.stat().st_size} bytes; {reason}"
    return UsageError("truncated or not a checkpoint", where=str(file), got=got, fix="copy or download the file again")
